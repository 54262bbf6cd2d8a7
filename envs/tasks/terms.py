"""What the tasks compute from one instant of the simulation: angles, observations, rewards. Pure functions of
Readings.
"""

from __future__ import annotations

from math import atan2, cos, hypot, pi, sin, tanh

import numpy as np

from envs.backends.base import Readings

SUCCESS_REWARD = 10.0
FALL_REWARD = -10.0
LIFT_HEIGHT = 0.08  # m


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
    rad for n such sides.
    """
    fingers = atan2(readings.tool_rotation[1, 1], readings.tool_rotation[0, 1])
    side = atan2(readings.object_rotation[1, 0], readings.object_rotation[0, 0])
    half = pi / readings.object_sides
    return half - (half - (fingers - side)) % (2 * half)


def is_held(readings: Readings) -> bool:
    """Both pads press on the object and the proximity ray sees it between them."""
    return readings.left_contact and readings.right_contact and readings.proximity


def has_fallen(readings: Readings) -> bool:
    """The object's centre is below the table's top: it went over the edge."""
    return bool(readings.object_position[2] < readings.table_height)


def relative_observation(readings: Readings) -> np.ndarray:
    """(17 + 2 J,) float32 with J joints; the table of its entries is in SawyerGraspEnv."""
    angle = readings.object_sides * yaw_error(readings)
    joints = len(readings.joint_positions)
    observation = np.empty(17 + 2 * joints, np.float32)
    observation[:joints] = readings.joint_positions
    observation[joints:-17] = readings.joint_velocities
    observation[-17:-14] = readings.object_position
    observation[-14:-11] = readings.tool_position
    observation[-11:-8] = 5.0 * (readings.object_position - readings.tool_position)
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


def grasp_reward(readings: Readings, mode: str, success: bool) -> float:
    """Reward of SawyerGrasp for the step that led to ``readings``; ``mode`` is "sparse", "dense" or
    "augmented".
    """
    reward = outcome_reward(readings, success)
    if mode != "sparse":
        reward -= distance(readings)
    if mode == "augmented":
        reward -= 0.02 * (tilt(readings) + abs(yaw_error(readings)))
        reward -= 1.0 if readings.table_contact else 0.0
    return reward


def lift_reward(readings: Readings, mode: str, success: bool, rest_height: float) -> float:
    """Reward of SawyerLift; ``rest_height`` is the z (m) at which the object lay on the table."""
    reward = outcome_reward(readings, success)
    if mode != "sparse":
        held = is_held(readings)
        lifted = (
            min(max((float(readings.object_position[2]) - rest_height) / LIFT_HEIGHT, 0.0), 1.0)
            if held
            else 0.0
        )
        reward -= 0.4 * tanh(4.0 * distance(readings)) + (0.0 if held else 0.25) + 0.35 * (1.0 - lifted)
    if mode == "augmented":
        reward -= 0.02 * (tilt(readings) + abs(yaw_error(readings)))
        reward -= 0.05 if readings.table_contact else 0.0
    return reward


def outcome_reward(readings: Readings, success: bool) -> float:
    """What every mode has: the end of the episode, good or bad."""
    if success:
        return SUCCESS_REWARD
    return FALL_REWARD if has_fallen(readings) else 0.0
