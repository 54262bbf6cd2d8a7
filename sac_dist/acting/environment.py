"""Environments as the agent sees them: flat float32 observations, actions in [-1, 1], and an end."""

from __future__ import annotations

import copy
import difflib
import importlib
import importlib.util
import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.spaces import Box, Space
from gymnasium.wrappers import DtypeObservation, RescaleAction, TimeLimit

import envs
from envs.options import PATHS
from envs.tasks.arm import ArmEnv
from sac_dist.acting.failures import NoPicture, install_line, reason
from sac_dist.acting.observation import FlatObservation
from sac_dist.acting.shipping import unpacked
from sac_dist.data.schema import is_picture, named_parts
from sac_dist.settings import ConfigError, EnvConfig, check_path
from sac_dist.settings.environment import DEFAULT_HORIZON

# Environments that people ask for by their bare id, and the package that registers them.
PACKAGES = {
    ("Fetch", "Hand", "Adroit", "PointMaze", "AntMaze", "FrankaKitchen"): "gymnasium_robotics",
    ("Panda",): "panda_gym",
    ("Meta-World",): "metaworld",
    ("dm_control/",): "shimmy",
}


class DefaultLimit(TimeLimit):
    """The limit of an environment that has none of its own."""


def make_env(config: EnvConfig, render_mode: str | None = None) -> gymnasium.Env:
    """The environment with (O,) float32 observations and (A,) float32 actions in [-1, 1]; every episode ends.

    Raises ConfigError, in one line, for an unknown id, an argument that the constructor does not take or
    misses, a simulator or package that does not work, and spaces that are no vectors. Gymnasium's checking
    wrappers are left out: they cost time at every step.
    """
    env = make_own_env(config, render_mode)
    try:
        return as_vectors(env, config.name, config.frame_stack)
    except ConfigError:
        close(env)
        raise


def make_own_env(config: EnvConfig, render_mode: str | None = None) -> gymnasium.Env:
    """As ``make_env``, but with the environment's own observations and actions."""
    name, spec, maker, kwargs = _found(config)
    takes_horizon = "horizon" in _parameters(maker) and "horizon" not in kwargs
    if config.horizon is not None and takes_horizon:
        kwargs["horizon"] = config.horizon
    _check_arguments(name, maker, (spec.kwargs if spec else {}) | kwargs, render_mode)
    if render_mode is not None:
        kwargs["render_mode"] = render_mode
    return _bounded(_start(name, spec, maker, kwargs, config.horizon), config.horizon)


def with_absolute_paths(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """An environment's arguments; what in them names a file of the task's is found from any folder then.

    Raises ConfigError for a name that no file can have.
    """
    given = {option: kwargs[option] for option in PATHS if isinstance(kwargs.get(option), str)}
    return {**kwargs} | {option: _absolute(name) for option, name in given.items()}


def _absolute(name: str) -> str:
    check_path(name)
    if Path(name).is_file():  # a folder may be called as a robot or an object is
        return str(Path(name).resolve())
    arm, joined, hand = name.partition("+")
    if not joined:
        return name
    gripper, at, site = hand.partition("@")
    return f"{_absolute(arm)}+{_absolute(gripper)}{at}{site}"


def is_arm_task(config: EnvConfig) -> bool:
    """Whether it is a task on the base class of this package's, and so has their options. Starts nothing.

    Raises ConfigError as :func:`make_env` does.
    """
    maker = _found(config)[2]
    return isinstance(maker, type) and issubclass(maker, ArmEnv)


def close(env: gymnasium.Env) -> str | None:
    """Close ``env``; returns what went wrong, in a line: that undoes nothing of what was done before."""
    try:
        env.close()
    except (Exception, SystemExit) as error:
        return reason(error)
    return None


def time_limit_of(env: gymnasium.Env) -> int | None:
    """Steps after which the environment, or a wrapper in it, truncates an episode; None: nothing does."""
    limits = []
    layer = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, TimeLimit):
            limits.append(int(layer._max_episode_steps))
        layer = layer.env
    if getattr(layer, "truncates_at_horizon", False):  # envs' own tasks
        limits.append(layer.horizon)  # type: ignore[attr-defined]
    return min(limits, default=None)


def has_default_limit(env: gymnasium.Env) -> bool:
    """Whether an environment of ``make_env`` would not end by itself."""
    layer = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, DefaultLimit):
            return True
        layer = layer.env
    return False


def _found(config: EnvConfig) -> tuple[str, EnvSpec | None, Callable[..., Any], dict[str, Any]]:
    """Its name, its registration where it has one, its class or function, and the arguments of that."""
    name = config.name
    maker, kwargs = unpacked(config)
    if maker == "auto":
        resolved = envs.resolve(maker, kwargs)
        maker = name = resolved.id
        if resolved.backend is not None:
            kwargs.setdefault("backend", resolved.backend)
    if not isinstance(maker, str | EnvSpec):
        return name, None, maker, kwargs
    spec = copy.deepcopy(_find_spec(maker) if isinstance(maker, str) else maker)
    spec.order_enforce = False
    return name, spec, _creator(spec), kwargs


def _bounded(env: gymnasium.Env, horizon: int | None) -> gymnasium.Env:
    limit = time_limit_of(env)
    if horizon is not None:
        return env if limit is not None and limit <= horizon else TimeLimit(env, horizon)
    return env if limit is not None else DefaultLimit(env, DEFAULT_HORIZON)


def _start(
    name: str, spec: EnvSpec | None, maker: Callable[..., Any], kwargs: dict[str, Any], horizon: int | None
) -> gymnasium.Env:
    try:
        if spec is None:
            env = maker(**kwargs)
        else:
            if horizon is not None and spec.max_episode_steps is not None:
                spec.max_episode_steps = horizon
            env = gymnasium.make(spec, disable_env_checker=True, **kwargs)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{name} does not start: {reason(error)}") from error
    if not isinstance(env, gymnasium.Env):
        raise ConfigError(
            f"{name} is a {type(env).__name__}, not a gymnasium.Env: derive it from gymnasium.Env"
        )
    for kind in ("observation_space", "action_space"):
        space = getattr(env, kind, None)
        if not isinstance(space, Space):
            what = "no" if space is None else f"the {type(space).__module__}.{type(space).__name__} as its"
            raise ConfigError(
                f"{name} has {what} {kind}: its constructor has to set self.{kind} to one of "
                "gymnasium.spaces, such as Box(-1, 1, (3,))"
            )
    return env


def _find_spec(identifier: str) -> EnvSpec:
    module, _, name = identifier.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return gymnasium.spec(name)
    except gymnasium.error.DeprecatedEnv as error:
        raise ConfigError(reason(error)) from error
    except gymnasium.error.Error as error:
        raise ConfigError(f"there is no environment {identifier}{_suggestion(name)}") from error
    except ImportError as error:
        raise ConfigError(f"{identifier} cannot be imported: {reason(error)}") from error
    except SystemExit as error:
        raise ConfigError(
            f"{module} ends the program while it is imported: {reason(error)}: what reads a command line "
            'belongs under if __name__ == "__main__"'
        ) from error
    except Exception as error:
        raise ConfigError(f"{module} cannot be imported: {reason(error)}") from error


def _suggestion(name: str) -> str:
    for starts, package in PACKAGES.items():
        if name.startswith(starts):
            missing = (
                "" if importlib.util.find_spec(package) else f", once it is there: {install_line(package)}"
            )
            return f": it is {package}:{name}{missing}"
    names = {known.lower(): known for known in gymnasium.registry}
    close = [names[match] for match in difflib.get_close_matches(name.lower(), names, n=3)]
    packages = "a package's own environments are named package:Name-v0"
    return f": did you mean {' or '.join(close)}? Else: {packages}" if close else f"; {packages}"


def _creator(spec: EnvSpec) -> Callable[..., Any]:
    try:
        creator: Any = spec.entry_point
        return load_env_creator(creator) if isinstance(creator, str) else creator
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{spec.id} does not start: {reason(error)}") from error


def _parameters(maker: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(maker).parameters)
    except (TypeError, ValueError):  # what is written in C tells nothing
        return {"anything": inspect.Parameter("anything", inspect.Parameter.VAR_KEYWORD)}


def _check_arguments(
    name: str, maker: Callable[..., Any], kwargs: dict[str, Any], render_mode: str | None
) -> None:
    """Hold the arguments against the constructor's parameters before anything is started."""
    parameters = _parameters(maker)
    kinds = {parameter.kind for parameter in parameters.values()}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        unknown = [argument for argument in kwargs if argument not in parameters]
        if unknown:
            raise ConfigError(f"{name} has no option {unknown[0]}")
        if render_mode is not None and "render_mode" not in parameters:
            raise ConfigError(f"{name} has no option render_mode: it cannot draw")
    missing = [
        parameter.name
        for parameter in parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and parameter.name not in kwargs
    ]
    if missing:
        raise ConfigError(
            f"{name} needs the argument {missing[0]}: give --env-kwargs '{{\"{missing[0]}\": …}}', or "
            f'from Python EnvConfig(…, {{"{missing[0]}": …}})'
        )
    metadata = getattr(maker, "metadata", None)  # of a wrapper's class it is a property
    modes = metadata.get("render_modes") if isinstance(metadata, dict) else None
    if render_mode is not None and modes is not None and render_mode not in modes:
        raise NoPicture(f"{name} has no render mode {render_mode}; it has {', '.join(modes) or 'none'}")


class FlatAction(gymnasium.ActionWrapper):
    """From a vector to the environment's own array of actions, row by row, or to its single number."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        inner = env.action_space
        assert isinstance(inner, Box)
        self.inner_shape = inner.shape
        self.action_space = Box(inner.low.ravel(), inner.high.ravel(), dtype=inner.dtype)

    def action(self, action: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return action.reshape(self.inner_shape)


class ClippedRescaleAction(RescaleAction):
    """From [-1, 1] to the environment's own range, whose ends rounding cannot pass."""

    def __init__(self, env: gymnasium.Env) -> None:
        with np.errstate(over="ignore"):  # gymnasium compares the largest float64 as a float32
            super().__init__(env, np.float32(-1), np.float32(1))
        inner = env.action_space
        assert isinstance(inner, Box)
        self.low, self.high, self.inner_dtype = inner.low, inner.high, inner.dtype

    def action(self, action: npt.NDArray[Any]) -> npt.NDArray[Any]:
        rescaled = np.minimum(np.maximum(super().action(action), self.low), self.high)
        return rescaled.astype(self.inner_dtype, copy=False)


def as_vectors(env: gymnasium.Env, name: str, stack: int | None = None) -> gymnasium.Env:
    """``env``, which is called ``name``, with the observations and actions of ``make_env``; ``stack``:
    EnvConfig's ``frame_stack``.
    """
    actions, observations = env.action_space, env.observation_space
    if not isinstance(actions, Box) or not np.issubdtype(actions.dtype, np.floating):
        raise ConfigError(
            f"{name} has the action space {actions}: SAC needs continuous actions, a Box of floats"
        )
    with np.errstate(all="ignore"):
        ranges = actions.high - actions.low  # overflows where the limits mean "none"
        slopes = 2 / ranges
    if not (np.isfinite(ranges).all() and (ranges > 0).all() and np.isfinite(slopes).all()):
        raise ConfigError(
            f"{name} has the action space {actions}: each action needs a finite range to be "
            "rescaled from [-1, 1]"
        )
    seen = any(map(is_picture, named_parts(observations).values()))
    if not seen and not observations.is_np_flattenable:
        raise ConfigError(
            f"{name} has the observation space {observations}: the networks need numbers that "
            "flatten to a vector"
        )
    if stack is not None and not seen:
        raise ConfigError(f"{name} observes no pictures that --frame-stack could stack: leave it out")
    if len(actions.shape) != 1:
        env = FlatAction(env)
        actions = env.action_space
    if actions != Box(-1, 1, actions.shape, np.float32):
        env = ClippedRescaleAction(env)
    if not isinstance(observations, Box) or len(observations.shape) != 1:
        return FlatObservation(env, stack or 1)
    if env.observation_space.dtype != np.float32:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the bounds lose digits
            env = DtypeObservation(env, np.float32)
    return env
