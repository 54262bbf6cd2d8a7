"""Tasks with a goal that may be another one afterwards: what hindsight experience replay needs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Dict

from envs.backends.base import Marks, Readings
from envs.tasks.arm import ArmEnv

HIGH = 2.0  # m / size; goals are cut to ±


class GoalTask(ArmEnv):
    """Done when what is ``achieved`` is ``near`` what is ``desired``, both (3,) in m / size.

    With goal_conditioned=True it is as gymnasium-robotics has it (Plappert et al. 2018, arXiv 1802.09464):
    observations are {"observation", "achieved_goal", "desired_goal"}, :meth:`compute_reward` gives the reward
    for any goal, -1 until it is reached with reward="sparse", else -distance, and an episode goes on to its
    horizon.
    """

    has_goal = True
    near: ClassVar[float]  # m / size

    def spaces(self, vector: Box) -> Any:
        if not self.goal_conditioned:
            return vector
        goal = Box(-HIGH, HIGH, (3,), np.float32)
        return Dict({"observation": vector, "achieved_goal": goal, "desired_goal": goal})

    def achieved(self, readings: Readings) -> np.ndarray:
        raise NotImplementedError

    def desired(self, readings: Readings) -> np.ndarray:
        raise NotImplementedError

    def left(self, readings: Readings) -> float:
        """m / size from the one to the other."""
        return float(np.linalg.norm(self.achieved(readings) - self.desired(readings)))

    def success(self, readings: Readings) -> bool:
        return self.left(readings) < self.near

    def marks(self, readings: Readings) -> Marks:
        return ((self.desired(readings) * self.size, self.near * self.size),)

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> np.ndarray:
        """(…,) for goals (…, 3) in m / size; ``info`` is not looked at."""
        offset = np.subtract(achieved_goal, desired_goal, dtype=np.float64)
        distance = np.linalg.norm(offset, axis=-1)
        return -(distance >= self.near).astype(np.float64) if self.reward_mode == "sparse" else -distance

    def outcome(self, readings: Readings, success: bool) -> tuple[float, bool]:
        if not self.goal_conditioned:
            return super().outcome(readings, success)
        return float(self.compute_reward(*self.goals(readings), {})), False

    def observed(self) -> Any:
        vector = super().observed()
        if not self.goal_conditioned:
            return vector
        assert self.readings is not None
        achieved, desired = self.goals(self.readings)
        return {"observation": vector, "achieved_goal": achieved, "desired_goal": desired}

    def goals(self, readings: Readings) -> tuple[np.ndarray, np.ndarray]:
        """What is achieved and desired, as observed."""
        both = np.clip([self.achieved(readings), self.desired(readings)], -HIGH, HIGH).astype(np.float32)
        return both[0], both[1]

    def info(self, readings: Readings, success: bool) -> dict[str, Any]:
        return {**super().info(readings, success), "is_success": success}
