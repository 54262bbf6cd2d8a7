"""What a run takes beside the settings that were given: those tuned for its environment and for pictures, or,
where nobody tuned any, the preset ``general``, or ``plain`` where that cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sac_dist.settings import tuned
from sac_dist.settings.presets import GENERAL, PIXELS, PLAIN, listed
from sac_dist.settings.values import defaults

SHORTEST, LONGEST = 20, 100  # steps that the discount looks ahead, 1 / (1 - γ)
SHARE = 5  # an episode's steps by those
OF_UNKNOWN = frozenset(GENERAL) | frozenset(PLAIN)
# Of another learner than ``general``'s, or of its kin with another value than ``general`` has.
NOT_OF_GENERAL = "tau", "layer_norm"
KIN = "network", "target_network", "distribution", "learner", "normalize_returns"
SCALES = "reward_scale", "reward_bias", "normalize_rewards"


class Taken(NamedTuple):
    """The settings of a run by flat name, a line that says what was tuned, and the names of those that
    ``for_unknown`` has a value for if the environment turns out to be none of this package's tasks.
    """

    settings: dict[str, Any]
    line: str | None
    if_unknown: frozenset[str]


def taken(given: Mapping[str, Any], preset: str | None = None) -> Taken:
    """What was ``given`` over what is tuned for its ``env``, and for policies that see. A preset has values
    for everything: beneath it there is no ``general``. Raises ConfigError for a file of the user's that
    cannot be read.
    """
    env = given.get("env", "auto")
    file = tuned.file_of(env)
    own = file is not None and file.parent == tuned.OWN
    values = {} if file is None else tuned.read(file, env)
    if preset is None and of_cameras(env, given):
        values = PIXELS | values if own else values | PIXELS
        name = "pictures" if file is None else f"{env} and pictures"
    elif file is None:
        unknown = env != "auto" and preset is None
        return Taken(dict(given), None, OF_UNKNOWN - given.keys() if unknown else frozenset())
    else:
        name = env
    known = defaults()
    new = {n: value for n, value in values.items() if n not in given and value != known.get(n)}
    line = f"settings tuned for {name}{f' ({file})' if own else ''}: {listed(new)}" if new else None
    return Taken({**values, **given}, line, frozenset())


def of_cameras(env: str, given: Mapping[str, Any]) -> bool:
    """Whether the settings ask for the cameras of this package's tasks."""
    if ":" in env:
        return False
    kwargs = given.get("env_kwargs")
    within = kwargs.get("observation") if isinstance(kwargs, Mapping) else None
    return str(given.get("observation", within)).startswith("camera")


def for_unknown(
    settings: dict[str, Any], names: frozenset[str], horizon: int | None, pictures: bool
) -> tuple[str, dict[str, Any]]:
    """The preset for a task that nobody tuned anything for, and its values for ``names``.

    Args:
        settings: all of the run, by flat name; those that are not in ``names`` were given.
        horizon: an episode's steps, at most.
        pictures: whether observations have some.
    """
    known = defaults()
    settings = known | settings
    general = not pictures and _may_be_general(settings, names)
    preset = GENERAL if general else PLAIN
    values = {name: value for name, value in preset.items() if name in names}
    values |= {name: known[name] for name in sorted(names - values.keys())}
    if "learner" in values and settings["workers"] == 1:
        values["learner"] = None  # one process repeats a run bit for bit
    scaled = any(settings[name] != known[name] for name in SCALES)
    if "normalize_returns" in values and (scaled or settings["engine"] == "ray"):
        values["normalize_returns"] = False
    if horizon is not None and "discount" in values:
        values["discount"] = discount_for(horizon)
    return "general" if general else "plain", values


def _may_be_general(settings: dict[str, Any], names: frozenset[str]) -> bool:
    """Not where another learner is asked for, rewards are scaled otherwise or a phase is not SAC's; nor with
    goals in hindsight, for which it was not measured.
    """
    known, given = defaults(), OF_UNKNOWN - names
    return (
        not given.intersection(NOT_OF_GENERAL)
        and all(settings[name] == GENERAL[name] for name in given.intersection(KIN))
        and all(settings[name] == known[name] for name in (*SCALES, "dropout", "engine", "online_algo"))
        and not any(settings[name] for name in ("offline", "offline_steps", "bc_steps"))
        and settings["her"] == "none"
    )


def discount_for(horizon: int) -> float:
    """γ for episodes of at most ``horizon`` steps: it looks a fifth of them ahead, as TD-MPC2's does
    (arXiv:2310.16828), 20 steps at least and 100 at most.
    """
    return round(1 - 1 / min(max(horizon / SHARE, SHORTEST), LONGEST), 4)
