"""Reach a point."""

from __future__ import annotations

import numpy as np

from envs.backends.base import Readings
from envs.objects.scene import Placing, Scene
from envs.tasks.goal_conditioned import GoalTask

HEIGHTS = (0.02, 0.20)  # m above the table, for an arm of the Sawyer's size


class ReachEnv(GoalTask):
    """Reach: bring the tool to a point above the table, which takes the object's place in the observations.

    ## Reward

    dense and augmented: -distance, in m / size; augmented takes 0.02 tilt and, while the robot touches the
    table, 0.05 off. sparse: 0. In every mode +10 on success.

    ## End

    terminated: success, the tool is within 2 cm x size of the point. truncated: after ``horizon`` steps (30).
    """

    default_horizon = 30
    gripper_action = False
    needs_gripper = False
    needs_mujoco = True
    hand = 0.0
    near = 0.02

    def stage(self) -> tuple[Scene, ...]:
        return (Scene(),)

    def draw(self, object_xy: np.ndarray) -> Placing:
        height = self.size * (self.np_random.uniform(*HEIGHTS) if self.random_target else np.mean(HEIGHTS))
        return Placing(height=float(height))

    def achieved(self, readings: Readings) -> np.ndarray:
        return readings.tool_position / self.size

    def desired(self, readings: Readings) -> np.ndarray:
        return readings.object_position / self.size

    def cost(self, readings: Readings) -> float:
        return self.distance(readings)
