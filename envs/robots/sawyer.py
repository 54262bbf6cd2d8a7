"""Numbers of the Sawyer and of its workplace: limits, start pose, where the object may lie."""

from __future__ import annotations

import numpy as np

from envs.robots.arm import Arm, Table, Workplace
from envs.robots.card import Gripper, RobotCard, Tool

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
FINGER_RANGE = 0.036  # m, one finger's way from closed to open
START_NOISE = 0.05  # rad, uniform, each joint
BOOK_OPEN = 0.75  # the book opens a gripper that is less open than this


WORKPLACE = Workplace(np.array([[0.42, 0.77], [-0.30, 0.30]]), np.array([0.65, 0.15]))
TABLE = Table(
    top=-0.12, centre=(0.72, 0.0), half=(0.38, 0.55), floor=-0.92, middle=np.array([0.595, 0.0, -0.12])
)

CARD = RobotCard(
    name="sawyer",
    model=None,
    arm_joints=tuple(f"joint{i}" for i in range(7)),
    home=tuple(START_POSE.tolist()),
    speed=(1.0,) * 7,
    tool=Tool("gripper", (0.0, 0.0, 0.123), (1.0, 0.0, 0.0, 0.0)),
    region=((0.42, 0.77), (-0.30, 0.30)),
    gripper=Gripper(
        drives={f"{side}_finger": (0.0, FINGER_RANGE) for side in ("left", "right")},
        joints={f"{side}_finger": (0.0, FINGER_RANGE) for side in ("left", "right")},
        fingers=(("left_finger",), ("right_finger",)),
        width=2 * FINGER_RANGE,
    ),
    table_height=TABLE.top,
)
