"""The algorithms that a run can name, with the settings that are theirs alone. Imports none of them.

An algorithm is a class in one file (see sac_dist/algorithms/base.py and docs/algorithms.md) and one entry here;
``--algo package.module:Class`` takes a class that has no entry.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sac_dist.settings.option import ConfigError, option, positive


@dataclass(frozen=True)
class AlgorithmSettings:
    """What an algorithm adds to AgentConfig: each field is a flag."""

    @property
    def needs_returns(self) -> bool:
        """Whether it trains on batches with ``return_to_go``."""
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
        positive(self, "cql_samples", "cql_temperature")
        if self.cql_weight < 0 or (self.cql_weight == 0 and self.cql_lagrange is not None):
            raise ConfigError(
                f"cql_weight is {self.cql_weight}: it must not be negative, and above 0 with cql_lagrange"
            )

    @property
    def needs_returns(self) -> bool:
        return self.cal_ql


@dataclass(frozen=True)
class Entry:
    """One algorithm."""

    path: str  # "module:Class"
    settings: type[AlgorithmSettings] = AlgorithmSettings
    help: str = ""


SOFT_ACTOR_CRITIC = "sac"  # what a new agent trains with
BEHAVIOUR_CLONING = "bc"  # what bc_steps are of
ALGORITHMS: dict[str, Entry] = {
    SOFT_ACTOR_CRITIC: Entry("sac_dist.algorithms.sac:SAC", help="Soft Actor-Critic"),
    "cql": Entry("sac_dist.algorithms.cql:CQL", CQLSettings, "Conservative Q-Learning, Cal-QL"),
    BEHAVIOUR_CLONING: Entry("sac_dist.algorithms.bc:BC", help="behaviour cloning"),
}

Algorithms = Mapping[str, AlgorithmSettings | Mapping[str, Any]]  # settings by algorithm, or plain as read


def register(
    name: str, path: str, settings: type[AlgorithmSettings] = AlgorithmSettings, help: str = ""
) -> None:
    """Let ``--algo name`` mean the class at ``path`` ("module:Class"). Call it where a module is imported: every
    process of a run has to know the name.
    """
    if ":" in name or (name in ALGORITHMS and ALGORITHMS[name].path != path):
        raise ConfigError(f"{name!r} cannot name an algorithm: it holds a colon or is taken")
    ALGORITHMS[name] = Entry(path, settings, help)


def check_known(name: str, setting: str) -> None:
    """Raise ConfigError unless ``name`` has an entry or the form module:Class. Imports nothing."""
    if name not in ALGORITHMS and ":" not in name:
        known = ", ".join(ALGORITHMS)
        raise ConfigError(f"{setting} is {name!r}: it is one of {known}, or your own as package.module:Class")


def load(name: str) -> type[Any]:
    """The algorithm's class, imported. Raises ConfigError where there is none."""
    check_known(name, "algo")
    module, _, attribute = (ALGORITHMS[name].path if name in ALGORITHMS else name).partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"the algorithm {name} cannot be imported: {error}") from error
    if not (isinstance(found, type) and hasattr(found, "Settings")):
        raise ConfigError(
            f"{name} is no algorithm: it has to be a subclass of sac_dist.algorithms.base.Algorithm"
        )
    return found


def settings_class(name: str) -> type[AlgorithmSettings]:
    """The dataclass of an algorithm's own settings; imports the algorithm only where it has no entry."""
    found: type[AlgorithmSettings] = ALGORITHMS[name].settings if name in ALGORITHMS else load(name).Settings
    return found


def settings_of(algorithms: Algorithms, name: str) -> AlgorithmSettings:
    """The settings of the algorithm ``name``, of its own class. Raises ConfigError for one that it lacks."""
    given = algorithms.get(name, {})
    if isinstance(given, AlgorithmSettings):
        return given
    made = settings_class(name)
    if unknown := set(given) - {f.name for f in fields(made)}:
        raise ConfigError(f"{name} has no setting {sorted(unknown)[0]!r}")
    return made(**given)


def with_defaults(algorithms: Algorithms, *used: str) -> dict[str, AlgorithmSettings | Mapping[str, Any]]:
    """``algorithms`` and the defaults of those that are missing: all with an entry and settings, and ``used``."""
    listed = [name for name, entry in ALGORITHMS.items() if fields(entry.settings)]
    missing = {name: {} for name in (*listed, *used) if name not in algorithms}
    found = {**missing, **algorithms}
    return {name: settings_of(found, name) if name in ALGORITHMS else given for name, given in found.items()}


def algorithms_apart(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """A configuration's sections as files hold them, with "algorithms" apart: in version 0.1.0 CQL's settings were
    the agent's.
    """
    found = {name: dict(values) for name, values in parts.items()}
    apart = found.setdefault("algorithms", {})
    agent = found.get("agent", {})
    for name, entry in ALGORITHMS.items():
        own = {f.name: agent.pop(f.name) for f in fields(entry.settings) if f.name in agent}
        if own:
            apart[name] = own | apart.get(name, {})
    return found


def routed(settings: dict[str, Any], *used: str) -> dict[str, AlgorithmSettings]:
    """The algorithms' settings among ``settings`` by flat names, which leave it; ``used`` are imported if need be."""
    found = {}
    for name in dict.fromkeys((*ALGORITHMS, *used)):
        own = settings_class(name)
        given = {f.name: settings.pop(f.name) for f in fields(own) if f.name in settings}
        if given:
            found[name] = own(**given)
    return found
