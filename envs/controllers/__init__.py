"""From a policy's action to the joint velocities that a backend takes: one class a way to control an arm."""

from envs.controllers.controller import GRIPPER, Entry
from envs.controllers.joints import JointPosition, JointVelocity
from envs.controllers.tool import EndPose, EndPosition

__all__ = ["CONTROLLERS", "GRIPPER", "EndPose", "EndPosition", "Entry", "JointPosition", "JointVelocity"]

CONTROLLERS = {
    "joint_velocity": JointVelocity,
    "joint_position": JointPosition,
    "end_position": EndPosition,
    "end_pose": EndPose,
}
