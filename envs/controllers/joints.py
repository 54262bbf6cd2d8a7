"""Control of each joint by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.backends.base import CONTROL_TIMESTEP, Backend, Readings
from envs.controllers.controller import Controller, Entry

AHEAD = 2.0  # control steps that a position's target may be ahead of the joint


class JointVelocity(Controller):
    """J joint velocities; an action of 1 is the joint's speed (1 rad/s of the Sawyer)."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        return (Entry("velocity of each joint", "the joint's speed: 1 rad/s of the Sawyer", self.arm.joints),)

    def wanted(self, action: np.ndarray, readings: Readings, backend: Backend) -> np.ndarray:
        return self.arm.max_velocity * action[: self.joints]


class JointPosition(Controller):
    """J steps of the joints' target positions; an action of 1 is what the joint's speed covers in a control
    step (0.05 rad of the Sawyer). Unlike velocities, targets do not drift.
    """

    @property
    def entries(self) -> tuple[Entry, ...]:
        unit = "what its speed covers in a control step: 0.05 rad of the Sawyer"
        return (Entry("step of each joint's target position", unit, self.arm.joints),)

    def begin(self, readings: Readings) -> None:
        self.target = readings.joint_positions.copy()

    def wanted(self, action: np.ndarray, readings: Readings, backend: Backend) -> np.ndarray:
        speed, here = self.arm.max_velocity, readings.joint_positions
        reach = AHEAD * CONTROL_TIMESTEP * speed
        target = self.target + CONTROL_TIMESTEP * speed * action[: self.joints]
        self.target = np.clip(np.clip(target, here - reach, here + reach), *self.arm.reach)
        return np.clip((self.target - here) / CONTROL_TIMESTEP, -speed, speed)

    def memory(self) -> dict[str, Any]:
        return {"target": self.target}

    def remember(self, memory: dict[str, Any]) -> None:
        self.target = memory["target"]
