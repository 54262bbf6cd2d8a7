"""What a task must know of an arm before it moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LIMIT_MARGIN = 0.03  # rad; a velocity command never drives a joint closer to its limit than this
TOOL_SPEED = 0.4  # m/s of an arm of the Sawyer's size, an action of 1 of the controllers that move the tool
YAW_RATE = 1.0  # rad/s, the same


@dataclass(frozen=True)
class Arm:
    """Joint limits and speeds, and the poses in which episodes begin."""

    joint_limits: np.ndarray  # (J, 2) rad, lowest and highest
    start_poses: Mapping[str, np.ndarray]  # by the option "start": (J,) rad; all arms have "centre"
    first_joint: float  # m of the first joint above the origin of the base's frame
    speeds: np.ndarray | None = None  # (J,) rad/s of an action of 1; None: 1 rad/s each
    size: float = 1.0  # of the Sawyer's; lengths in observations and rewards are in metres / size

    @property
    def joints(self) -> int:
        return len(self.joint_limits)

    @cached_property
    def max_velocity(self) -> np.ndarray:
        """(J,) rad/s of an action of 1."""
        return np.ones(self.joints) if self.speeds is None else self.speeds

    @property
    def tool_speed(self) -> float:
        """m/s of the tool, an action of 1."""
        return TOOL_SPEED * self.size

    @cached_property
    def reach(self) -> tuple[np.ndarray, np.ndarray]:
        """(J,) rad each: how low and how high a velocity command may drive the joints."""
        return self.joint_limits[:, 0] + LIMIT_MARGIN, self.joint_limits[:, 1] - LIMIT_MARGIN


@dataclass(frozen=True)
class Workplace:
    """Where the object may lie, in m in the frame of the robot's base."""

    target_region: np.ndarray  # (2, 2), x and y of a random object, lowest and highest
    fixed_target: np.ndarray  # (2,), x and y of the object with random_target=False


@dataclass(frozen=True)
class Table:
    """The table before the arm, or under it; m in the frame of the robot's base."""

    top: float
    centre: tuple[float, float]
    half: tuple[float, float]
    floor: float
    middle: np.ndarray  # (3,) of the region where objects lie, on the table's top
