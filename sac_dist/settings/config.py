"""All settings of a run together, and the two forms that files hold them in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from sac_dist.settings.agent import AgentConfig
from sac_dist.settings.algorithms import (
    Algorithms,
    AlgorithmSettings,
    algorithms_apart,
    routed,
    settings_of,
    with_defaults,
)
from sac_dist.settings.cluster import ClusterConfig
from sac_dist.settings.data import DataConfig
from sac_dist.settings.environment import EnvConfig
from sac_dist.settings.option import ConfigError, flag_of, options_of
from sac_dist.settings.presets import tuned
from sac_dist.settings.training import TrainConfig

SECTIONS: dict[str, type] = {
    "env": EnvConfig,
    "agent": AgentConfig,
    "train": TrainConfig,
    "data": DataConfig,
    "cluster": ClusterConfig,
}


@dataclass(frozen=True)
class Config:
    env: EnvConfig = field(default_factory=EnvConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    algorithms: Algorithms = field(default_factory=dict)  # their own settings, by name; see algorithms.py

    def __post_init__(self) -> None:
        used = self.data.algo, self.data.online_algo
        object.__setattr__(self, "algorithms", with_defaults(self.algorithms, *used))
        if self.train.engine == "local" and self.cluster != ClusterConfig():
            given = next(f.name for f in fields(ClusterConfig) if getattr(self.cluster, f.name) != f.default)
            raise ConfigError(f"--{given.replace('_', '-')} is for --engine ray")
        if self.cluster.replay_shards > self.train.buffer_size:
            raise ConfigError(
                f"replay_shards is {self.cluster.replay_shards}: the buffer holds "
                f"{self.train.buffer_size} transitions"
            )
        if self.agent.target_critics is not None and self.train.batch_size < self.agent.critics:
            raise ConfigError(
                f"batch_size is {self.train.batch_size}: target_critics needs at least "
                f"{self.agent.critics}, one per critic"
            )
        online = self.algorithms[self.data.online_algo]
        if isinstance(online, AlgorithmSettings) and online.needs_returns and self.data.demo_mode == "append":
            raise ConfigError("cal_ql in the online phase is for demo_mode mix or prefill, not append")
        if self.data.demo_overwrite and self.followed:
            raise ConfigError(
                f"demo_overwrite and {min(self.followed)} contradict each other: a replay does not know the "
                "action that follows; leave out --demo-overwrite"
            )
        if self.agent.normalize_rewards and self.calibrated:
            raise ConfigError(
                "normalize_rewards and cal_ql contradict each other: the data's returns are of the rewards "
                "as they are, each batch's would be of others; give --no-cal-ql or --no-normalize-rewards"
            )

    @property
    def calibrated(self) -> frozenset[str]:
        """Those of the run's algorithms that need batches with ``return_to_go``."""
        used = {self.data.algo, self.data.online_algo}
        return frozenset(name for name in used if settings_of(self.algorithms, name).needs_returns)

    @property
    def followed(self) -> frozenset[str]:
        """Those that need batches with ``next_action``."""
        used = {self.data.algo, self.data.online_algo}
        return frozenset(name for name in used if settings_of(self.algorithms, name).needs_next_actions)

    @classmethod
    def of(cls, env: Any) -> Config:
        """For an environment alone (id, class, function or EnvConfig), with what is tuned for it."""
        config = env if isinstance(env, EnvConfig) else EnvConfig(env)
        settings, _ = tuned({"env": config.name})
        return replace(cls.of_settings(settings), env=config)

    @classmethod
    def of_settings(cls, settings: dict[str, Any]) -> Config:
        """Made from settings by their flags' names, which leave ``settings``; what is no setting stays."""
        sections = {name: take(settings, section) for name, section in SECTIONS.items()}
        used = sections["data"].algo, sections["data"].online_algo
        return cls(**sections, algorithms=routed(settings, *used))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain JSON, by section."""
        parts = asdict(replace(self, env=EnvConfig()))
        return parts | {"env": self.env.to_dict()}

    def flat(self) -> dict[str, Any]:
        """What is set, by the names of the flags: what ``--config`` reads."""
        parts = self.to_dict()
        sections = [*(parts[name] for name in SECTIONS), *parts["algorithms"].values()]
        values = [(name, value) for part in sections for name, value in part.items()]
        return {name: value for name, value in values if value is not None and value != {}}

    @classmethod
    def from_dict(cls, parts: dict[str, dict[str, Any]]) -> Config:
        """Undo :meth:`to_dict`, also of version 0.1.0. Raise ConfigError on an unknown setting."""
        parts = algorithms_apart(parts)
        sections: dict[str, Any] = {"algorithms": parts.pop("algorithms")}
        for name, values in parts.items():
            if name == "env":
                sections[name] = EnvConfig.from_dict(values)
                continue
            if name == "agent":
                values = {"layer_norm": False} | values  # there was none before there was the setting
            known = {f.name for f in fields(SECTIONS[name])}
            if unknown := sorted(set(values) - known):
                raise ConfigError(f"unknown setting {unknown[0]!r}: made by another version of sac_dist")
            values = {  # JSON has no tuples
                key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
            }
            sections[name] = SECTIONS[name](**values)
        return cls(**sections)


def take(settings: dict[str, Any], section: type) -> Any:
    """The section made from its settings by their flags' names, which leave ``settings``."""
    values = {
        option.name: settings.pop(flag_of(option))
        for option in options_of(section)
        if flag_of(option) in settings
    }
    return section(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )
