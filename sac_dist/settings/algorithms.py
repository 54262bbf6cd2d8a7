"""The algorithms that a run can name, with the settings that are theirs alone. Imports none of them.

An algorithm is a class in one file (see sac_dist/algorithms/base.py and docs/algorithms.md) and one entry
here; ``--algo package.module:Class`` takes a class that has no entry.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sac_dist.settings.option import ConfigError, finite, option, positive


@dataclass(frozen=True)
class AlgorithmSettings:
    """What an algorithm adds to AgentConfig: each field is a flag."""

    @property
    def needs_returns(self) -> bool:
        """Whether it trains on batches with ``return_to_go``."""
        return False

    @property
    def needs_next_actions(self) -> bool:
        """Whether it trains on batches with ``next_action``, which a replay does not know."""
        return False


@dataclass(frozen=True)
class CQLSettings(AlgorithmSettings):
    """Of CQL(H), arXiv:2006.04779."""

    cql_weight: float = option(5.0, "weight of CQL's penalty against ½ squared TD error; 0: SAC")
    cql_samples: int = option(10, "actions that CQL's penalty draws from each of: uniform, π(s), π(s')")
    cql_temperature: float = option(1.0, "temperature of the penalty's log-sum-exp")
    cql_lagrange: float | None = option(
        None, "tune the weight so that the penalty stays below this threshold; cql_weight is its start"
    )
    cal_ql: bool = option(
        False, "Cal-QL: do not push the policy's Q below the data's return, for going on online"
    )

    def __post_init__(self) -> None:
        finite(self)
        positive(self, "cql_samples", "cql_temperature")
        if self.cql_weight < 0 or (self.cql_weight == 0 and self.cql_lagrange is not None):
            raise ConfigError(
                f"cql_weight is {self.cql_weight}: it must not be negative, and above 0 with cql_lagrange"
            )

    @property
    def needs_returns(self) -> bool:
        return self.cal_ql


@dataclass(frozen=True)
class IQLSettings(AlgorithmSettings):
    """Of IQL, arXiv:2110.06169."""

    iql_expectile: float = option(0.7, "which expectile of Q over the data's actions V learns, in (0, 1)")
    iql_beta: float = option(
        3.0, "β in the weight exp(β · advantage) of an action, 100 at most; 0: plain cloning"
    )

    def __post_init__(self) -> None:
        finite(self)
        if not 0 < self.iql_expectile < 1 or self.iql_beta < 0:
            raise ConfigError(
                f"iql_expectile ({self.iql_expectile}) must lie in (0, 1), iql_beta ({self.iql_beta}) must "
                "not be negative"
            )


@dataclass(frozen=True)
class AWACSettings(AlgorithmSettings):
    """Of AWAC, arXiv:2006.09359."""

    awac_lambda: float = option(1.0, "λ in the weight exp(advantage / λ) of an action")

    def __post_init__(self) -> None:
        finite(self)
        positive(self, "awac_lambda")


@dataclass(frozen=True)
class TD3BCSettings(AlgorithmSettings):
    """Of TD3+BC, arXiv:2106.06860."""

    td3bc_alpha: float = option(2.5, "weight of Q against the squared distance from the data's action")

    def __post_init__(self) -> None:
        finite(self)
        positive(self, "td3bc_alpha")


@dataclass(frozen=True)
class ReBRACSettings(AlgorithmSettings):
    """Of ReBRAC, arXiv:2305.09836."""

    rebrac_actor_bc: float = option(
        0.01, "β₁: weight of the policy's squared distance from the data's action against Q"
    )
    rebrac_critic_bc: float = option(
        0.01, "β₂: what the critics' target loses for that distance at the next state"
    )

    def __post_init__(self) -> None:
        finite(self)
        if min(self.rebrac_actor_bc, self.rebrac_critic_bc) < 0:
            raise ConfigError("rebrac_actor_bc and rebrac_critic_bc must not be negative")

    @property
    def needs_next_actions(self) -> bool:
        return True


@dataclass(frozen=True)
class Entry:
    """One algorithm."""

    path: str  # "module:Class"
    settings: type[AlgorithmSettings] = AlgorithmSettings
    help: str = ""
    needs_data: bool = False  # online too: it learns which of others' actions to imitate
    not_online: str = ""  # why it cannot be the online phase's


SOFT_ACTOR_CRITIC = "sac"  # what a new agent trains with
BEHAVIOUR_CLONING = "bc"  # what bc_steps are of
ALGORITHMS: dict[str, Entry] = {
    SOFT_ACTOR_CRITIC: Entry("sac_dist.algorithms.sac:SAC", help="Soft Actor-Critic"),
    "cql": Entry("sac_dist.algorithms.cql:CQL", CQLSettings, "Conservative Q-Learning, Cal-QL"),
    "iql": Entry("sac_dist.algorithms.iql:IQL", IQLSettings, "Implicit Q-Learning", needs_data=True),
    "awac": Entry(
        "sac_dist.algorithms.awac:AWAC", AWACSettings, "Advantage Weighted Actor Critic", needs_data=True
    ),
    "td3bc": Entry("sac_dist.algorithms.td3bc:TD3BC", TD3BCSettings, "TD3+BC", needs_data=True),
    "rebrac": Entry(
        "sac_dist.algorithms.rebrac:ReBRAC",
        ReBRACSettings,
        "ReBRAC",
        not_online="it compares with the action that follows, which a replay does not know yet",
    ),
    BEHAVIOUR_CLONING: Entry(
        "sac_dist.algorithms.bc:BC",
        help="behaviour cloning",
        not_online="it would imitate itself",
    ),
}

# The settings of algorithms by name; plain, as files hold them, where the algorithm is not imported.
Algorithms = Mapping[str, AlgorithmSettings | Mapping[str, Any]]


def register(
    name: str, path: str, settings: type[AlgorithmSettings] = AlgorithmSettings, help: str = ""
) -> None:
    """Let ``--algo name`` mean the class at ``path`` ("module:Class").

    Call it where a module is imported, as every process of a run has to know the name.
    """
    if ":" in name or (name in ALGORITHMS and ALGORITHMS[name].path != path):
        raise ConfigError(f"{name!r} cannot name an algorithm: it holds a colon or is taken")
    ALGORITHMS[name] = Entry(path, settings, help)


def check_known(name: str, setting: str) -> None:
    """Raise ConfigError unless ``name`` has an entry or the form module:Class. Imports nothing."""
    if name not in ALGORITHMS and ":" not in name:
        known = ", ".join(ALGORITHMS)
        raise ConfigError(f"{setting} is {name!r}: give one of {known}, or your own as package.module:Class")


def check_online(name: str, has_data: bool) -> None:
    """Raise ConfigError where the algorithm ``name`` cannot be the online phase's."""
    entry = ALGORITHMS.get(name, Entry(name))
    if entry.not_online:
        raise ConfigError(f"online_algo {name} cannot learn online: {entry.not_online}; give --algo {name}")
    if entry.needs_data and not has_data:
        raise ConfigError(f"online_algo {name} learns from others' actions: give them with --demos")


def load(name: str) -> type[Any]:
    """The algorithm's class, imported. Raises ConfigError where there is none."""
    check_known(name, "algo")
    module, _, attribute = (ALGORITHMS[name].path if name in ALGORITHMS else name).partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever a module of the user's raises
        raise ConfigError(f"the algorithm {name} does not load: {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and hasattr(found, "Settings")):
        raise ConfigError(f"{name} is no algorithm: it has to be a subclass of algorithms.base.Algorithm")
    return found


def settings_class(name: str) -> type[AlgorithmSettings]:
    """The class of an algorithm's own settings; imports the algorithm only where it has no entry."""
    if name in ALGORITHMS:
        return ALGORITHMS[name].settings
    found: type[AlgorithmSettings] = load(name).Settings
    return found


def settings_of(algorithms: Algorithms, name: str) -> AlgorithmSettings:
    """The settings of the algorithm ``name``. Raises ConfigError for one that it does not have."""
    given = algorithms.get(name, {})
    if isinstance(given, AlgorithmSettings):
        return given
    made = settings_class(name)
    if unknown := sorted(set(given) - names_of(made)):
        raise ConfigError(f"unknown setting {unknown[0]!r} of {name}: made by another version of it")
    return made(**given)


def with_defaults(algorithms: Algorithms, *used: str) -> dict[str, AlgorithmSettings | Mapping[str, Any]]:
    """``algorithms``, and the defaults of those in ``used`` that are missing."""
    found: dict[str, AlgorithmSettings | Mapping[str, Any]] = {}
    for name in dict.fromkeys((*used, *algorithms)):
        found[name] = settings_of(algorithms, name) if name in ALGORITHMS else algorithms.get(name, {})
    return found


def algorithms_apart(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """A configuration's sections as files hold them, with the algorithms' settings in "algorithms".

    In version 0.1.0 CQL's were the agent's.
    """
    found = {name: dict(values) for name, values in parts.items()}
    apart = found.setdefault("algorithms", {})
    agent = found.get("agent", {})
    for name, entry in ALGORITHMS.items():
        own = {each: agent.pop(each) for each in names_of(entry.settings) & agent.keys()}
        if own:
            apart[name] = own | apart.get(name, {})
    return found


def routed(settings: dict[str, Any], *used: str) -> dict[str, AlgorithmSettings]:
    """The algorithms' settings by algorithm, from settings by flat name, which leave ``settings``. Algorithms
    in ``used`` come first, and are imported where they have no entry.
    """
    found = {}
    for name in dict.fromkeys((*used, *ALGORITHMS)):
        made = settings_class(name)
        given = {each: settings.pop(each) for each in sorted(names_of(made) & settings.keys())}
        if given:
            found[name] = made(**given)
    return found


def names_of(settings: type[AlgorithmSettings]) -> set[str]:
    """The settings' names."""
    return {option.name for option in fields(settings)}
