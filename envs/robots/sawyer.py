"""Numbers of the Sawyer and of its workplace: limits, start pose, where the object may lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.robots.arm import Arm

JOINT_LIMITS = np.array(
    [
        [-3.0503, 3.0503],
        [-3.8095, 2.2736],
        [-3.0426, 3.0426],
        [-3.0439, 3.0439],
        [-2.9761, 2.9761],
        [-2.9761, 2.9761],
        [-4.7124, 4.7124],
    ]
)  # (7, 2) rad
MAX_JOINT_VELOCITY = 1.0  # rad/s, an action of 1

# By the option "start". centre: the tool points straight down at (0.55, 0, 0.10) m, all joints far from their
# limits. book: where the book's arm starts, joint 5 at 0.004 rad from its limit.
START_POSES = {
    "centre": np.array([-0.3132, -1.0754, 0.0249, 1.96, -0.0187, 0.6864, 3.0393]),
    "book": np.array(
        [
            0.001815199851989746,
            -1.4224984645843506,
            0.704303503036499,
            2.54307222366333,
            2.972468852996826,
            -0.4989511966705322,
            4.105560302734375,
        ]
    ),
}  # rad
START_POSE = START_POSES["centre"]
SAWYER = Arm(JOINT_LIMITS, START_POSES, first_joint=0.08)
START_NOISE = 0.05  # rad, uniform, each joint
BOOK_OPEN = 0.75  # the book opens a gripper that is less open than this


@dataclass(frozen=True)
class Workplace:
    """Where the object may lie, in m in the frame of the robot's base."""

    target_region: np.ndarray  # (2, 2), x and y of a random object, lowest and highest
    fixed_target: np.ndarray  # (2,), x and y of the object with random_target=False


WORKPLACE = Workplace(np.array([[0.42, 0.77], [-0.30, 0.30]]), np.array([0.65, 0.15]))
