"""Grasp the object."""

from __future__ import annotations

import numpy as np

from envs.backends.base import Readings
from envs.robots.sawyer import BOOK_OPEN
from envs.tasks import terms
from envs.tasks.arm import ArmEnv

AUTO_CLOSE_DISTANCE = 0.316  # m
CLOSING_STEPS = 5  # 0.25 s
REOPENING_STEPS = 3  # 0.15 s


class GraspEnv(ArmEnv):
    """Grasp: bring the open gripper over the object; it closes by itself once it is there.

    When the proximity ray between the fingers sees the object and the distance is below 0.316 m, the arm
    stops, the gripper closes for 0.25 s, and opens again for 0.15 s if it missed; all within the same
    environment step. So actions are those of the arm alone.

    ## Reward

    augmented (default): -distance - 0.02 (tilt + \\|yaw error\\|), -1 while the robot touches the table; tilt
    is the angle (rad) between approach axis and straight down, the distance in m / size. dense: -distance.
    sparse: 0. In every mode +10 on success and -10 if the object falls.

    ## End

    terminated: success (both pads press with more than 0.5 N and the ray sees the object), or the object fell
        off the table.
    truncated: after ``horizon`` steps (30). ``info`` has "success" (bool) and "distance" (m) at every step.

    ## In CoppeliaSim

    ``scene`` names a .ttt file: of the book's, whose box (n = 2) lies where the book's does, or with another
    arm and a card (envs/backends/coppelia/card.py), whose J joints take the place of the 7; and
    ``reinit_every`` episodes launch the simulator anew. mechanics="book" drives the simulator as the book's
    code does, which bends the gripper (envs/backends/coppelia/book.py): the arm starts without noise, runs
    into its limits, goes on while the gripper closes for one step, and the left pad alone decides.
    """

    default_horizon = 30
    gripper_action = False
    touch_cost = 1.0
    mechanics_known = ("clean", "book")

    def finish(self, readings: Readings) -> tuple[Readings, bool]:
        near = readings.proximity and terms.distance(readings) < AUTO_CLOSE_DISTANCE
        if self.as_the_book:
            return self._finish_as_the_book(readings, near)
        if not near:
            return readings, False
        still = np.zeros(self.arm.joints)
        for _ in range(CLOSING_STEPS):
            readings = self.backend.step(still, 0.0)
        if terms.is_held(readings):
            return readings, True
        for _ in range(REOPENING_STEPS):
            readings = self.backend.step(still, 1.0)
        return readings, False

    def _finish_as_the_book(self, readings: Readings, near: bool) -> tuple[Readings, bool]:
        if near:
            self.backend.step(self._velocities, 1.0)
            readings = self.backend.step(self._velocities, 0.0)
            if terms.is_held(readings):
                return readings, True
        if near or readings.opening < BOOK_OPEN:
            readings = self.backend.step(self._velocities, 1.0)
        return readings, False

    def cost(self, readings: Readings) -> float:
        return self.distance(readings)
