"""Observations by cameras: pictures, what the arm feels of itself, and the goal where a task has one."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict

from envs.backends.base import OptionError, Readings
from envs.robots.arm import Arm
from envs.tasks.checks import check_name
from envs.tasks.terms import Term

MODES = ("camera", "camera+state")
STATE = "state"  # the field of numbers beside the pictures
SIZES = (64, 128)  # pixels, smallest and largest


def own_terms(arm: Arm) -> tuple[Term, ...]:
    """What an arm knows without looking, from its joints' encoders."""
    return (
        Term(
            "joint positions",
            "rad",
            arm.joints,
            np.abs(arm.joint_limits).max(axis=1) + 0.1,
            lambda task, at: at.joint_positions,
        ),
        Term("joint velocities", "rad/s", arm.joints, 10.0, lambda task, at: at.joint_velocities),
        Term(
            "the tool, in the base frame",
            "m / size",
            3,
            2.0,
            lambda task, at: at.tool_position / task.size,
        ),
        Term("the tool's approach axis", "1", 3, 1.0, lambda task, at: at.tool_rotation[:, 2]),
        Term("the fingers' line", "1", 3, 1.0, lambda task, at: at.tool_rotation[:, 1]),
        Term("opening of the gripper, 0 closed, 1 open", "1", 1, 1.0, lambda task, at: at.opening),
    )


def goal_terms(task: Any) -> tuple[Term, ...]:
    """A goal is given, not seen."""
    if not task.has_goal:
        return ()
    return (Term("the goal, in the base frame", "m / size", 3, 2.0, lambda task, at: task.desired(at)),)


class Sight:
    """The cameras of a task.

    Args:
        cameras: their names, parted by commas.
        size: pixels of a picture, along each side.

    Raises:
        OptionError: another size, or a name twice.
    """

    def __init__(self, mode: str, cameras: Any, size: Any) -> None:
        check_name("cameras", cameras)
        self.cameras = tuple(name.strip() for name in cameras.split(","))
        if len(set(self.cameras)) < len(self.cameras) or STATE in self.cameras or "" in self.cameras:
            raise OptionError(f"cameras is {cameras!r}: different names parted by commas, as scene,wrist")
        whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
        if not whole or not SIZES[0] <= size <= SIZES[1]:
            raise OptionError(f"camera_size is {size!r}: pixels, from {SIZES[0]} to {SIZES[1]}")
        self.mode, self.size = mode, int(size)
        self.pictures: dict[str, np.ndarray] = {}  # of the present instant

    def entries(self, task: Any) -> tuple[Term, ...]:
        """The numbers beside the pictures."""
        return (*(own_terms(task.arm) if self.mode == "camera+state" else ()), *goal_terms(task))

    def space(self, numbers: Box) -> Dict:
        picture = Box(0, 255, (self.size, self.size, 3), np.uint8)
        return Dict(dict.fromkeys(self.cameras, picture) | ({STATE: numbers} if numbers.shape[0] else {}))

    def look(self, backend: Any) -> None:
        self.pictures = backend.see(self.cameras, self.size)

    def observed(self, task: Any, at: Readings, low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
        if not len(high):
            return dict(self.pictures)
        parts = [np.atleast_1d(term.of(task, at)) for term in task.entries]
        numbers = np.concatenate(parts, dtype=np.float32, casting="unsafe")
        return {**self.pictures, STATE: np.minimum(np.maximum(numbers, low), high)}
