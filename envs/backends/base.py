"""What a simulator has to offer so that the tasks run on it.

A task (``envs/tasks/arm.py``) computes observation, reward, success and termination from :class:`Readings`
alone; a backend turns commands into physics and physics into Readings. Positions are in metres in the frame
of the robot's base, angles in radians, so that every simulator gives the same task.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from envs.robots.arm import Arm, Workplace
from envs.viewing import Marks as Marks  # their places are in the base frame

CONTROL_TIMESTEP = 0.05  # s, one environment step


NOTHING = np.zeros((0, 3))


class BackendError(RuntimeError):
    """The simulator is missing, broken or misconfigured; the message says what to do about it."""


class Unstable(BackendError):
    """The physics is no longer finite; a reset may mend it."""


class OptionError(ValueError):
    """An option has a value that makes no sense; the message says which it may have."""


@dataclass(frozen=True, slots=True)
class Readings:
    """One instant of the simulation, everything a task may look at."""

    joint_positions: np.ndarray  # (J,) rad
    joint_velocities: np.ndarray  # (J,) rad/s
    tool_position: np.ndarray  # (3,) m, the tool-centre point between the finger tips
    tool_rotation: (
        np.ndarray
    )  # (3, 3), columns: tool x, y (the fingers' line), z (the approach axis) in the base frame
    object_position: np.ndarray  # (3,) m, the object's centre
    object_rotation: np.ndarray  # (3, 3)
    opening: float  # 0 closed … 1 open
    left_contact: bool  # the left pad presses on the object with more than 0.5 N
    right_contact: bool
    table_contact: bool  # the robot touches the table
    proximity: bool  # the ray along the approach axis meets the object within its range
    table_height: float  # m, z of the table's top
    base_position: np.ndarray  # (3,) m, the robot's base in the simulator's world, whose axes are the base's
    # on how many sides of the object the fingers fit: 4 of a square section, 2 of a long box, 0: at any yaw
    object_sides: int
    object_half: np.ndarray = field(
        default_factory=lambda: NOTHING
    )  # (3,) m, half the lengths of the box around the object
    others: np.ndarray = field(default_factory=lambda: NOTHING)  # (K, 3) m, the centres of the other objects
    fixture: float = 0.0  # how far the drawer is open, the button pressed: 0 … 1


class Backend(Protocol):
    """A simulated arm of J joints (the Sawyer has 7) with a gripper above a table with one object, which may
    also be what a fixture offers to the hand, such as a drawer's handle. Each method is one simulator
    operation.
    """

    arm: Arm
    workplace: Workplace

    def reset(self, joint_positions: np.ndarray, object_xy: np.ndarray, object_yaw: float) -> Readings:
        """Put the arm at rest at (J,) rad with an open gripper, the object at rest on the table, and return
        Readings.
        """
        ...

    def step(self, joint_velocities: np.ndarray, opening: float | None) -> Readings:
        """Hold (J,) rad/s for one control step of 0.05 s; ``opening`` 0 … 1 commands the gripper, None leaves
        its command.
        """
        ...

    def jacobian(self) -> np.ndarray:
        """(6, J) Jacobian of the tool-centre point in the base frame, rows: 3 linear (m/rad), 3 angular
        (rad/rad).
        """
        ...

    def render(self, camera: str, width: int, height: int, marks: Marks = ()) -> np.ndarray:
        """(height, width, 3) uint8 picture from the camera ``"scene"`` or ``"closeup"``; MuJoCo draws
        ``marks`` into it.
        """
        ...

    def see(self, cameras: tuple[str, ...], size: int) -> dict[str, np.ndarray]:
        """(size, size, 3) uint8 of each camera, as a policy sees it; always of one size. Raises BackendError
        for a camera that is not there, or where OpenGL does not work.
        """
        ...

    def show(self, marks: Marks = ()) -> None:
        """Open the interactive window if it is not open, and draw this instant in it; MuJoCo draws ``marks``
        too.
        """
        ...

    def close(self) -> None:
        """End the simulator; may be called twice."""
        ...


@runtime_checkable
class RestorableBackend(Backend, Protocol):
    """A simulator that gives its state, so that an episode can be gone on with in another process."""

    def get_state(self) -> np.ndarray:
        """Everything that later steps depend on, (n,) float64."""
        ...

    def set_state(self, state: np.ndarray) -> None:
        """Put it back, after a reset. Raises ValueError if it is not of this model."""
        ...
