"""A scripted expert: waypoints over the object, down, close, up. It shows that the tasks can be done, and
makes demonstrations.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from envs.robots.arm import YAW_RATE
from envs.tasks import terms
from envs.tasks.arm import ArmEnv

APPROACH_GAIN = 8.0  # 1/s from a distance to a velocity
CLEARANCE = 0.06  # m of the tool-centre point above the object's centre: the finger tips pass over its top
ALIGNED = 0.012  # m and, alike, 0.1 rad: below it the fingers go down around the object
GRASP_DEPTH = 0.005  # m above the object's centre, where the lift's gripper closes
LIFT_SPEED = 0.3  # m/s


class Expert:
    """Acts in a SawyerGrasp or SawyerLift environment from its present Readings; deterministic, keeps no
    memory.

    Example: ``expert = Expert(env); env.reset(seed=0); env.step(expert.act())``.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        task = env.unwrapped
        if not isinstance(task, ArmEnv):
            raise ValueError(f"the expert knows the Sawyer tasks, not {type(task).__name__}")
        self.env = task

    def act(self) -> np.ndarray:
        """The action (A,) float32 in [-1, 1] for the environment's present instant."""
        linear, yaw_rate, opening = self._plan()
        env, readings = self.env, self.env.readings
        assert readings is not None
        arm = env.controller.towards(linear, yaw_rate, readings, env.backend)
        action = np.append(arm, 2.0 * opening - 1.0) if env.gripper_action else arm
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def _plan(self) -> tuple[np.ndarray, float, float]:
        """Tool velocity (3,) m/s, yaw rate rad/s, opening 0 … 1."""
        readings = self.env.readings
        assert readings is not None, "reset the environment first"
        if terms.is_held(readings):
            return np.array([0.0, 0.0, LIFT_SPEED]), 0.0, 0.0
        offset = readings.object_position - readings.tool_position
        yaw = terms.yaw_error(readings)
        speed = self.env.arm.tool_speed
        across = float(np.hypot(offset[0], offset[1]))
        misaligned = max(across, 0.12 * abs(yaw)) - ALIGNED
        goal_above = GRASP_DEPTH + (min(CLEARANCE, 6.0 * misaligned + 0.045) if misaligned > 0 else 0.0)
        offset[2] += goal_above
        linear = np.clip(APPROACH_GAIN * offset, -speed, speed)
        closing = misaligned <= 0 and abs(offset[2]) < 0.01
        if closing:
            linear[:] = 0.0
        return linear, float(np.clip(-APPROACH_GAIN * yaw, -YAW_RATE, YAW_RATE)), 0.0 if closing else 1.0
