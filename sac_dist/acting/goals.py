"""What an environment with goals, as gymnasium-robotics has them, says of goals that it did not have."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box

from sac_dist.acting.episode import EnvironmentFault
from sac_dist.acting.failures import reason
from sac_dist.acting.observation import goal_spaces, schema_of
from sac_dist.data.schema import Rows
from sac_dist.settings import ConfigError, DataConfig

OFFSETS = (0.0, 0.003, 0.03, 0.3, 3.0, 30.0)  # of two goals that a function is tried with
STEPS = 3  # of the environment, whose rewards are compared
INFOS: tuple[dict[str, Any] | None, ...] = ({}, None)  # which of them a function takes is found out
TOLERANCE = 1e-3  # of two rewards, one of them of goals in float32

Numbers = npt.NDArray[np.float32]
Goals = npt.NDArray[Any]  # (n, *shape)


def settle_her(env: gymnasium.Env, name: str, data: DataConfig, n_step: int = 1) -> tuple[str, list[str]]:
    """Whether a run relabels, as DataConfig.her, and lines to be shown. Left open, it does online where the
    environment has goals and a sparse reward.

    Raises ConfigError where it is asked for and cannot be had.
    """
    if data.her == "none" or (
        data.her is None and (data.offline or data.demo_mode == "append" or n_step > 1)
    ):
        return "none", []
    if data.her is None and goal_spaces(env) is None:
        return _left_out(name, data)
    try:
        goals = GoalRewards(env, name)
        notes = differences(env, name, goals)
    except ConfigError as error:
        if data.her is not None:
            raise
        return "none", [f"no goals in hindsight: {error}"]
    if data.her is None and not goals.sparse:
        return _left_out(name, data)
    chosen = data.her or "future"
    why = f"--her {chosen}" if data.her else "--her future, as its reward is sparse"
    return chosen, [f"{data.her_ratio:.0%} of each batch get a goal in hindsight ({why}): {goals}", *notes]


def _left_out(name: str, data: DataConfig) -> tuple[str, list[str]]:
    if data.her_ratio != DataConfig.her_ratio:
        raise ConfigError(
            f"--her-ratio would do nothing: {name} has no goals with a sparse reward; give --her too"
        )
    return "none", []


class GoalRewards:
    """``compute_reward`` of an environment that ``make_env`` has made, and ``compute_terminated`` if it has
    one, for n pairs of goals at once. Both have to be functions of the goals alone, as the ``info`` of a step
    is not stored.

    Raises:
        ConfigError: the environment has no goals or no compute_reward, or that returns no finite number.
    """

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        spaces = goal_spaces(env)
        if spaces is None:
            raise ConfigError(
                f"--her is for environments with goals: {name} has no Dict observation with achieved_goal "
                "and desired_goal"
            )
        achieved, desired = spaces
        if not (isinstance(achieved, Box) and isinstance(desired, Box) and achieved.shape == desired.shape):
            raise ConfigError(f"--her needs goals of one shape: those of {name} are {achieved} and {desired}")
        self._space = desired
        tried = _tried(self._space)
        reward = _function(env, name, "compute_reward", tried)
        if reward is None:
            raise ConfigError(
                f"--her needs compute_reward(achieved_goal, desired_goal, info), which {name} does not have"
            )
        self.reward, self.end = reward, _function(env, name, "compute_terminated", tried)

    def rewards(self, achieved: Rows, desired: Rows) -> Numbers:
        """(n,) for goals (n, size). Raises EnvironmentFault."""
        return self.reward(self._shaped(achieved), self._shaped(desired))

    def terminated(self, achieved: Rows, desired: Rows) -> Numbers | None:
        """(n,) 0 or 1; None: the environment does not say. Raises EnvironmentFault."""
        return None if self.end is None else self.end(self._shaped(achieved), self._shaped(desired))

    def of_step(self, achieved: Rows, desired: Rows, info: dict[str, Any]) -> float:
        """The reward of one step, goals (size,), with its ``info``; nan where that fails."""
        pair = (self._shaped(goal[None])[0] for goal in (achieved, desired))
        try:
            return float(self.reward.function(*pair, info))
        except Exception:
            return np.nan

    def _shaped(self, goals: Rows) -> Goals:
        return goals.astype(self._space.dtype).reshape(len(goals), *self._space.shape)

    @property
    def sparse(self) -> bool:
        """Whether goals near and far have two rewards at most."""
        return len(np.unique(self.reward.seen)) <= 2

    def __str__(self) -> str:
        ends = "ends stay as they were" if self.end is None else str(self.end)
        return f"{self.reward}, {ends}"


class GoalFunction:
    """A function of (achieved, desired, info), which has to give one finite number for a pair of goals.

    It is called with whole batches if it gives the same for them, else with one pair after the other: that
    depends on nothing but the function, so it is the same in every process and when a run is resumed.
    """

    def __init__(
        self,
        env: str,
        name: str,
        function: Callable[..., Any],
        info: dict[str, Any] | None,
        tried: list[Goals],
    ) -> None:
        self.name, self.function, self._where, self._info = name, function, f"{env}: {name}", info
        begin = time.perf_counter()
        self.seen = self._one_by_one(*tried)
        self._seconds = (time.perf_counter() - begin) / len(self.seen)
        self.takes_batches = self._agrees(tried)

    def __call__(self, achieved: Goals, desired: Goals) -> Numbers:
        """(n,) for goals (n, *shape)."""
        if not self.takes_batches:
            return self._one_by_one(achieved, desired)
        found = self._call(achieved, desired)
        try:
            numbers = np.broadcast_to(np.asarray(found, np.float32), len(achieved))
        except (TypeError, ValueError):
            raise EnvironmentFault(
                f"{self._where} returns {_kind(found)} for {len(achieved)} pairs of goals"
            ) from None
        return self._checked(numbers)

    def __str__(self) -> str:
        if self.takes_batches:
            return f"{self.name} takes whole batches"
        return f"{self.name} takes one transition at a time ({1e6 * self._seconds:.0f} µs each)"

    def _call(self, achieved: Goals, desired: Goals) -> Any:
        try:
            return self.function(achieved, desired, self._info)
        except Exception as error:
            raise EnvironmentFault(f"{self._where} fails: {reason(error)}") from error

    def _one_by_one(self, achieved: Goals, desired: Goals) -> Numbers:
        pairs = zip(achieved, desired, strict=True)
        return self._checked(np.array([self._number(self._call(*pair)) for pair in pairs], np.float32))

    def _number(self, value: Any) -> float:
        try:
            return float(value if np.ndim(value) == 0 else np.asarray(value).item())
        except (TypeError, ValueError):
            raise EnvironmentFault(
                f"{self._where} returns {_kind(value)} for one pair of goals, not a number"
            ) from None

    def _checked(self, found: Numbers) -> Numbers:
        finite = np.isfinite(found)
        if not finite.all():
            raise EnvironmentFault(f"{self._where} returns {found[~finite][0]} for a pair of goals")
        return found

    def _agrees(self, tried: list[Goals]) -> bool:
        """Whether it gives for a batch what it gives for each pair; one number for all of them will do."""
        try:
            found = np.asarray(self.function(*tried, self._info), np.float32)
        except Exception:
            return False
        return found.shape in ((), self.seen.shape) and bool(np.allclose(found, self.seen, rtol=1e-5))


def differences(env: gymnasium.Env, name: str, goals: GoalRewards) -> list[str]:
    """Take some steps: lines about a reward that is not ``compute_reward``'s. Raises ConfigError if that
    needs the info of its step.
    """
    places = schema_of(env).places
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(STEPS):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        achieved, desired = (observation[places[part]] for part in ("achieved_goal", "desired_goal"))
        computed = goals.rewards(achieved[None], desired[None]).item()
        if not _close(computed, float(reward)):
            if _close(goals.of_step(achieved, desired, info), float(reward)):
                raise ConfigError(
                    f"--her cannot work: compute_reward of {name} needs the info of its step, which is not "
                    "stored"
                )
            return [
                f"{name}: a step's reward is {float(reward):g} and that of compute_reward {computed:g}: "
                "transitions with a goal in hindsight get the latter"
            ]
        if terminated or truncated:
            break
    return []


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= TOLERANCE * max(1.0, abs(other))


def _function(env: gymnasium.Env, name: str, what: str, tried: list[Goals]) -> GoalFunction | None:
    """The function ``what`` of the environment or of a wrapper in it; None: there is none, or a base class's
    that is to be overridden.
    """
    try:
        function = env.get_wrapper_attr(what)
    except AttributeError:
        return None
    if not callable(function):
        return None
    failures: list[Exception] = []
    for info in INFOS:
        try:
            function(tried[0][0], tried[1][0], info)
            return GoalFunction(name, what, function, info, tried)
        except NotImplementedError:
            return None
        except ConfigError:
            raise
        except Exception as error:
            failures.append(error)
    raise ConfigError(
        f"--her cannot work: {what} of {name} fails without the info of a step, which is not stored: "
        f"{reason(failures[0])}"
    ) from failures[0]


def _tried(space: Any) -> list[Goals]:
    """Goals achieved and desired of ``space``, the ones ever farther from the others."""
    low, high = (np.clip(end.astype(np.float64), -1e3, 1e3) for end in (space.low, space.high))
    achieved = np.broadcast_to((low + high) / 2, (len(OFFSETS), *space.shape))
    offsets = np.reshape(OFFSETS, (-1, *[1] * len(space.shape)))
    return [goals.astype(space.dtype) for goals in (achieved, np.clip(achieved + offsets, low, high))]


def _kind(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" if shape is None else f"an array of the shape {shape}"
