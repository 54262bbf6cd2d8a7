"""Every setting of a run, as frozen dataclasses. This wing imports neither torch nor an environment."""

from sac_dist.settings.config import (
    OFFLINE,
    AgentConfig,
    ClusterConfig,
    Config,
    ConfigError,
    DataConfig,
    EnvConfig,
    TrainConfig,
    positive,
)

__all__ = [
    "OFFLINE",
    "AgentConfig",
    "ClusterConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "EnvConfig",
    "TrainConfig",
    "positive",
]
