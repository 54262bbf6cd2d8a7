"""All settings of a run together, and the two forms that files hold them in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from sac_dist.settings.agent import AgentConfig
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

    def __post_init__(self) -> None:
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
        if self.data.online_algo == "cql" and self.data.demo_mode == "append" and self.agent.cal_ql:
            raise ConfigError("cal_ql in the online phase is for demo_mode mix or prefill, not append")

    @classmethod
    def of(cls, env: Any) -> Config:
        """For an environment alone (id, class, function or EnvConfig), with what is tuned for it."""
        config = env if isinstance(env, EnvConfig) else EnvConfig(env)
        settings, _ = tuned({"env": config.name})
        return replace(
            cls(**{name: take(settings, section) for name, section in SECTIONS.items()}), env=config
        )

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain JSON, by section."""
        parts = {name: asdict(getattr(self, name)) for name in SECTIONS if name != "env"}
        return {"env": self.env.to_dict(), **parts}

    def flat(self) -> dict[str, Any]:
        """What is set, by the names of the flags: what ``--config`` reads."""
        return {
            name: value
            for part in self.to_dict().values()
            for name, value in part.items()
            if value is not None and value != {}
        }

    @classmethod
    def from_dict(cls, parts: dict[str, dict[str, Any]]) -> Config:
        """Undo :meth:`to_dict`, also of version 0.1.0. Raise ConfigError on an unknown setting."""
        sections: dict[str, Any] = {}
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
