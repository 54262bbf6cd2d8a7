"""Environments as the agent sees them, checked at every step, and the loop that plays an episode for
evaluation, recording and showing.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.spaces import Box, Dict, Space, Tuple
from gymnasium.wrappers import DtypeObservation, RescaleAction

import envs
from envs.backends.base import BackendError
from sac_dist.acting.observation import FlatObservation
from sac_dist.settings import ConfigError, EnvConfig

TRAINING_SEEDS = (
    2**30
)  # training draws its seeds below this number, evaluation.py counts up from it: they never meet
# of a reward or an entry of an observation: an update squares them and what it makes of them, in float32
LARGEST = 1e15


class EnvironmentFault(ConfigError):
    """An environment returned what can be neither acted on nor learned from."""


class NoPicture(ConfigError):
    """The environment cannot be drawn here; it may well be played."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One finished episode."""

    total_reward: float  # undiscounted sum of the environment's own rewards
    length: int  # environment steps
    success: bool | None  # None: the environment does not say
    terminated: bool  # False: it was truncated


def training_seed(seed: int, rank: int, generation: int, episode: int) -> int:
    """The reset seed, in [0, 2**30), of one episode of one life (``generation``) of one worker (``rank``)."""
    return int(
        np.random.SeedSequence((seed, rank, generation, episode)).generate_state(1)[0] % TRAINING_SEEDS
    )


def success_of(info: Mapping[str, Any]) -> bool | None:
    """``info["success"]`` (or gymnasium-robotics' ``is_success``) as a bool; None where the environment says
    neither.
    """
    success = info.get("success", info.get("is_success"))
    return None if success is None else bool(success)


class Play:
    """One episode, step by step. Whatever the environment returns is checked before anybody uses it.

    Raises EnvironmentFault, in one line, for an observation that is not a vector of the space's size, and for
    a number that is not finite or beyond ``LARGEST``: a single one in the replay could spoil the networks for
    good.
    """

    def __init__(self, env: gymnasium.Env, seed: int | None) -> None:
        """Resets the environment. ``observation`` is the present one, float32 (O,), an array of its own."""
        self.env, self.seed = env, seed
        self.shape = env.observation_space.shape
        self.total_reward, self.length, self.over = 0.0, 0, False
        self.observation = self._vector(env.reset(seed=seed)[0])

    def step(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """Act; returns reward, terminated and truncated."""
        reward: Any
        observation, reward, terminated, truncated, self._info = self.env.step(action)
        self.length += 1
        self.observation = self._vector(observation)
        try:
            real = -LARGEST <= reward <= LARGEST  # false for nan too
        except (TypeError, ValueError):  # text, a complex number, several numbers
            real = False
        if not real:
            self._fault(f"reward is {_brief(reward)}, not a number up to {LARGEST:g}")
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if flag is not True and flag is not False and not _is_flag(flag):
                self._fault(f"{name} is {_brief(flag)}, neither true nor false")
        reward, self._terminated = float(reward), bool(terminated)
        self.total_reward += reward
        self.over = self._terminated or bool(truncated)
        return reward, self._terminated, bool(truncated)

    def episode(self) -> Episode:
        """The episode, once it is over."""
        return Episode(self.total_reward, self.length, success_of(self._info), self._terminated)

    def _vector(self, observation: Any) -> np.ndarray:
        try:
            vector = np.array(
                observation, np.float32
            )  # a copy: an environment may write each observation into the same array
        except (TypeError, ValueError) as error:
            self._fault(f"observation is no array of numbers ({error})")
        if vector.shape != self.shape:
            self._fault(f"observation has the shape {vector.shape} instead of {self.shape}")
        if (
            not np.vdot(vector, vector) <= LARGEST**2
        ):  # quicker than to look at each number; false for nan too
            bad = np.flatnonzero(~(np.abs(vector) <= LARGEST))
            if len(bad):
                number = vector[bad[0]]
                self._fault(
                    f"observation[{bad[0]}] is "
                    f"{number:g}{f', beyond {LARGEST:g},' if np.isfinite(number) else ''}"
                )
        return vector

    def _fault(self, what: str) -> NoReturn:
        spec = self.env.spec
        name = type(self.env.unwrapped).__name__ if spec is None else spec.id
        place = f"step {self.length} of an episode" if self.length else "the reset"
        raise EnvironmentFault(f"{name}: {what} after {place} with seed {self.seed}") from None


def _is_flag(value: Any) -> bool:
    try:
        return bool(value in (True, False))  # numpy's too, and 0 and 1
    except ValueError:  # several
        return False


def _brief(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}…"


def run_episode(
    env: gymnasium.Env,
    act: Callable[[np.ndarray], np.ndarray],
    seed: int | None,
    on_frame: Callable[[np.ndarray], None] | None = None,
) -> Episode:
    """Play one episode.

    ``act`` maps a float32 (O,) observation to a float32 (A,) action in [-1, 1]. ``on_frame`` gets
    ``env.render()``, an (H, W, 3) uint8 picture, of the first state and after each step. Raises ConfigError
    where the environment cannot draw, and EnvironmentFault as ``Play`` does.
    """
    play = Play(env, seed)
    if on_frame is not None:
        on_frame(_picture(env))
    while not play.over:
        play.step(act(play.observation))
        if on_frame is not None:
            on_frame(_picture(env))
    return play.episode()


def make_env(config: EnvConfig, render_mode: str | None = None) -> gymnasium.Env:
    """The environment with (O,) float32 observations and (A,) float32 actions in [-1, 1].

    Raises ConfigError, in one line, for an unknown id, an option that the environment does not have, a
    simulator or package that does not work, and spaces that are no vectors. Gymnasium's checking wrappers are
    left out: they cost time at every step.
    """
    identifier, options = config.env, config.options()
    if identifier == "auto":
        resolved = envs.resolve(identifier, scene=config.scene)
        identifier = resolved.id
        if resolved.backend is not None:
            options.setdefault("backend", resolved.backend)
    spec = copy.deepcopy(_find_spec(identifier))
    spec.order_enforce = False
    _check_options(spec, options, render_mode)
    if render_mode is not None:
        options["render_mode"] = render_mode
    try:
        env = gymnasium.make(spec, disable_env_checker=True, **options)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{identifier} does not start: {_reason(error)}") from error
    try:
        return _as_vectors(env, identifier)
    except ConfigError:
        env.close()
        raise


def _find_spec(identifier: str) -> EnvSpec:
    module, _, name = identifier.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return gymnasium.spec(name)
    except gymnasium.error.DeprecatedEnv as error:
        raise ConfigError(_reason(error)) from error
    except gymnasium.error.Error as error:
        names = {known.lower(): known for known in gymnasium.registry}
        close = [names[match] for match in difflib.get_close_matches(name.lower(), names, n=3)]
        hint = (
            f": did you mean {' or '.join(close)}?"
            if close
            else "; a package's own environments are named package:Name-v0"
        )
        raise ConfigError(f"there is no environment {identifier}{hint}") from error
    except ImportError as error:
        raise ConfigError(f"{identifier} cannot be imported: {_reason(error)}") from error


def _check_options(spec: EnvSpec, options: Mapping[str, Any], render_mode: str | None) -> None:
    """Hold the options against the constructor's parameters before anything is started."""
    try:
        creator: Any = (
            load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
        )
        parameters = inspect.signature(creator).parameters
    except Exception as error:
        raise ConfigError(f"{spec.id} does not start: {_reason(error)}") from error
    # A constructor's **kwargs go to its simulator (gymnasium's MuJoCo tasks): none of our options is meant
    # for that.
    unknown = [name for name in options if name not in parameters]
    if unknown:
        raise ConfigError(f"{spec.id} has no option {unknown[0]}")
    modes = getattr(creator, "metadata", {}).get("render_modes")
    if render_mode is not None and modes is not None and render_mode not in modes:
        raise NoPicture(f"{spec.id} has no render mode {render_mode}; it has {', '.join(modes) or 'none'}")


def _as_vectors(env: gymnasium.Env, identifier: str) -> gymnasium.Env:
    actions, observations = env.action_space, env.observation_space
    if (
        not isinstance(actions, Box)
        or len(actions.shape) != 1
        or not np.issubdtype(actions.dtype, np.floating)
    ):
        raise ConfigError(
            f"{identifier} has the action space {actions}: SAC needs continuous actions, a "
            "one-dimensional Box of floats"
        )
    if not (
        np.isfinite(actions.low).all()
        and np.isfinite(actions.high).all()
        and (actions.low < actions.high).all()
    ):
        raise ConfigError(
            f"{identifier} has the action space {actions}: each action needs a finite range to be "
            "rescaled from [-1, 1]"
        )
    if _has_image(observations) or not observations.is_np_flattenable:
        raise ConfigError(
            f"{identifier} has the observation space {observations}: the networks need numbers that "
            "flatten to a vector"
        )
    if actions != Box(-1, 1, actions.shape, np.float32):
        env = RescaleAction(env, np.float32(-1), np.float32(1))
    if not isinstance(observations, Box) or len(observations.shape) != 1:
        env = FlatObservation(env)
    if env.observation_space.dtype != np.float32:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the bounds lose digits
            env = DtypeObservation(env, np.float32)
    return env


def _has_image(space: Space) -> bool:
    if isinstance(space, Dict):
        return any(map(_has_image, space.spaces.values()))
    if isinstance(space, Tuple):
        return any(map(_has_image, space.spaces))
    return isinstance(space, Box) and len(space.shape) > 1 and space.dtype == np.uint8


def check_picture(env: gymnasium.Env, seed: int) -> None:
    """Reset the environment and look at it. Raises NoPicture where there is nothing to see."""
    if env.render_mode == "rgb_array":
        env.reset(seed=seed)
        _picture(env)
        return
    try:
        env.reset(seed=seed)  # which opens its window
    except Exception as error:
        raise NoPicture(f"cannot show the environment: {_reason(error)}") from error


def _picture(env: gymnasium.Env) -> np.ndarray:
    try:
        frame = np.asarray(env.render())
    except Exception as error:  # every OpenGL binding fails in its own way
        hint = (
            "" if isinstance(error, BackendError) else " (without a screen, set MUJOCO_GL to egl or osmesa)"
        )
        raise NoPicture(f"cannot draw the environment: {_reason(error)}{hint}") from error
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise NoPicture(
            f"the environment draws {frame.dtype} arrays of shape {frame.shape}, not (height, width, 3) "
            "pictures in uint8"
        )
    return frame


def _reason(error: BaseException) -> str:
    """The first line of what went wrong; with the exception's name where the message is not written for
    users.
    """
    lines = str(error).strip().splitlines()
    if isinstance(error, (BackendError, ImportError, gymnasium.error.Error)) and lines:
        return lines[0]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
