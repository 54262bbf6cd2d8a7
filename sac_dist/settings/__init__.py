"""Every setting of a run, as frozen dataclasses. This wing imports neither torch nor an environment.

A new setting is a field of its section: the command line, settings files, checkpoints and ``--help`` know it
then. Whether it may change when a run is resumed is said in ``resuming.py``.
"""

from sac_dist.settings.agent import AgentConfig
from sac_dist.settings.algorithms import AlgorithmSettings, CQLSettings
from sac_dist.settings.cluster import ClusterConfig
from sac_dist.settings.config import Config
from sac_dist.settings.data import DataConfig
from sac_dist.settings.environment import EnvConfig
from sac_dist.settings.option import ConfigError, check_path, positive
from sac_dist.settings.training import TrainConfig

__all__ = [
    "AgentConfig",
    "AlgorithmSettings",
    "CQLSettings",
    "ClusterConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "EnvConfig",
    "TrainConfig",
    "check_path",
    "positive",
]
