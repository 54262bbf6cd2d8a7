"""The book's own way with CoppeliaSim, for the policies that come from it: sawyer_grasp_env_boundingbox.py,
in joint velocities.

Arm and object are moved while the simulation runs, the last command still in force; the object falls onto
the table from where the book lets it go; the gripper is driven at 0.5 m/s and goes on pushing at the end of
its way. So each episode bends the fingers by a millimetre, until the hand fits around the box's long side.
"""

from __future__ import annotations

import numpy as np
from pyrep.backend import sim

from envs.backends.base import Readings
from envs.backends.coppelia.backend import CoppeliaBackend
from envs.backends.coppelia.launch import own_encoding
from envs.backends.coppelia.scene import Parts
from envs.robots.arm import Workplace
from envs.robots.sawyer import BOOK_OPEN, START_POSES

GRIPPER_SPEED = 0.5  # m/s
RANDOM_HEIGHT = 1.0  # m in the world, from where a random target falls
FALLEN = 0.1  # m below where the fixed target was let go


class BookBackend(CoppeliaBackend):
    """CoppeliaBackend, driven as the book's code does. ``left_contact`` is the left pad's mesh on the
    object's; so is ``right_contact``, as the book asks only for the left. ``table_contact`` is the left pad
    on the table; ``table_height`` is where the book calls the object fallen.
    """

    def _measure(self, parts: Parts) -> None:
        self._simulator.start()
        super()._measure(parts)
        self._robot = parts.arm
        for shape in (parts.pads[0], parts.target):
            shape.set_collidable(True)
        self._place_arm(START_POSES["book"])
        self._simulator.step()
        self._let_go = np.array(parts.target.get_position())
        self._table_top = self._let_go[2] - FALLEN
        self.workplace = Workplace(self.workplace.target_region, (self._let_go - self._base)[:2])

    def reset(self, joint_positions: np.ndarray, object_xy: np.ndarray, object_yaw: float) -> Readings:
        self._relaunch_if_due()
        self._place_object(object_xy, object_yaw)
        self._simulator.step()
        self._place_arm(joint_positions)
        self._simulator.step()
        readings = self._read()
        if readings.opening < BOOK_OPEN:
            readings = self._drive(1.0)
        own_encoding()
        return readings

    def step(self, joint_velocities: np.ndarray, opening: float | None) -> Readings:
        for joint, velocity in zip(self._joints, joint_velocities, strict=True):
            sim.simSetJointTargetVelocity(joint, float(velocity))
        return self._drive(opening)

    def _place_arm(self, joint_positions: np.ndarray) -> None:
        self._robot.set_joint_positions(joint_positions.tolist(), disable_dynamics=True)

    def _place_object(self, xy: np.ndarray, yaw: float) -> None:
        fixed = np.array_equal(xy, self.workplace.fixed_target)
        place = self._let_go if fixed else np.append(xy + self._base[:2], RANDOM_HEIGHT)
        sim.simSetObjectPosition(self._object, -1, place.tolist())
        sim.simSetObjectOrientation(self._object, -1, [0.0, 0.0, float(yaw)])

    def _drive(self, opening: float | None) -> Readings:
        if opening is not None:
            self._hand.actuate(opening, GRIPPER_SPEED)
        self._simulator.step()
        return self._read()

    def _open_share(self) -> float:
        return float(np.mean(self._hand.get_open_amount()))

    def _contacts(self, across: np.ndarray) -> tuple[bool, bool, bool]:
        touches, table = (
            sim.simCheckCollision(self._left, other) == 1 for other in (self._object, self._table)
        )
        return touches, touches, table
