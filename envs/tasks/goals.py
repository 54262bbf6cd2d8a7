"""Tasks that bring the object to a goal: push, and pick and place."""

from __future__ import annotations

from math import tanh
from typing import Any

import numpy as np

from envs.backends.base import Readings
from envs.objects.scene import Placing
from envs.tasks import terms
from envs.tasks.goal_conditioned import GoalTask
from envs.tasks.terms import Term

LEAST_WAY = 0.10  # m of a goal from where the object lies, for an arm of the Sawyer's size
HIGHEST = 0.20  # m of a goal above where the object lies, the same
IN_THE_AIR = 0.5  # of the goals of pick and place


class GoalEnv(GoalTask):
    """What both tasks share: a goal for the object's position, drawn anew each episode."""

    needs_mujoco = True
    remembers = ("goal",)
    near = 0.05

    def terms(self) -> tuple[Term, ...]:
        return (
            *super().terms(),
            Term("the goal, in the base frame", "m / size", 3, 2.0, lambda task, at: task.goal / task.size),
            Term(
                "the goal - the object",
                "5 x m / size",
                3,
                20.0,
                lambda task, at: 5.0 * (task.goal - at.object_position) / task.size,
            ),
        )

    def draw(self, object_xy: np.ndarray) -> Placing | None:
        self._spot = self.free_spots(1, object_xy, apart=LEAST_WAY)[0]
        self._height = self.goal_height()
        return None

    def goal_height(self) -> float:
        """Draw how far the goal is above where the object lies, in m."""
        return 0.0

    def begin(self, readings: Readings) -> None:
        self.goal = np.append(self._spot, readings.object_position[2] + self._height)

    def achieved(self, readings: Readings) -> np.ndarray:
        return readings.object_position / self.size

    def desired(self, readings: Readings) -> np.ndarray:
        return self.goal / self.size

    def info(self, readings: Readings, success: bool) -> dict[str, Any]:
        return {**super().info(readings, success), "to_goal": self.left(readings) * self.size}


class PushEnv(GoalEnv):
    """Push: slide the object, a puck unless told otherwise, over the table to a goal; the gripper stays
    closed.

    ## Reward

    dense: -0.5 tanh(6 b) - 0.5 tanh(4 d), with b of the tool and the point of the object's edge behind which
    the goal lies straight ahead, and d of object and goal, in m / size. augmented: -0.02 (tilt + \\|yaw
    error\\|), and -0.05 while the robot touches the table, beside.
    sparse: 0. In every mode +10 on success and -10 if the object falls.

    ## End

    terminated: success (the object is within 5 cm x size of the goal), or the object fell off the table.
    truncated: after ``horizon`` steps (80). ``info`` has "success", "distance" and "to_goal" (m).
    """

    default_horizon = 80
    default_objects = "puck"
    gripper_action = False
    needs_gripper = False
    hand = 0.0

    def cost(self, readings: Readings) -> float:
        return 0.5 * tanh(6.0 * self._to_behind(readings)) + 0.5 * tanh(4.0 * self.left(readings))

    def _to_behind(self, readings: Readings) -> float:
        """From the tool to where it pushes, in m / size."""
        way = self.goal - readings.object_position
        behind = float(readings.object_half[:2].max())
        point = readings.object_position - behind * way / max(float(np.linalg.norm(way)), 1e-6)
        return float(np.linalg.norm(readings.tool_position - point)) / self.size


class PickAndPlaceEnv(GoalEnv):
    """Pick and place: bring the object to a goal, half of the time in the air.

    ## Reward

    dense: -0.25 tanh(4 distance) - 0.25 (not held) - 0.5 (tanh(4 d) if held, else 1), with the distance of
    tool and object and d of object and goal in m / size: to push the object does not pay. augmented, sparse
    and the ends: as in :class:`PushEnv`.
    """

    default_horizon = 80

    def goal_height(self) -> float:
        in_the_air = self.np_random.uniform() < IN_THE_AIR
        return float(self.np_random.uniform(0.0, HIGHEST)) * self.size if in_the_air else 0.0

    def cost(self, readings: Readings) -> float:
        away = 0.5 * tanh(4.0 * self.left(readings)) if terms.is_held(readings) else 0.75
        return 0.25 * tanh(4.0 * self.distance(readings)) + away
