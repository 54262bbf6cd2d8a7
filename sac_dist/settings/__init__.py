"""Every setting of a run, as frozen dataclasses. This wing imports neither torch nor an environment."""

from sac_dist.settings.algorithms import AlgorithmSettings, CQLSettings
from sac_dist.settings.config import (
    OFFLINE,
    AgentConfig,
    ClusterConfig,
    Config,
    DataConfig,
    EnvConfig,
    TrainConfig,
)
from sac_dist.settings.option import ConfigError, positive

__all__ = [
    "OFFLINE",
    "AgentConfig",
    "AlgorithmSettings",
    "CQLSettings",
    "ClusterConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "EnvConfig",
    "TrainConfig",
    "positive",
]
