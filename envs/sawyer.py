"""Numbers of the Sawyer and of its workplace that hold in every simulator: limits, start pose, where the object may lie."""

from __future__ import annotations

import numpy as np

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
LIMIT_MARGIN = 0.03  # rad; a velocity command never drives a joint closer to its limit than this
MAX_JOINT_VELOCITY = 1.0  # rad/s, an action of 1

# The tool points straight down at (0.55, 0, 0.10) m, 22 cm above the table, all joints far from their limits.
START_POSE = np.array([-0.3132, -1.0754, 0.0249, 1.96, -0.0187, 0.6864, 3.0393])  # rad
START_NOISE = 0.05  # rad, uniform, each joint

TARGET_REGION = np.array([[0.42, 0.77], [-0.30, 0.30]])  # m, x and y of a random object
FIXED_TARGET = np.array([0.65, 0.15])  # m, x and y of the object with random_target=False
