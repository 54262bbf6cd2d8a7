"""The book's own way with CoppeliaSim, for the policies that come from it: sawyer_grasp_env_boundingbox.py,
in joint velocities.

Arm and object are moved while the simulation runs, the last command still in force; the gripper is driven at
0.5 m/s and goes on pushing at the end of its way. So each episode bends the fingers by a millimetre, until
the hand fits around the box's long side.
"""

from __future__ import annotations

import locale

import numpy as np
from pyrep.backend import sim
from pyrep.robots.arms.sawyer import Sawyer
from pyrep.robots.end_effectors.baxter_gripper import BaxterGripper

from envs.backends.base import Readings
from envs.backends.coppelia.backend import ENCODING, CoppeliaBackend
from envs.backends.coppelia.scene import Parts
from envs.robots.sawyer import BOOK_OPEN

GRIPPER_SPEED = 0.5  # m/s


class BookBackend(CoppeliaBackend):
    """CoppeliaBackend, driven as the book's code does. ``left_contact`` is the left pad's mesh on the
    object's; so is ``right_contact``, as the book asks only for the left. ``table_contact`` is the left pad
    on the table.
    """

    def _measure(self, parts: Parts) -> None:
        super()._measure(parts)
        self._robot, self._hand = Sawyer(), BaxterGripper()

    def reset(self, joint_positions: np.ndarray, object_xy: np.ndarray, object_yaw: float) -> Readings:
        self._relaunch_if_due()
        if not self._simulator.running:
            self._simulator.start()
        self._place_object(object_xy, object_yaw)
        self._simulator.step()
        self._robot.set_joint_positions(joint_positions.tolist(), disable_dynamics=True)
        self._simulator.step()
        readings = self._read()
        if readings.opening < BOOK_OPEN:
            readings = self._drive(1.0)
        locale.setlocale(locale.LC_CTYPE, ENCODING)  # as in CoppeliaBackend.reset
        return readings

    def step(self, joint_velocities: np.ndarray, opening: float | None) -> Readings:
        for joint, velocity in zip(self._joints, joint_velocities, strict=True):
            sim.simSetJointTargetVelocity(joint, float(velocity))
        return self._drive(opening)

    def _drive(self, opening: float | None) -> Readings:
        if opening is not None:
            self._hand.actuate(opening, GRIPPER_SPEED)
        self._simulator.step()
        return self._read()

    def _contacts(self, across: np.ndarray) -> tuple[bool, bool, bool]:
        touches, table = (
            sim.simCheckCollision(self._left, other) == 1 for other in (self._object, self._table)
        )
        return touches, touches, table
