"""What a run takes beside the settings that were given: those tuned for its environment and for pictures, or,
where nobody tuned any, the preset ``general``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sac_dist.settings import tuned
from sac_dist.settings.presets import GENERAL, PIXELS, listed
from sac_dist.settings.values import defaults

SHORTEST, LONGEST = 20, 100  # steps that the discount looks ahead, 1 / (1 - γ)
SHARE = 5  # an episode's steps by those


class Taken(NamedTuple):
    """The settings of a run by flat name, a line that says what was tuned, and what is taken besides if the
    environment turns out to be none of this package's tasks.
    """

    settings: dict[str, Any]
    line: str | None
    if_unknown: dict[str, Any]


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
        return Taken(dict(given), None, general_beneath(given) if unknown else {})
    else:
        name = env
    known = defaults()
    new = {n: value for n, value in values.items() if n not in given and value != known.get(n)}
    line = f"settings tuned for {name}{f' ({file})' if own else ''}: {listed(new)}" if new else None
    return Taken({**values, **given}, line, {})


def of_cameras(env: str, given: Mapping[str, Any]) -> bool:
    """Whether the settings ask for the cameras of this package's tasks."""
    if ":" in env:
        return False
    kwargs = given.get("env_kwargs")
    within = kwargs.get("observation") if isinstance(kwargs, Mapping) else None
    return str(given.get("observation", within)).startswith("camera")


def general_beneath(given: Mapping[str, Any]) -> dict[str, Any]:
    """The preset ``general`` without what was given, and without what contradicts that."""
    values = {name: value for name, value in GENERAL.items() if name not in given}
    scaled = {"reward_scale", "reward_bias", "normalize_rewards"} & set(given)
    if scaled or given.get("engine") == "ray":
        values.pop("normalize_returns", None)
    if given.get("engine") == "ray" or given.get("her") not in (None, "none"):
        values.pop("n_step", None)
    return values


def fitted(values: Mapping[str, Any], horizon: int | None, her: str) -> dict[str, Any]:
    """``general`` for episodes of at most ``horizon`` steps, with DataConfig's ``her``."""
    values = dict(values)
    if horizon is not None and "discount" in values:
        values["discount"] = discount_for(horizon)
    if "n_step" in values:
        values["n_step"] = 1 if her != "none" else min(values["n_step"], horizon or values["n_step"])
    return values


def discount_for(horizon: int) -> float:
    """γ for episodes of at most ``horizon`` steps: it looks a fifth of them ahead, as TD-MPC2's does
    (arXiv:2310.16828), 20 steps at least and 100 at most.
    """
    return round(1 - 1 / min(max(horizon / SHARE, SHORTEST), LONGEST), 4)
