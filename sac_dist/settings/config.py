"""All settings of a run together, and the two forms that files hold them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from sac_dist.settings.agent import AgentConfig
from sac_dist.settings.algorithms import (
    BEHAVIOUR_CLONING,
    SOFT_ACTOR_CRITIC,
    Algorithms,
    AlgorithmSettings,
    algorithms_apart,
    routed,
    settings_of,
    with_defaults,
)
from sac_dist.settings.by_environment import taken
from sac_dist.settings.cluster import ClusterConfig
from sac_dist.settings.data import DataConfig
from sac_dist.settings.environment import EnvConfig
from sac_dist.settings.option import ConfigError, flag_of, options_of
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
    # Settings by flat name for an environment that turns out to be none of this package's tasks
    # (engine/settling.py); no file holds them.
    if_unknown: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

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
        check_n_step(self.agent.n_step, self.env.horizon)
        if self.agent.n_step > 1 and self.data.relabels:
            raise ConfigError(f"her is for single steps, not n_step {self.agent.n_step}: give one of them")
        self._check_learner()
        by_time = self.train.episodes is not None or self.train.time is not None
        if self.agent.lr_decay and by_time and self.train.steps is None and not self.data.offline:
            raise ConfigError("lr_decay is over a budget of steps: give --steps")
        if self.train.engine == "ray" and self.agent.n_step > 1:
            raise ConfigError("--n-step is for --engine local: the replay's stores hand over single steps")
        if self.train.engine == "ray" and self.agent.normalize_returns:
            raise ConfigError(
                "--normalize-returns is for --engine local: the replay's stores know no episodes"
            )
        if self.agent.target_critics is not None and self.train.batch_size < self.agent.critics:
            raise ConfigError(
                f"batch_size is {self.train.batch_size}: target_critics needs at least "
                f"{self.agent.critics}, one per critic"
            )
        online = self.algorithms[self.data.online_algo]
        if isinstance(online, AlgorithmSettings) and online.needs_returns and self.data.demo_mode == "append":
            raise ConfigError("cal_ql in the online phase is for demo_mode mix or prefill, not append")
        if self.train.interventions and self.data.demo_mode != "mix":
            raise ConfigError(
                f"interventions and demo_mode {self.data.demo_mode} contradict each other: what people do is "
                "data of which each batch has a share, demo_mode mix"
            )
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

    def _check_learner(self) -> None:
        """Raise ConfigError where what is trained does not go with who trains it."""
        agent, data, train = self.agent, self.data, self.train
        if agent.normalises_batches and train.workers > 1 and not train.central:
            raise ConfigError(
                f"network {agent.network} normalises batches: workers that train at once would spoil each "
                "other's running statistics; give --learner central, or --workers 1"
            )
        used = {data.algo} if data.offline else {data.online_algo}
        used |= ({data.algo} if data.offline_steps else set()) | (
            {BEHAVIOUR_CLONING} if data.bc_steps else set()
        )
        if agent.generalised and (others := sorted(used - {SOFT_ACTOR_CRITIC})):
            raise ConfigError(
                f"distribution, dropout, target_network and network {agent.network} are settings of sac, and "
                f"a phase is of {others[0]}: leave them out, or give --algo sac"
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
        """For an environment alone (id, class, function or EnvConfig), with what is tuned for it, else with
        the preset ``general``.
        """
        config = env if isinstance(env, EnvConfig) else EnvConfig(env)
        found = taken({"env": config.name, "env_kwargs": config.kwargs})
        del found.settings["env_kwargs"]
        return replace(cls.of_settings(found.settings), env=config, if_unknown=found.if_unknown)

    @classmethod
    def of_settings(cls, settings: dict[str, Any]) -> Config:
        """Made from settings by their flags' names, which leave ``settings``; what is no setting stays."""
        sections = {name: take(settings, section) for name, section in SECTIONS.items()}
        used = sections["data"].algo, sections["data"].online_algo
        return cls(**sections, algorithms=routed(settings, *used))

    def with_settings(self, settings: Mapping[str, Any]) -> Config:
        """With the values of ``settings``, by its flags' names, and nothing ``if_unknown``."""
        sections = {}
        for name, section in SECTIONS.items():
            options = {flag_of(option): option.name for option in options_of(section)}
            values = {options[flag]: value for flag, value in settings.items() if flag in options}
            sections[name] = replace(getattr(self, name), **values)
        return replace(self, **sections, if_unknown=frozenset())

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain JSON, by section."""
        parts = asdict(replace(self, env=EnvConfig(), if_unknown=frozenset()))
        del parts["if_unknown"]
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


def check_n_step(n_step: int, horizon: int | None) -> None:
    """Raise ConfigError where no episode of at most ``horizon`` steps is long enough."""
    if horizon is not None and n_step > horizon:
        raise ConfigError(
            f"n_step is {n_step}, and an episode ends after {horizon} steps: give {horizon} or less"
        )


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
