"""What the tasks compute from one instant of the simulation: angles, observations, rewards. Pure functions of
Readings.
"""

from __future__ import annotations

from collections.abc import Callable
from math import atan2, cos, hypot, pi, sin
from typing import Any, NamedTuple

import numpy as np

from envs.backends.base import Readings
from envs.robots.arm import Arm

SUCCESS_REWARD = 10.0
FALL_REWARD = -10.0
CLOSED_ON = (
    0.99  # opening of a gripper that holds something, at most; a linkage takes a box by its diagonal at 0.98
)


def distance(readings: Readings) -> float:
    """From the tool-centre point to the object's centre, in metres."""
    dx, dy, dz = (readings.object_position - readings.tool_position).tolist()
    return hypot(dx, dy, dz)


def tilt(readings: Readings) -> float:
    """Angle between the approach axis and straight down, in [0, π] rad."""
    x, y, z = readings.tool_rotation[:, 2].tolist()
    return atan2(hypot(x, y), -z)


def yaw_error(readings: Readings) -> float:
    """Angle from the nearest side that the fingers fit to the fingers' line, seen from above, in (-π/n, π/n]
    rad for n such sides; 0 where they fit at any yaw.
    """
    if not readings.object_sides:
        return 0.0
    fingers = atan2(readings.tool_rotation[1, 1], readings.tool_rotation[0, 1])
    side = atan2(readings.object_rotation[1, 0], readings.object_rotation[0, 0])
    half = pi / readings.object_sides
    return half - (half - (fingers - side)) % (2 * half)


def is_held(readings: Readings) -> bool:
    """Both pads press on the object, the proximity ray sees it between them, and they have closed on it: what
    is jammed between open fingers is not held.
    """
    pressed = readings.left_contact and readings.right_contact
    return pressed and readings.proximity and readings.opening < CLOSED_ON


def has_fallen(readings: Readings) -> bool:
    """The object's centre is below the table's top: it went over the edge."""
    return bool(readings.object_position[2] < readings.table_height)


def relative_observation(readings: Readings, size: float) -> np.ndarray:
    """(17 + 2 J,) float32 with J joints, lengths in m / size; see :func:`entries`."""
    angle = readings.object_sides * yaw_error(readings)
    joints = len(readings.joint_positions)
    observation = np.empty(17 + 2 * joints, np.float32)
    observation[:joints] = readings.joint_positions
    observation[joints:-17] = readings.joint_velocities
    observation[-17:-14] = readings.object_position
    observation[-14:-11] = readings.tool_position
    observation[-11:-8] = 5.0 * (readings.object_position - readings.tool_position)
    if size != 1.0:  # the Sawyer's
        observation[-17:-8] /= size
    observation[-8:-5] = readings.tool_rotation[:, 2]
    observation[-5:] = (
        sin(angle),
        cos(angle),
        readings.opening,
        readings.left_contact,
        readings.right_contact,
    )
    return observation


def book_observation(readings: Readings) -> np.ndarray:
    """(3 + 2 J,) float32: joint positions, joint velocities, object position in the simulator's world, as
    the book has it.
    """
    joints = len(readings.joint_positions)
    observation = np.empty(3 + 2 * joints, np.float32)
    observation[:joints] = readings.joint_positions
    observation[joints:-3] = readings.joint_velocities
    observation[-3:] = readings.object_position + readings.base_position
    return observation


class Term(NamedTuple):
    """Numbers of an observation, and how a task computes them: ``value(task, readings)`` → (size,) or a
    number.
    """

    meaning: str
    unit: str
    size: int
    bound: float | np.ndarray  # observations are cut to ±; only a collision or a falling object comes near
    value: Callable[[Any, Readings], Any] | None = None

    def of(self, task: Any, readings: Readings) -> Any:
        assert self.value is not None
        return self.value(task, readings)


OBJECT_SIZE = (
    Term(
        "half the lengths of the box around the object",
        "m / size",
        3,
        1.0,
        lambda task, at: at.object_half / task.size,
    ),
)


def entries(arm: Arm, mode: str, extra: tuple[Term, ...]) -> tuple[Term, ...]:
    """What an observation holds, in order; :func:`relative_observation` and :func:`book_observation` compute
    the first of it at once.
    """
    joints = (
        Term("joint positions", "rad", arm.joints, np.abs(arm.joint_limits).max(axis=1) + 0.1),
        Term("joint velocities", "rad/s", arm.joints, 10.0),
    )
    if mode == "book":
        return (*joints, Term("the object, in the simulator's world", "m", 3, 2.0))
    return (
        *joints,
        Term("the object, in the base frame", "m / size", 3, 2.0),
        Term("the tool, in the base frame", "m / size", 3, 2.0),
        Term("the object - the tool", "5 x m / size", 3, 20.0),
        Term("the tool's approach axis", "1", 3, 1.0),
        Term("sine and cosine of n x yaw error, with n sides that the fingers fit", "1", 2, 1.0),
        Term("opening of the gripper, 0 closed, 1 open", "1", 1, 1.0),
        Term("whether the left, the right finger presses on the object", "1", 2, 1.0),
        *extra,
    )
