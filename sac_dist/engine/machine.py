"""What a run needs of its machine, looked at before it writes or starts anything."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch

from sac_dist.book.replay_manager import socket_address
from sac_dist.data.ring import buffer_bytes
from sac_dist.data.sampler import AHEAD
from sac_dist.data.schema import Schema
from sac_dist.engine.guard import private_memory
from sac_dist.networks.build import critic_depth, critic_width, least_size
from sac_dist.networks.encoder import Encoder
from sac_dist.settings import AgentConfig, Config, ConfigError
from sac_dist.system.shared import available_memory

HANDLES, HANDLES_OF_MEMBER = (
    56,
    8,
)  # the supervisor's open files, and what each worker or learner adds: about twice what was seen


def check_processes(members: int) -> None:
    """Raise ConfigError if the supervisor may open too few files, or its sockets cannot be named here."""
    socket_address()
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = HANDLES + HANDLES_OF_MEMBER * members
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        raise ConfigError(
            f"a run with {members} processes that train needs {needed} file handles, {allowed} are "
            "allowed: see ulimit -n"
        )


def check_memory(config: Config, schema: Schema) -> None:
    """Raise ConfigError if networks, buffer and batches together need more memory than there is: which of
    them is too large, and what would fit.
    """
    agent, train = config.agent, config.train
    widest = "critic_width" if critic_width(agent) > agent.hidden_width else "hidden_width"
    needs: list[tuple[str, str, int, Callable[[int], int]]] = [  # setting, what, its value, bytes of a value
        (
            widest,
            f"a policy of {agent.hidden_depth:,} hidden layers and {agent.critics:,} critics of "
            f"{critic_depth(agent):,}, all of {getattr(agent, widest):,} units",
            getattr(agent, widest),
            lambda width: network_bytes(schema, replace(agent, **cast(Any, {widest: width}))),
        )
    ]
    if train.engine == "local":  # else the others lie elsewhere, and whoever makes them looks
        needs += [
            (
                "buffer_size",
                f"a buffer of {train.buffer_size:,} transitions"
                + (" with pictures" if schema.pictures else ""),
                train.buffer_size,
                lambda size: buffer_bytes(size, schema, train.workers),
            ),
            (
                "batch_size",
                f"batches of {train.batch_size:,} transitions",
                train.batch_size,
                lambda size: batch_bytes(size, schema, config),
            ),
        ]
    there, sizes = available_memory(), [bytes_of(value) for _, _, value, bytes_of in needs]
    if sum(sizes) <= there:
        return
    sized = list(zip(sizes, needs, strict=True))
    alone = [pair for pair in sized if pair[0] > there]  # too large by themselves: the first is the cause
    size, (setting, what, value, bytes_of) = alone[0] if alone else max(sized, key=lambda pair: pair[0])
    left = there - (sum(sizes) - size)
    fits = largest(lambda smaller: bytes_of(smaller) <= left, value)
    raise ConfigError(
        f"the memory does not hold {what}: that is {size / 2**20:.1f} MiB, and "
        f"{there / 2**20:.1f} MiB are free; "
        + (f"give --{setting.replace('_', '-')} at most {fits}" if fits else "ask for less of each")
    )


def network_bytes(schema: Schema, config: AgentConfig) -> int:
    """The least that an agent takes: its numbers with Adam's two moments and a copy that follows them, while
    they move into shared memory and whenever they are saved twice.
    """
    return 2 * 4 * 4 * least_size(schema, config)


def batch_bytes(size: int, schema: Schema, config: Config) -> int:
    """The least that batches of ``size`` take in each process that updates: their rows, those drawn ahead
    with them, and of one update what each hidden layer of each network gives.
    """
    agent, train = config.agent, config.train
    rows = (1 if config.data.files else 1 + AHEAD) * schema.row_width
    layers = agent.hidden_width * agent.hidden_depth
    layers += agent.critics * critic_width(agent) * critic_depth(agent)
    encoder = Encoder.of(schema, agent)
    if encoder is not None:
        rows = schema.row_width + schema.stack * schema.frame_size // 2  # both observations', as uint8
        layers += 2 * encoder.activations
    on_cpu = rows + (layers if train.device == "cpu" else 0)
    return 4 * size * on_cpu * (1 if train.central else train.workers)


def largest(fits: Callable[[int], bool], too_large: int) -> int:
    """The largest number from 0 on that fits, below one that does not."""
    low = 0
    while low + 1 < too_large:
        middle = (low + too_large) // 2
        low, too_large = (middle, too_large) if fits(middle) else (low, middle)
    return low


def check_machine(config: Config, schema: Schema) -> None:
    """Raise ConfigError if memory, a GPU or the memory limit of the workers cannot be had here."""
    train = config.train
    if train.engine == "ray" and schema.pictures:
        raise ConfigError("observations with pictures are not sent through a cluster: leave out --engine ray")
    check_memory(config, schema)
    if train.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: torch finds no GPU here; leave the flag out, or install torch's build for "
            "your GPU"
        )
    if train.worker_memory is not None and private_memory("self") is None:
        raise ConfigError(
            "--worker-memory cannot work: this system does not tell what a process holds (/proc/self/status)"
        )
