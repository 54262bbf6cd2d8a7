"""Checkpoints: one safetensors file (tensors, and JSON as its metadata), read without running code, renamed into place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from sac_dist.agent import SACAgent
from sac_dist.config import Config, ConfigError
from sac_dist.resources import replacing

VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: the agent's tensors, how to build the agent, and for a run its own state."""

    agent: dict[str, torch.Tensor]
    observation_size: int
    action_size: int
    config: Config
    info: dict[str, Any]  # where the policy comes from: training steps, evaluation
    run: dict[str, Any] | None = None  # plain JSON: counters, workers, log, replay: only in a run's last checkpoint

    def build_agent(self) -> SACAgent:
        """Raise ConfigError if the tensors are not those of such an agent; the least they hold is compared before memory is taken."""
        config, inputs = self.config.agent, self.observation_size + self.action_size
        try:
            critic_depth = config.hidden_depth if config.critic_depth is None else config.critic_depth
            inner = (config.hidden_depth - 1 + config.critics * (critic_depth - 1)) * config.hidden_width
            if not config.hidden_width * (inputs * (1 + config.critics) + inner) <= sum(tensor.numel() for tensor in self.agent.values()):
                raise ConfigError("its tensors are too few for the networks of its configuration")
            agent = SACAgent(self.observation_size, self.action_size, config)
        except (ArithmeticError, RuntimeError, TypeError) as error:
            raise ConfigError(f"its configuration is damaged: {error}") from None
        agent.load_state_dict(self.agent)
        return agent


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Replace ``path`` in one step: a reader, or a crash, meets the old file or the new one."""
    tensors = {f"agent.{name}": tensor.contiguous() for name, tensor in checkpoint.agent.items()}
    meta = {
        "version": VERSION,
        "observation_size": checkpoint.observation_size,
        "action_size": checkpoint.action_size,
        "config": checkpoint.config.to_dict(),
        "info": checkpoint.info,
        "run": checkpoint.run,
    }
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, {"sac_dist": json.dumps(meta)}))


def read(path: Path) -> Checkpoint:
    """Raise ConfigError with the file and what is wrong with it; nothing in the file is executed."""
    try:
        data = path.read_bytes()  # at once: safetensors opens a path several times, and a run may replace the file in between
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        meta = json.loads(header.get("__metadata__", {}).get("sac_dist", "null"))
    except FileNotFoundError:
        raise ConfigError(f"no such checkpoint: {path}") from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not a checkpoint of sac_dist: {error}") from None
    if not isinstance(meta, dict) or "version" not in meta:
        raise ConfigError(f"{path} is not a checkpoint of sac_dist: it is a safetensors file of something else")
    if meta["version"] != VERSION:
        raise ConfigError(f"{path} has checkpoint version {meta['version']}, this sac_dist reads {VERSION}")
    try:
        return Checkpoint(
            {name.removeprefix("agent."): tensor for name, tensor in tensors.items() if name.startswith("agent.")},
            int(meta["observation_size"]),
            int(meta["action_size"]),
            Config.from_dict(meta["config"]),
            meta["info"],
            meta["run"],
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is damaged: its metadata lacks or garbles {error}") from None


def save_policy(path: Path, agent: SACAgent, config: Config, info: dict[str, Any]) -> None:
    """An agent by itself: what evaluation, ``--test`` and ``models/`` use."""
    write(path, Checkpoint(agent.state_dict(), agent.observation_size, agent.action_size, config, info))
