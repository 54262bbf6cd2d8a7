"""Policies in the files of the book's trainer: ``PREFIX_q1``, ``PREFIX_q2`` and ``PREFIX_policy``.

The book is Dong, Ding, Zhang (eds.), Deep Reinforcement Learning, chapter 16
(github.com/deep-reinforcement-learning-book, Chapter16-Robot-Learning-in-Simulation, sac_learn.py). Each file
is ``torch.save`` of a module's state_dict, with weights as (outputs, inputs):

    PolicyNetwork   linear1 … linearN (hidden layers), mean_linear, log_std_linear
    SoftQNetwork    linear1 … linearM (the last gives Q) on [observation, action]

In the book N = 4 and M = 4 with 512 units, so its critics have one hidden layer less than its policy; any N ≥
1, M ≥ 2 and width are read and written. Both programs take tanh of the mean and clamp log σ to [-20, 2]. The
files hold no action_range: the book multiplies its actions by 1 (joint velocities) or 0.1 (end position);
here that scale is the environment's, and actions are in [-1, 1].
"""

from __future__ import annotations

import io
import itertools
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.sac import AVERAGE, TARGETS
from sac_dist.data.schema import Schema
from sac_dist.networks.build import least_size
from sac_dist.networks.network import is_perceptron
from sac_dist.networks.parameters import Parameters, check_parameters
from sac_dist.settings import AgentConfig, ConfigError
from sac_dist.system.files import read_whole
from sac_dist.system.shared import available_memory

FILES = ("q1", "q2")


def load_book_policy(path: str | Path) -> SACAgent:
    """The agent in ``path``_q1, ``path``_q2 and ``path``_policy.

    Its sizes come from the files, its targets are copies of the critics, and all else is AgentConfig's
    default: the book saves no temperature, target or optimizer. Nothing in the files is run. Raises
    ConfigError, naming the file, if one is missing, is no state_dict of tensors, or has a missing, unknown,
    misshapen or non-finite tensor.
    """
    files = {name: Path(f"{path}_{name}") for name in ("policy", *FILES)}
    states = {name: read_state(file) for name, file in files.items()}
    width, observation_size = matrix_shape(states["policy"], "linear1.weight", files["policy"])
    action_size, _ = matrix_shape(states["policy"], "mean_linear.weight", files["policy"])
    matrix_shape(states["q1"], "linear2.weight", files["q1"])  # one hidden layer and the output at least
    depth, critic_depth = count_layers(states["policy"]), count_layers(states["q1"]) - 1
    config = AgentConfig(
        hidden_width=width,
        hidden_depth=depth,
        critic_depth=critic_depth,
        critics=len(FILES),
        layer_norm=False,
    )
    schema = Schema.vector(observation_size, action_size)
    if 4 * least_size(schema, config) > sum(file.stat().st_size for file in files.values()):
        raise ConfigError(f"{files['policy']}: its matrices are larger than the files")
    agent = SACAgent(schema, config)
    for name, views in book_views(agent).items():
        try:
            check_parameters(states[name], {key: tuple(view.shape) for key, view in views.items()})
        except ConfigError as error:
            raise ConfigError(f"{files[name]}: {error}") from error
        for key, view in views.items():
            view.copy_(states[name][key])
    agent.tensors.copies[TARGETS].copy_(agent.critic_parameters)
    agent.take_average()  # where the policy was copied to
    return agent


def save_book_policy(agent: SACAgent, path: str | Path) -> None:
    """Write ``path``_q1, ``path``_q2 and ``path``_policy, each under a temporary name first.

    The policy is the average that evaluations see. Raises ConfigError if the critics are not two plain ones,
    observations are normalised, or a file cannot be written.
    """
    if agent.normalization is not None:
        raise ConfigError(
            "the book's networks take observations as they are and this agent's take normalised ones: train "
            "it without --normalize-observations"
        )
    if agent.networks.encoder is not None:
        raise ConfigError("the book's networks see no pictures, and this agent's do")
    if is_perceptron(agent.q, layer_norm=True):
        raise ConfigError(
            "the book's critics have no layer normalisation and this agent's do: train it with "
            "--no-layer-norm"
        )
    if not all(is_perceptron(network, layer_norm=False) for network in (agent.policy, agent.q)):
        raise ConfigError("the book's networks are perceptrons, and this agent's are not")
    if agent.q.critics != len(FILES):
        raise ConfigError(f"the book's files hold {len(FILES)} critics and this agent has {agent.q.critics}")
    for name, views in book_views(agent).items():
        file = Path(f"{path}_{name}")
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            torch.save(
                {key: view.clone(memory_format=torch.contiguous_format) for key, view in views.items()},
                temporary,
            )
            temporary.replace(file)
        except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError where the folder is missing
            temporary.unlink(missing_ok=True)
            raise ConfigError(f"{file}: cannot be written ({str(error).splitlines()[0]})") from error


def book_views(agent: SACAgent) -> dict[str, Parameters]:
    """The agent's parameters under the book's names and in its shapes, as views, by file: ``policy``, ``q1``,
    ``q2``.
    """
    policy: Parameters = {}
    for name, tensor in agent.policy.unpack(agent.tensors.copies[AVERAGE]).items():
        layer, part = name.split(".")
        if layer == agent.policy.blocks[-1][0]:  # (…, 2 actions): mean, log σ
            for head, half in zip(("mean_linear", "log_std_linear"), tensor.chunk(2, dim=-1), strict=True):
                policy[f"{head}.{part}"] = book_view(part, half)
        else:
            policy[name] = book_view(part, tensor)
    critics = agent.q.unpack(agent.critic_parameters)
    return {"policy": policy} | {
        file: {name: book_view(name.split(".")[1], tensor[i]) for name, tensor in critics.items()}
        for i, file in enumerate(FILES)
    }


def book_view(part: str, tensor: Tensor) -> Tensor:
    """A weight (inputs, outputs) as (outputs, inputs), a bias (1, outputs) as (outputs,)."""
    return tensor.T if part == "weight" else tensor[0]


def read_state(file: Path) -> dict[str, Any]:
    try:
        data = io.BytesIO(read_whole(file, available_memory()))
        if zipfile.is_zipfile(data):
            with zipfile.ZipFile(data) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > len(data.getbuffer()):  # torch.save compresses nothing
                raise ValueError("it unpacks to more than its size")
        data.seek(0)
        state = torch.load(data, map_location="cpu", weights_only=True)
    except ConfigError:
        raise
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: no such file") from error
    except Exception as error:  # whatever a damaged file makes torch.load raise; weights_only refuses code
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{file}: not a file of tensors ({reason})") from error
    if not isinstance(state, dict):
        raise ConfigError(f"{file}: holds a {type(state).__name__}, not a state_dict")
    return state


def count_layers(state: Mapping[str, Any]) -> int:
    """How many of linear1, linear2, … there are without a gap."""
    return next(i for i in itertools.count() if f"linear{i + 1}.weight" not in state)


def matrix_shape(state: Mapping[str, Any], name: str, file: Path) -> tuple[int, int]:
    tensor = state.get(name)
    if not isinstance(tensor, Tensor) or tensor.dim() != 2 or 0 in tensor.shape:
        raise ConfigError(f"{file}: {name} is missing or no matrix")
    return tensor.shape[0], tensor.shape[1]
