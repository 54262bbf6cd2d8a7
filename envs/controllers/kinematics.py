"""From what a policy or a script wants of the arm to the joint velocities a backend takes. Pure
functions.
"""

from __future__ import annotations

import numpy as np

from envs.backends.base import CONTROL_TIMESTEP
from envs.robots.arm import Arm

DAMPING = 0.05  # of the damped least squares; bounds the joint velocities near a singular pose
TILT_GAIN = 4.0  # 1/s, how fast a tilt of the tool is turned back
NULL_SPACE_GAIN = 0.5  # 1/s, how fast a free degree of freedom returns to its rest pose


def stop_at_limits(velocities: np.ndarray, joint_positions: np.ndarray, arm: Arm) -> np.ndarray:
    """(J,) rad/s, cut so that one control step ends LIMIT_MARGIN before every joint limit; leaving a limit is
    always allowed.
    """
    lowest, highest = arm.reach
    slowest = np.minimum((lowest - joint_positions) / CONTROL_TIMESTEP, 0.0)
    fastest = np.maximum((highest - joint_positions) / CONTROL_TIMESTEP, 0.0)
    return np.minimum(np.maximum(velocities, slowest), fastest)


def tool_to_joint_velocities(
    jacobian: np.ndarray,
    joint_positions: np.ndarray,
    tool_rotation: np.ndarray,
    linear: np.ndarray,
    yaw_rate: float,
    rest_pose: np.ndarray,
    arm: Arm,
) -> np.ndarray:
    """Joint velocities (J,) that move the tool at ``linear`` (3,) m/s and turn it about the vertical, while
    it is held upright; see :func:`twist_to_joint_velocities`.
    """
    twist = np.concatenate([linear, upright(tool_rotation)])
    twist[5] = yaw_rate
    return twist_to_joint_velocities(jacobian, joint_positions, twist, rest_pose, arm)


def upright(tool_rotation: np.ndarray) -> np.ndarray:
    """(3,) rad/s that bring the tool to point down."""
    approach = tool_rotation[:, 2]
    # approach × down, the axis and sine of the turn that brings the tool upright
    return np.array([-TILT_GAIN * approach[1], TILT_GAIN * approach[0], 0.0])


def twist_to_joint_velocities(
    jacobian: np.ndarray, joint_positions: np.ndarray, twist: np.ndarray, rest_pose: np.ndarray, arm: Arm
) -> np.ndarray:
    """Joint velocities (J,) that move the tool at ``twist`` (6,) m/s and rad/s in the base frame.

    Damped least squares q̇ = Jᵀ(JJᵀ + λ²I)⁻¹ẋ (Wampler 1986, Nakamura & Hanafusa 1986), with
    ``rest_pose`` (J,) rad as the goal of the null space. All joints are slowed alike where one would exceed
    its velocity limit, so the direction is kept.
    """
    rest = NULL_SPACE_GAIN * (rest_pose - joint_positions)
    gram = jacobian @ jacobian.T
    gram.flat[::7] += DAMPING**2
    velocities = rest + jacobian.T @ np.linalg.solve(gram, twist - jacobian @ rest)
    return velocities / max(1.0, (np.abs(velocities) / arm.max_velocity).max())
