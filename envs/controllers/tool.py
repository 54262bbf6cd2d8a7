"""Control of the tool, by the arm's Jacobian."""

from __future__ import annotations

import numpy as np

from envs.backends.base import CONTROL_TIMESTEP, Backend, Readings
from envs.controllers.controller import Controller, Entry
from envs.controllers.kinematics import (
    DAMPING,
    stop_at_limits,
    tool_to_joint_velocities,
    twist_to_joint_velocities,
    upright,
)
from envs.robots.arm import YAW_RATE

BEYOND = 0.25  # m that the tool may leave the objects' region, for an arm of the Sawyer's size
HIGHEST = 0.7  # m above the table, the same
SLIP = (
    0.002  # m out of that box in a control step, which the damping of the least squares may bring, the same
)
TRIES = 3  # to lead the tool back; then the arm stands still for that step
NEAR = 1e-4  # rad from the limit that a joint does not pass
VELOCITY = Entry("velocity of the tool along the base's x, y, z axes", "0.4 m/s x size", 3)


class ToolControl(Controller):
    """Keeps the tool in the box above the objects' region, also where joints at their limits, or turns that
    they cannot follow, would lead it out.
    """

    def velocities(self, action: np.ndarray, readings: Readings, backend: Backend) -> np.ndarray:
        velocities, tries = super().velocities(action, readings, backend), 0
        while (back := out_of_workspace(velocities, readings, backend)) is not None:
            tries += 1
            if tries > TRIES:
                return np.zeros_like(velocities)
            velocities = self._led_back(velocities, back, readings, backend)
        return velocities

    def _led_back(
        self, velocities: np.ndarray, linear: np.ndarray, readings: Readings, backend: Backend
    ) -> np.ndarray:
        """``velocities`` with what moves the tool at ``linear`` (3,) m/s besides, by the joints that are not
        at their limits.
        """
        lowest, highest = self.arm.reach
        here = readings.joint_positions + CONTROL_TIMESTEP * velocities
        jacobian = backend.jacobian()[:3] * ((here > lowest + NEAR) & (here < highest - NEAR))
        gram = jacobian @ jacobian.T
        gram.flat[::4] += DAMPING**2
        led = velocities + jacobian.T @ np.linalg.solve(gram, linear)
        led /= max(1.0, (np.abs(led) / self.arm.max_velocity).max())
        return stop_at_limits(led, readings.joint_positions, self.arm)


def out_of_workspace(velocities: np.ndarray, readings: Readings, backend: Backend) -> np.ndarray | None:
    """(3,) m/s that the tool must not be led out of the box with; None: it is not."""
    linear = backend.jacobian()[:3] @ velocities
    back = within_workspace(linear, readings, backend) - linear
    return back if np.abs(back).max() * CONTROL_TIMESTEP > SLIP * backend.arm.size else None


class EndPosition(ToolControl):
    """Three velocities of the tool along the base's axes and a turn about the vertical, while it is held
    pointing down. An action of 1 is 0.4 m/s x size, or 1 rad/s.
    """

    @property
    def entries(self) -> tuple[Entry, ...]:
        return (VELOCITY, Entry("turn of the tool about the vertical", "1 rad/s", 1))

    def wanted(self, action: np.ndarray, readings: Readings, backend: Backend) -> np.ndarray:
        return tool_to_joint_velocities(
            backend.jacobian(),
            readings.joint_positions,
            readings.tool_rotation,
            within_workspace(self.arm.tool_speed * action[:3], readings, backend),
            YAW_RATE * action[3],
            self.rest_pose,
            self.arm,
        )

    def towards(
        self, linear: np.ndarray, turn: np.ndarray, readings: Readings, backend: Backend
    ) -> np.ndarray:
        return np.append(linear / self.arm.tool_speed, turn[2] / YAW_RATE)


class EndPose(ToolControl):
    """Three velocities of the tool and three turns about the base's axes. An action of 1 is 0.4 m/s x size,
    or 1 rad/s. An arm of fewer than six joints comes as near as it can.
    """

    @property
    def entries(self) -> tuple[Entry, ...]:
        return (VELOCITY, Entry("turns of the tool about the base's x, y, z axes", "1 rad/s", 3))

    def wanted(self, action: np.ndarray, readings: Readings, backend: Backend) -> np.ndarray:
        linear = within_workspace(self.arm.tool_speed * action[:3], readings, backend)
        twist = np.concatenate([linear, YAW_RATE * action[3:6]])
        return twist_to_joint_velocities(
            backend.jacobian(), readings.joint_positions, twist, self.rest_pose, self.arm
        )

    def towards(
        self, linear: np.ndarray, turn: np.ndarray, readings: Readings, backend: Backend
    ) -> np.ndarray:
        turn = (upright(readings.tool_rotation) + turn) / YAW_RATE
        return np.concatenate([linear / self.arm.tool_speed, turn])


def within_workspace(linear: np.ndarray, readings: Readings, backend: Backend) -> np.ndarray:
    """(3,) m/s, cut so that one control step does not lead the tool out of the box above the objects' region;
    coming back is always allowed.
    """
    margin, region = BEYOND * backend.arm.size, backend.workplace.target_region
    top = readings.table_height
    low = np.append(region[:, 0] - margin, top)
    high = np.append(region[:, 1] + margin, top + HIGHEST * backend.arm.size)
    slowest = np.minimum((low - readings.tool_position) / CONTROL_TIMESTEP, 0.0)
    fastest = np.maximum((high - readings.tool_position) / CONTROL_TIMESTEP, 0.0)
    return np.minimum(np.maximum(linear, slowest), fastest)
