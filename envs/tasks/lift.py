"""Lift the object, alone or from among others."""

from __future__ import annotations

from math import tanh
from typing import Any

import numpy as np

from envs.backends.base import Marks, Readings
from envs.objects.library import CLUTTER, find_objects
from envs.objects.scene import Placing, Scene
from envs.tasks import terms
from envs.tasks.arm import ArmEnv
from envs.tasks.terms import Term

LIFT_HEIGHT = 0.08  # m, for an arm of the Sawyer's size
LIFTED_STEPS = 3  # control steps in a row that make a lift
ABOVE, MARKED = 0.03, 0.012  # m above the named object and radius of the mark in pictures, the same


class LiftEnv(ArmEnv):
    """Lift: grasp the object and raise it by 8 cm x size.

    ## Reward

    augmented (default): -0.4 tanh(4 distance) - 0.25 (not held) - 0.35 (1 - h held) - 0.02 (tilt + \\|yaw
    error\\|), -0.05 while the robot touches the table; h is the height above the table in units of 8 cm x
    size, cut to 0 … 1; held: both pads press with more than 0.5 N and the ray sees the object; the distance
    is in m / size. dense: the first three terms. sparse: 0. In every mode +10 on success and -10 if the
    object falls.

    ## End

    terminated: success (held and at least 8 cm x size up for 3 steps in a row), or the object fell off the
        table.
    truncated: after ``horizon`` steps (60). ``info`` has "success", "distance" (m) and "height" (m above
        where the object lay).
    """

    remembers = ("rest_height", "lifted")

    def begin(self, readings: Readings) -> None:
        self.rest_height = float(readings.object_position[2])
        self.lifted = 0  # control steps in a row

    def finish(self, readings: Readings) -> tuple[Readings, bool]:
        up = terms.is_held(readings) and self._height(readings) >= LIFT_HEIGHT * self.size
        self.lifted = self.lifted + 1 if up else 0
        return readings, self.lifted >= LIFTED_STEPS

    def _height(self, readings: Readings) -> float:
        return float(readings.object_position[2]) - self.rest_height

    def cost(self, readings: Readings) -> float:
        held = terms.is_held(readings)
        up = min(max(self._height(readings) / (LIFT_HEIGHT * self.size), 0.0), 1.0) if held else 0.0
        return 0.4 * tanh(4.0 * self.distance(readings)) + (0.0 if held else 0.25) + 0.35 * (1.0 - up)

    def info(self, readings: Readings, success: bool) -> dict[str, Any]:
        return {**super().info(readings, success), "height": self._height(readings)}


class ClutterEnv(LiftEnv):
    """Lift the named one of five objects of different kinds. The object of the observations is the named one;
    the centres of the others follow. Reward and end as in :class:`LiftEnv`.
    """

    needs_mujoco = True
    default_horizon = 80

    def stage(self) -> tuple[Scene, ...]:
        kinds = [find_objects(name, self.fitting_width)[0] for name in CLUTTER]
        return tuple(Scene((*kinds[first:], *kinds[:first])) for first in range(len(kinds)))

    def terms(self) -> tuple[Term, ...]:
        return (
            Term(
                "the other objects - the tool",
                "m / size",
                3 * (len(CLUTTER) - 1),
                4.0,
                lambda task, at: (at.others - at.tool_position).ravel() / task.size,
            ),
        )

    def marks(self, readings: Readings) -> Marks:
        above = readings.object_half[2] + ABOVE * self.size
        return ((np.add(readings.object_position, (0.0, 0.0, above)), MARKED * self.size),)

    def draw(self, object_xy: np.ndarray) -> Placing:
        spots = self.free_spots(len(CLUTTER) - 1, object_xy)
        yaws = self.np_random.uniform(-np.pi, np.pi, len(spots))
        return Placing(tuple((*spot, yaw) for spot, yaw in zip(spots.tolist(), yaws.tolist(), strict=True)))
