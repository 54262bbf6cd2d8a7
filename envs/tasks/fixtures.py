"""Tasks with what is fixed to the table: open a drawer, press a button."""

from __future__ import annotations

from math import tanh
from typing import Any

import numpy as np

from envs.backends.base import Readings
from envs.objects.fixtures import HANDLE_GAP, Fixture, button, drawer
from envs.objects.library import SAWYER_WIDTH
from envs.objects.scene import Scene
from envs.tasks.arm import ArmEnv
from envs.tasks.terms import Term

DONE = 0.8  # of the way
ASIDE = 0.6  # of the region's width, where fixtures stand


class FixtureEnv(ArmEnv):
    """What both tasks share. What the hand goes to takes the object's place in the observations; the gripper
    stays closed.
    """

    gripper_action = False
    needs_gripper = False
    needs_mujoco = True
    hand = 0.0
    turn = 0.3

    def fixture(self) -> Fixture:
        raise NotImplementedError

    def stage(self) -> tuple[Scene, ...]:
        return (Scene(fixture=self.fixture().scaled(self.card.size)),)

    def region(self) -> np.ndarray:
        (near, far), (right, left) = self.backend.workplace.target_region
        return np.array([[(near + far) / 2, far], [ASIDE * right, ASIDE * left]])

    def terms(self) -> tuple[Term, ...]:
        return (Term("how far it is moved, 0 … 1", "1", 1, 1.0, lambda task, at: at.fixture),)

    def failed(self, readings: Readings) -> bool:
        return False

    def success(self, readings: Readings) -> bool:
        return readings.fixture >= DONE

    def cost(self, readings: Readings) -> float:
        return 0.5 * tanh(4.0 * self.distance(readings)) + 0.5 * (1.0 - readings.fixture)

    def info(self, readings: Readings, success: bool) -> dict[str, Any]:
        return {**super().info(readings, success), "moved": readings.fixture}


class DrawerEnv(FixtureEnv):
    """Open the drawer of a chest by its handle, a bar 4 cm before its front, and more for wide hands.

    ## Reward

    dense: -0.5 tanh(4 distance) - 0.5 (1 - open), with the distance of tool and handle in m / size and open
        from
    0 to 1. augmented: -0.02 (tilt + \\|yaw error\\|), and -0.05 while the robot touches the table, beside.
    sparse: 0. In every mode +10 on success.

    ## End

    terminated: success, the drawer is 80 % open. truncated: after ``horizon`` steps (60). ``info`` has
    "success", "distance" (m) and "moved" (0 … 1).
    """

    def fixture(self) -> Fixture:
        self.gap = HANDLE_GAP * max(self.fitting_width / (SAWYER_WIDTH * self.card.size), 1.0)
        return drawer(self.gap)


class ButtonEnv(FixtureEnv):
    """Press a button down against its spring, by 80 % of its way. Reward and end as in :class:`DrawerEnv`."""

    default_horizon = 40

    def fixture(self) -> Fixture:
        return button()
