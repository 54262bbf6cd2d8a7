"""What a controller is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from envs.backends.base import Backend, Readings
from envs.controllers.kinematics import stop_at_limits, twist_to_joint_velocities, upright
from envs.robots.arm import Arm


class Entry(NamedTuple):
    """Numbers of an action, and what one of 1 is."""

    meaning: str
    unit: str
    size: int


GRIPPER = Entry("the gripper, -1 closed, 1 open", "1", 1)


class Controller:
    """Turns the arm's part of an action into joint velocities within the joints' limits and speeds.

    ``rest_pose`` (J,) rad is where a free degree of freedom returns to. ``unbounded`` leaves out the stop
    before joint limits, as the book's code does.
    """

    def __init__(self, arm: Arm, rest_pose: np.ndarray, unbounded: bool = False) -> None:
        self.arm, self.rest_pose, self.unbounded = arm, rest_pose, unbounded
        self.joints = arm.joints

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The arm's part of an action, in order."""
        raise NotImplementedError

    @property
    def actions(self) -> int:
        """How many numbers of an action are the arm's."""
        return sum(entry.size for entry in self.entries)

    def begin(self, readings: Readings) -> None:
        """An episode begins."""

    def wanted(self, action: np.ndarray, readings: Readings, backend: Backend) -> np.ndarray:
        """(J,) rad/s that ``action`` (A,) in [-1, 1] asks for."""
        raise NotImplementedError

    def velocities(self, action: np.ndarray, readings: Readings, backend: Backend) -> np.ndarray:
        """(J,) rad/s."""
        wanted = self.wanted(action, readings, backend)
        return wanted if self.unbounded else stop_at_limits(wanted, readings.joint_positions, self.arm)

    def towards(
        self, linear: np.ndarray, turn: np.ndarray, readings: Readings, backend: Backend
    ) -> np.ndarray:
        """The action (A,) that moves the tool at ``linear`` (3,) m/s and turns it at ``turn`` (3,) rad/s
        about the base's axes, beside what holds it pointing down: a tilt goes back once it is not asked for
        any more. For scripts and people.
        """
        twist = np.concatenate([linear, upright(readings.tool_rotation) + turn])
        velocities = twist_to_joint_velocities(
            backend.jacobian(), readings.joint_positions, twist, self.rest_pose, self.arm
        )
        return stop_at_limits(velocities, readings.joint_positions, self.arm) / self.arm.max_velocity

    def memory(self) -> dict[str, Any]:
        """What it keeps between steps, for an exact resume."""
        return {}

    def remember(self, memory: dict[str, Any]) -> None:
        """Undo :meth:`memory`."""
