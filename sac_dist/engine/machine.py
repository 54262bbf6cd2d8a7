"""What a run needs of its machine, looked at before it writes or starts anything."""

from __future__ import annotations

import resource

import torch

from sac_dist.book.replay_manager import socket_address
from sac_dist.data.ring import buffer_bytes
from sac_dist.data.schema import Schema
from sac_dist.engine.guard import private_memory
from sac_dist.settings import Config, ConfigError
from sac_dist.system.shared import check_memory

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


def check_machine(config: Config, schema: Schema) -> None:
    """Raise ConfigError if the replay buffer, a GPU or the memory limit of the workers cannot be had here."""
    train = config.train
    if train.engine == "local":  # else the shards look themselves, where they are
        nbytes = buffer_bytes(train.buffer_size, schema, train.workers)
        check_memory(nbytes, f"a buffer of {train.buffer_size:,} transitions")
    if train.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: torch finds no GPU here; leave the flag out, or install torch's build for "
            "your GPU"
        )
    if train.worker_memory is not None and private_memory("self") is None:
        raise ConfigError(
            "--worker-memory cannot work: this system does not tell what a process holds (/proc/self/status)"
        )
