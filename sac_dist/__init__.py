"""Distributed Soft Actor-Critic for robot grasping; see README.md. The names below are loaded when they are
first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sac_dist.system.mkl import use_avx512

if TYPE_CHECKING:
    from sac_dist.acting.environment import make_env
    from sac_dist.acting.evaluation import Evaluation, evaluate
    from sac_dist.acting.playback import find_policy, play
    from sac_dist.acting.sweep import sweep
    from sac_dist.algorithms.agent import SACAgent
    from sac_dist.book.replay_manager import ReplayManager
    from sac_dist.data.ring import ReplayBuffer
    from sac_dist.data.schema import Schema
    from sac_dist.data.transitions import Transitions
    from sac_dist.engine.train import Run, resume, train
    from sac_dist.reporting.callbacks import Callback, TrainingRun
    from sac_dist.reporting.sinks import Sink
    from sac_dist.settings import AgentConfig, Config, ConfigError, DataConfig, EnvConfig, TrainConfig

__version__ = "0.2.0"
__all__ = [
    "AgentConfig",
    "Callback",
    "Config",
    "ConfigError",
    "DataConfig",
    "EnvConfig",
    "Evaluation",
    "ReplayBuffer",
    "ReplayManager",
    "Run",
    "SACAgent",
    "Schema",
    "Sink",
    "TrainConfig",
    "TrainingRun",
    "Transitions",
    "evaluate",
    "find_policy",
    "make_env",
    "play",
    "resume",
    "sweep",
    "train",
]
_HOMES = {
    "acting.environment": ("make_env",),
    "acting.evaluation": ("Evaluation", "evaluate"),
    "acting.playback": ("find_policy", "play"),
    "acting.sweep": ("sweep",),
    "algorithms.agent": ("SACAgent",),
    "book.replay_manager": ("ReplayManager",),
    "data.ring": ("ReplayBuffer",),
    "data.schema": ("Schema",),
    "data.transitions": ("Transitions",),
    "engine.train": ("Run", "resume", "train"),
    "reporting.callbacks": ("Callback", "TrainingRun"),
    "reporting.sinks": ("Sink",),
    "settings": ("AgentConfig", "Config", "ConfigError", "DataConfig", "EnvConfig", "TrainConfig"),
}

use_avx512()  # here, as this comes before torch wherever sac_dist is what brings torch in


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"sac_dist.{module}"), name)
    raise AttributeError(f"module 'sac_dist' has no attribute {name!r}")
