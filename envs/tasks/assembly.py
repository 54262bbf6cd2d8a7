"""Tasks that let go of the object at an exact place: stack, and peg in hole."""

from __future__ import annotations

from math import tanh
from typing import ClassVar

import numpy as np

from envs.backends.base import Readings
from envs.objects.fixtures import hole
from envs.objects.primitives import box, cylinder
from envs.objects.scene import Placing, Scene
from envs.tasks import terms
from envs.tasks.arm import ArmEnv
from envs.tasks.terms import Term

CUBE = 0.28  # half the side of a cube to stack, in parts of the fingers' width
PEG = (0.17, 0.55)  # radius and half length of a peg, the same
CLEARANCE = 0.05  # of the peg in its hole on each side, the same
WALL = 0.015  # m, half the thickness of what is around the hole, for an arm of the Sawyer's size
DEEP = 0.6  # of the hole that the peg goes down
STILL = 0.002  # m that the object moves in a control step, at most, when it counts as let go
OVER = 0.02  # m above what stands there at which it is carried to its place, for an arm of the Sawyer's size


class AssemblyEnv(ArmEnv):
    """What both tasks share: ``place`` (3,) is where the object's centre belongs, given where its base
    stands.
    """

    needs_mujoco = True
    carry: float  # m of the object above its place on its way there
    default_horizon = 100
    exact: ClassVar[
        float
    ]  # m beside its place at which a held object may go down, for an arm of the Sawyer's size
    remembers = ("base", "last")

    def begin(self, readings: Readings) -> None:
        self.base = self.base_of(readings)
        self.last = readings.object_position

    def base_of(self, readings: Readings) -> np.ndarray:
        """(3,) m, of the other cube's or of the hole's middle."""
        raise NotImplementedError

    def place(self, readings: Readings) -> np.ndarray:
        raise NotImplementedError

    def terms(self) -> tuple[Term, ...]:
        return (
            Term(
                "its place, in the base frame",
                "m / size",
                3,
                2.0,
                lambda task, at: task.place(at) / task.size,
            ),
            Term(
                "its place - the object",
                "5 x m / size",
                3,
                20.0,
                lambda task, at: 5.0 * (task.place(at) - at.object_position) / task.size,
            ),
        )

    def finish(self, readings: Readings) -> tuple[Readings, bool]:
        still = float(np.linalg.norm(readings.object_position - self.last)) < STILL
        self.last = readings.object_position
        return readings, still and self.success(readings)

    def way(self, readings: Readings) -> float:
        """From the object to its place, by way of the point above it, in m / size."""
        across, up = self._offset(readings)
        target = min(self.carry / self.size, 2.0 * across)
        return across + abs(up - target) + target

    def _offset(self, readings: Readings) -> tuple[float, float]:
        """How far the object is beside its place and above it, in m / size."""
        offset = (readings.object_position - self.place(readings)) / self.size
        return float(np.hypot(offset[0], offset[1])), float(offset[2])

    def cost(self, readings: Readings) -> float:
        held = terms.is_held(readings)
        there = self.there(readings)
        hand = 0.0 if there else 0.2 * tanh(4.0 * self.distance(readings)) + (0.0 if held else 0.2)
        return hand + 0.6 * tanh(3.0 * self.way(readings)) + (0.1 if there and held else 0.0)

    def there(self, readings: Readings) -> bool:
        """Whether the object is at its place, held or not."""
        raise NotImplementedError

    def success(self, readings: Readings) -> bool:
        touched = readings.left_contact or readings.right_contact
        return bool(self.there(readings)) and not touched


class StackEnv(AssemblyEnv):
    """Stack one cube on another and let it go.

    ## Reward

    dense: -0.2 tanh(4 distance) - 0.2 (not held), both 0 once the cube is at its place, -0.6 tanh(3 w), -0.1
    while it is held at its place; w is the cube's way to its place, which leads over a point 5 cm above, in m
    / size. augmented: -0.02 (tilt + \\|yaw error\\|), and -0.05 while the robot touches the table, beside.
    sparse: 0. In every mode +10 on success and -10 if the cube falls off the table.

    ## End

    terminated: success (the cube lies still on the other one and no finger touches it), or it fell off the
        table. truncated: after ``horizon`` steps (100).
    """

    exact = 0.008

    def stage(self) -> tuple[Scene, ...]:
        half = CUBE * self.fitting_width
        cube = box((half, half, half), 0.1)
        self.carry = half + OVER * self.card.size
        return (Scene((cube, cube)),)

    def draw(self, object_xy: np.ndarray) -> Placing:
        spot = self.free_spots(1, object_xy)[0]
        return Placing((((*spot.tolist(), float(self.np_random.uniform(-np.pi / 4, np.pi / 4)))),))

    def base_of(self, readings: Readings) -> np.ndarray:
        return readings.others[0]

    def place(self, readings: Readings) -> np.ndarray:
        return readings.others[0] + [0.0, 0.0, 2.0 * float(readings.object_half[2])]

    def there(self, readings: Readings) -> bool:
        across, up = self._offset(readings)
        return (
            across * self.size < readings.object_half[0]
            and abs(up) * self.size < 0.2 * readings.object_half[2]
        )


class PegEnv(AssemblyEnv):
    """Put a standing round peg into a square hole and let it go. Reward and end as in :class:`StackEnv`; its
    place is the bottom of the hole, and it is there once it is down by 60 % of the hole.
    """

    exact = 0.002

    def stage(self) -> tuple[Scene, ...]:
        width = self.fitting_width
        radius, half_length = (part * width for part in PEG)
        self.deep = half_length
        self.carry = half_length + OVER * self.card.size
        block = hole(radius, CLEARANCE * width, half_length / 2, WALL * self.card.size)
        return (Scene((cylinder(radius, half_length, 0.1),), block),)

    def draw(self, object_xy: np.ndarray) -> Placing:
        spot = self.free_spots(1, object_xy)[0]
        self._spot = spot
        return Placing(fixture=(*spot.tolist(), 0.0))

    def base_of(self, readings: Readings) -> np.ndarray:
        return np.append(self._spot, readings.table_height)

    def place(self, readings: Readings) -> np.ndarray:
        return np.add(self.base, (0.0, 0.0, readings.object_half[2]))

    def there(self, readings: Readings) -> bool:
        across, up = self._offset(readings)
        return across < 0.02 and up * self.size < (1.0 - DEEP) * self.deep
