"""What a task must know of an arm before it moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LIMIT_MARGIN = 0.03  # rad; a velocity command never drives a joint closer to its limit than this


@dataclass(frozen=True)
class Arm:
    """Joint limits, and the poses in which episodes begin."""

    joint_limits: np.ndarray  # (J, 2) rad, lowest and highest
    start_poses: Mapping[str, np.ndarray]  # by the option "start": (J,) rad; all arms have "centre"
    first_joint: float  # m of the first joint above the origin of the base's frame

    @property
    def joints(self) -> int:
        return len(self.joint_limits)

    @cached_property
    def reach(self) -> tuple[np.ndarray, np.ndarray]:
        """(J,) rad each: how low and how high a velocity command may drive the joints."""
        return self.joint_limits[:, 0] + LIMIT_MARGIN, self.joint_limits[:, 1] - LIMIT_MARGIN
