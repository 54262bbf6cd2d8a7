"""Distributed Soft Actor-Critic for robot grasping; see README.md. The names below are loaded when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sac_dist.mkl import use_avx512

if TYPE_CHECKING:
    from sac_dist.agent import SACAgent
    from sac_dist.config import AgentConfig, Config, ConfigError, DataConfig, EnvConfig, TrainConfig
    from sac_dist.demos.transitions import Demonstrations
    from sac_dist.engine.train import Run, resume, train
    from sac_dist.evaluation import Evaluation, evaluate
    from sac_dist.playback import find_policy, play
    from sac_dist.replay import ReplayBuffer
    from sac_dist.replay_manager import ReplayManager
    from sac_dist.rollout import make_env

__version__ = "0.1.0"
__all__ = [
    "AgentConfig", "Config", "ConfigError", "DataConfig", "Demonstrations", "EnvConfig", "Evaluation", "ReplayBuffer", "ReplayManager",
    "Run", "SACAgent", "TrainConfig", "evaluate", "find_policy", "make_env", "play", "resume", "train",
]  # fmt: skip
_HOMES = {
    "agent": ("SACAgent",),
    "config": ("AgentConfig", "Config", "ConfigError", "DataConfig", "EnvConfig", "TrainConfig"),
    "demos.transitions": ("Demonstrations",),
    "engine.train": ("Run", "resume", "train"),
    "evaluation": ("Evaluation", "evaluate"),
    "playback": ("find_policy", "play"),
    "replay": ("ReplayBuffer",),
    "replay_manager": ("ReplayManager",),
    "rollout": ("make_env",),
}

use_avx512()  # here, as this comes before torch wherever sac_dist is what brings torch in


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"sac_dist.{module}"), name)
    raise AttributeError(f"module 'sac_dist' has no attribute {name!r}")
