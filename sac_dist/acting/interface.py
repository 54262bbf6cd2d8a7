"""Whether an environment speaks gymnasium's present interface: one reset and one step, before a run."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.wrappers import NormalizeObservation

from sac_dist.acting.environment import has_default_limit
from sac_dist.acting.episode import Play
from sac_dist.acting.failures import reason
from sac_dist.acting.interventions import IS_INTERVENTION
from sac_dist.acting.observation import schema_of
from sac_dist.acting.suitability import about_actions
from sac_dist.data.schema import Schema
from sac_dist.settings import ConfigError
from sac_dist.settings.environment import DEFAULT_HORIZON

RESET = "gymnasium wants reset(self, *, seed=None, options=None) to return (observation, info)"
STEP = "gymnasium wants step(self, action) to return (observation, reward, terminated, truncated, info)"


def check_interface(env: gymnasium.Env, name: str) -> bool:
    """Reset ``env``, as ``make_env`` makes it, and take one step. Returns whether its infos say what a person
    does (acting/interventions.py).

    Where that fails the environment itself is looked at without its wrappers, which would be blamed for what
    it returns; not before, since it may need them (Meta-World's choose its task). Raises ConfigError in one
    line that says what is wrong and what gymnasium wants.
    """
    try:
        _check_reset(_call(name, "reset", RESET, env.reset, seed=0), name)
        _check_step(_call(name, "step", STEP, env.step, _some_action(env.action_space)), name)
        play = _call(name, "reset", RESET, Play, env, 0)
        first = play.observation
        _call(name, "step", STEP, play.step, _some_action(env.action_space))
        _check_cameras(schema_of(env), np.maximum(first, play.observation), name)
        return IS_INTERVENTION in play.info
    except ConfigError:
        _check_bare(env.unwrapped, name)
        raise


def _check_cameras(schema: Schema, brightest: np.ndarray, name: str) -> None:
    """Raise ConfigError for a picture that is black after a reset and after a step."""
    for field in schema.pictures:
        if not brightest[schema.spans[field.name]].any():
            raise ConfigError(
                f"{name}: the picture {field.name} is black after a reset and after a step: look at what "
                "the camera sees, and whether there is light"
            )


def _check_bare(env: gymnasium.Env, name: str) -> None:
    """Raises ConfigError for what it returns; what it raises may be the lack of its wrappers."""
    try:
        _check_reset(env.reset(seed=0), name)
        _check_step(env.step(_some_action(env.action_space)), name)
    except ConfigError:
        raise
    except Exception:
        return


def notes_on(env: gymnasium.Env, name: str) -> list[str]:
    """Lines that a user has to read before a run of ``env``, as ``make_env`` makes it."""
    notes = []
    if has_default_limit(env):
        notes.append(
            f"{name} has no limit of its own: its episodes are truncated after {DEFAULT_HORIZON:,} steps; "
            "--horizon sets another limit"
        )
    layer = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, NormalizeObservation):
            notes.append(
                f"{name} normalizes observations by statistics that each process gathers for itself: the "
                "policy is evaluated on other numbers than it is trained on; leave NormalizeObservation out "
                "and give --normalize-observations, whose statistics all processes share"
            )
        layer = layer.env
    return [*notes, *(f"{name}: {line}" for line in about_actions(env))]


def _call(name: str, what: str, wanted: str, function: Any, *arguments: Any, **keywords: Any) -> Any:
    try:
        return function(*arguments, **keywords)
    except ConfigError:
        raise
    except TypeError as error:
        wrong_arguments = "unexpected keyword argument" in str(error) or "positional argument" in str(error)
        hint = f": {wanted}" if wrong_arguments else ""
        raise ConfigError(f"{name}: {what} fails: {reason(error)}{hint}") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{name}: {what} fails: {reason(error)}") from error


def _some_action(space: gymnasium.Space) -> Any:
    """The middle of a box with ends; what the user's own wrapper turns into a box may be any space."""
    if isinstance(space, Box) and space.is_bounded():
        middle = space.low / 2 + space.high / 2
        return middle.astype(space.dtype)
    space.seed(0)
    return space.sample()


def _check_reset(result: Any, name: str) -> None:
    if not isinstance(result, tuple) or len(result) != 2:
        raise ConfigError(f"{name}: reset returns {_kind(result)}: {RESET}")
    _check_info(result[1], "reset", RESET, name)


def _check_step(result: Any, name: str) -> None:
    if not isinstance(result, tuple) or len(result) != 5:
        raise ConfigError(f"{name}: step returns {_kind(result)}: {STEP}")
    _check_info(result[4], "step", STEP, name)


def _check_info(info: Any, what: str, wanted: str, name: str) -> None:
    if not isinstance(info, dict):
        raise ConfigError(f"{name}: {what} returns the info {_kind(info)}: {wanted}, and info is a dict")


def _kind(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{len(value)} values"
    return "None" if value is None else f"one {type(value).__name__}"
