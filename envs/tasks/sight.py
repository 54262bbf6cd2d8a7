"""Observations by cameras: pictures, what the arm feels of itself, and the goal where a task has one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict

from envs.backends.base import OptionError, Readings
from envs.robots.arm import Arm
from envs.tasks.checks import check_name
from envs.tasks.terms import Term, entries, relative_observation

MODES = ("camera", "camera+state")
STATE = "state"  # the field of numbers beside the pictures
PRIVILEGED = "privileged"  # … of what only a simulator knows, for critics
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
        cameras: their names, separated by commas.
        size: pixels of a picture, along each side.
        privileged: observe beside it what a task observes without cameras.

    Raises:
        OptionError: another size, or a name twice.
    """

    def __init__(self, mode: str, cameras: Any, size: Any, privileged: bool) -> None:
        check_name("cameras", cameras)
        self.cameras = tuple(name.strip() for name in cameras.split(","))
        if len(set(self.cameras)) < len(self.cameras) or {STATE, PRIVILEGED, ""} & set(self.cameras):
            raise OptionError(f"cameras is {cameras!r}: different names separated by commas, as scene,wrist")
        whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
        if not whole or not SIZES[0] <= size <= SIZES[1]:
            raise OptionError(f"camera_size is {size!r}: it is in pixels, from {SIZES[0]} to {SIZES[1]}")
        self.mode, self.size, self.privileged = mode, int(size), privileged
        self.pictures: dict[str, np.ndarray] = {}  # of the present instant

    def entries(self, task: Any) -> tuple[Term, ...]:
        """The numbers beside the pictures."""
        return (*(own_terms(task.arm) if self.mode == "camera+state" else ()), *goal_terms(task))

    def space(self, task: Any, numbers: Box) -> Dict:
        picture = Box(0, 255, (self.size, self.size, 3), np.uint8)
        parts: dict[str, Any] = dict.fromkeys(self.cameras, picture)
        if numbers.shape[0]:
            parts[STATE] = numbers
        if self.privileged:
            self._extra = task.terms()
            known = entries(task.arm, "relative", self._extra)
            self._bound = np.concatenate(
                [np.broadcast_to(entry.bound, entry.size) for entry in known], dtype=np.float32
            )
            parts[PRIVILEGED] = Box(-self._bound, self._bound, dtype=np.float32)
        return Dict(parts)

    def look(self, backend: Any) -> None:
        self.pictures = backend.see(self.cameras, self.size)

    def observed(self, task: Any, at: Readings, low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
        observed = dict(self.pictures)
        if len(high):
            observed[STATE] = np.clip(_numbers(task.entries, task, at), low, high)
        if self.privileged:
            known = np.append(relative_observation(at, task.size), _numbers(self._extra, task, at))
            observed[PRIVILEGED] = np.clip(known.astype(np.float32), -self._bound, self._bound)
        return observed


def _numbers(terms: Iterable[Term], task: Any, at: Readings) -> np.ndarray:
    parts = [np.atleast_1d(term.of(task, at)) for term in terms]
    return np.concatenate([np.empty(0), *parts], dtype=np.float32, casting="unsafe")
