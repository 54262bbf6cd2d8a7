"""Small environments with goals, as ``toy_goals:Name-v0``."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

GOAL = Box(-10, 10, (2,), np.float64)


class Goal(gymnasium.Env):
    """Bring a point in the plane to a goal within 10 steps; -1 a step until it is there."""

    observation_space = Dict({"observation": Box(-10, 10, (1,)), "achieved_goal": GOAL, "desired_goal": GOAL})
    action_space = Box(-1, 1, (2,), np.float32)
    near = 0.2

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.goal = self.np_random.uniform(-1, 1, (2, 2))
        self.steps = 0
        return self.observed(), {}

    def observed(self) -> dict[str, Any]:
        time = np.array([self.steps / 10], np.float32)
        return {"observation": time, "achieved_goal": self.place.copy(), "desired_goal": self.goal.copy()}

    def step(self, action: np.ndarray) -> Any:
        self.steps += 1
        self.place = np.clip(self.place + 0.3 * np.asarray(action, np.float64), -10, 10)
        info = self.info()
        reward = self.compute_reward(self.place, self.goal, info)
        return self.observed(), reward, self.ends(info), self.steps >= 10, info

    def info(self) -> dict[str, Any]:
        return {"is_success": bool(np.linalg.norm(self.place - self.goal) < self.near)}

    def ends(self, info: dict[str, Any]) -> bool:
        return False

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return -(np.linalg.norm(achieved - desired, axis=-1) >= self.near).astype(np.float32)


class Ends(Goal):
    """Ends at the goal."""

    def ends(self, info: dict[str, Any]) -> bool:
        return self.compute_terminated(self.place, self.goal, info)

    def compute_terminated(self, achieved: Any, desired: Any, info: Any) -> bool:
        """Of a batch the answer for all of it together, as PointMaze's."""
        return bool(np.linalg.norm(achieved - desired) < self.near)


class OneByOne(Goal):
    """Takes no batches."""

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return -float(np.hypot(*(achieved - desired)) >= self.near)


class Dense(Goal):
    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return -np.linalg.norm(achieved - desired, axis=-1)


class NoneInfo(Goal):
    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        assert not isinstance(info, dict) or "is_success" in info
        return super().compute_reward(achieved, desired, info)


class NeedsInfo(Goal):
    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return super().compute_reward(achieved, desired, info) * (2 - info["is_success"])


class UsesInfo(Goal):
    """Its reward is another one where info says more, without a word."""

    def info(self) -> dict[str, Any]:
        return {**super().info(), "effort": 0.5}

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return super().compute_reward(achieved, desired, info) - info.get("effort", 0.0)


class Effort(Goal):
    """A step costs more than compute_reward knows."""

    def step(self, action: np.ndarray) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, reward - 0.25, *rest


class ManyRewards(Goal):
    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return achieved - desired


class InfiniteReward(Goal):
    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        with np.errstate(divide="ignore"):
            return 1 / np.linalg.norm(achieved - desired, axis=-1)


class Later(Goal):
    """compute_reward breaks when many are asked for."""

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        rewards = super().compute_reward(achieved, desired, info)
        return rewards[:-1] if len(np.shape(achieved)) > 1 and len(achieved) > 10 else rewards


class NoReward(Goal):
    compute_reward = None  # type: ignore[assignment]

    def step(self, action: np.ndarray) -> Any:
        self.steps += 1
        return self.observed(), 0.0, False, self.steps >= 10, {}


class Abstract(Goal):
    """With gymnasium-robotics' base class, whose compute_terminated is to be overridden."""

    def compute_terminated(self, achieved: Any, desired: Any, info: Any) -> bool:
        raise NotImplementedError


for toy in [
    value for value in list(globals().values()) if isinstance(value, type) and issubclass(value, Goal)
]:
    gymnasium.register(f"{toy.__name__}-v0", entry_point=toy)
