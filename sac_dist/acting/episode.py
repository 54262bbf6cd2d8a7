"""One episode: what the environment returns is checked at every step before anybody uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import gymnasium
import numpy as np

from envs.backends.base import BackendError
from sac_dist.acting.failures import NoPicture, reason
from sac_dist.settings import ConfigError

TRAINING_SEEDS = (
    2**30
)  # training draws its seeds below this number, evaluation.py counts up from it: they never meet
# of a reward or an entry of an observation: an update squares them and what it makes of them, in float32
LARGEST = 1e15


class EnvironmentFault(ConfigError):
    """An environment returned what can be neither acted on nor learned from."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One finished episode."""

    total_reward: float  # undiscounted sum of the environment's own rewards
    length: int  # environment steps
    success: bool | None  # None: the environment does not say
    terminated: bool  # False: it was truncated
    unstable: bool = False  # the physics exploded, which ended it
    intervened: int | None = None  # steps in which a person acted; None: nobody could


def training_seed(seed: int, rank: int, generation: int, episode: int) -> int:
    """The reset seed, in [0, 2**30), of one episode of one life (``generation``) of one worker (``rank``)."""
    return int(
        np.random.SeedSequence((seed, rank, generation, episode)).generate_state(1)[0] % TRAINING_SEEDS
    )


def success_of(info: Mapping[str, Any]) -> bool | None:
    """What ``info`` says under ``success``, else ``is_success`` (gymnasium-robotics'); None: neither is said.

    An array counts by its one entry; raises ValueError for one of several.
    """
    success = info.get("success")
    if success is None:
        success = info.get("is_success")
        if success is None:
            return None
    return bool(success.item() if isinstance(success, np.ndarray) else success)


class Play:
    """One episode, step by step.

    Raises EnvironmentFault, in one line, for an observation that is not a vector of the space's size, for a
    number that is not finite or beyond ``LARGEST`` (a single one in the replay could spoil the networks for
    good), and for a success that is neither true nor false.
    """

    def __init__(self, env: gymnasium.Env, seed: int | None, success: str | None = None) -> None:
        """Resets the environment. ``observation`` is the present one, float32 (O,), an array of its own.

        ``success`` as EnvConfig's: "last" counts the last step alone, else any step that reports one counts.
        """
        self.env, self.seed = env, seed
        self.shape = env.observation_space.shape
        self.total_reward, self.length, self.over = 0.0, 0, False
        self.success: bool | None = None  # of the episode so far; None: no step has said
        self._last_step_alone = success == "last"
        self.observation = self._vector(env.reset(seed=seed)[0])

    def step(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """Act; returns reward, terminated and truncated."""
        reward: Any
        # a copy: an environment may clip or scale the array that it is given, and the replay keeps ours
        try:
            observation, reward, terminated, truncated, info = self.env.step(action.copy())
        except BackendError as error:  # its words are for users
            raise EnvironmentFault(str(error)) from error
        self.info = info
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
        if info or self._last_step_alone:
            self._take_success(info)
        reward, self._terminated = float(reward), bool(terminated)
        self.total_reward += reward
        self.over = self._terminated or bool(truncated)
        return reward, self._terminated, bool(truncated)

    def episode(self) -> Episode:
        """The episode, once it is over."""
        unstable = isinstance(self.info, dict) and bool(self.info.get("unstable"))
        return Episode(self.total_reward, self.length, self.success, self._terminated, unstable)

    def _take_success(self, info: Any) -> None:
        try:
            success = success_of(info)
        except AttributeError:
            self._fault(f"info is {_brief(info)}, not a dict")
        except (TypeError, ValueError):
            self._fault(f"success is {_brief(info)}, neither true nor false")
        if self._last_step_alone:
            self.success = success
        elif success is not None:
            self.success = success or bool(self.success)

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
    success: str | None = None,
) -> Episode:
    """Play one episode.

    ``act`` maps a float32 (O,) observation to a float32 (A,) action in [-1, 1]. ``on_frame`` gets
    ``env.render()``, an (H, W, 3) uint8 picture, of the first state and after each step. Raises ConfigError
    where the environment cannot draw, and EnvironmentFault as ``Play`` does.
    """
    play = Play(env, seed, success)
    if on_frame is not None:
        on_frame(_picture(env))
    while not play.over:
        play.step(act(play.observation))
        if on_frame is not None:
            on_frame(_picture(env))
    return play.episode()


def check_picture(env: gymnasium.Env, seed: int) -> None:
    """Reset the environment and look at it. Raises NoPicture where there is nothing to see."""
    if env.render_mode == "rgb_array":
        env.reset(seed=seed)
        _picture(env)
        return
    try:
        env.reset(seed=seed)  # which opens its window
    except Exception as error:
        raise NoPicture(f"cannot show the environment: {reason(error)}") from error


def _picture(env: gymnasium.Env) -> np.ndarray:
    try:
        drawn = env.render()
        frame = _rgb(drawn)
    except Exception as error:  # every OpenGL binding fails in its own way
        hint = (
            "" if isinstance(error, BackendError) else " (without a screen, set MUJOCO_GL to egl or osmesa)"
        )
        raise NoPicture(f"cannot draw the environment: {reason(error)}{hint}") from error
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        what = "None" if drawn is None else f"{frame.dtype} arrays of shape {frame.shape}"
        raise NoPicture(f"the environment draws {what}, not (height, width, 3) pictures in uint8")
    return frame


def _rgb(drawn: Any) -> np.ndarray:
    """The picture in what render returns: the newest of a list, a tensor's, one of a batch of one, or with a
    channel of opacity.
    """
    if isinstance(drawn, list) and drawn:
        drawn = drawn[-1]
    frame = np.asarray(drawn.cpu() if hasattr(drawn, "cpu") else drawn)
    if frame.ndim == 4 and len(frame) == 1:
        frame = frame[0]
    return frame[..., :3] if frame.ndim == 3 and frame.shape[2] == 4 else frame
