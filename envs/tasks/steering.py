"""What a person's hand wants of the tool, as an action of the task."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from envs.controllers.tool import within_workspace
from envs.robots.arm import YAW_RATE
from envs.tasks import terms
from envs.tasks.arm import ArmEnv

SEEN = 6  # numbers of Steering.seen


class Steering:
    """Turns commands in the space of the tool into actions of an arm task, whatever its control.

    Raises:
        ValueError: it is no arm task.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        task = env.unwrapped
        if not isinstance(task, ArmEnv):
            raise ValueError(
                f"people steer the tool of an arm, in this package's tasks and those built on them, and "
                f"{type(task).__name__} is none"
            )
        self.env = task

    def action(self, motion: np.ndarray, opening: float) -> np.ndarray:
        """The action (A,) float32 in [-1, 1] for the environment's present instant.

        ``motion`` (6,) in [-1, 1] is the tool's velocity along the base's axes and its turn about them, in
        units of the arm's tool speed and of 1 rad/s; ``opening`` of the gripper, 0 … 1. The tool is kept over
        the table, as by the tool's own controls.
        """
        env, readings = self.env, self.env.readings
        assert readings is not None, "reset the environment first"
        linear = within_workspace(env.arm.tool_speed * motion[:3], readings, env.backend)
        arm = env.controller.towards(linear, YAW_RATE * motion[3:], readings, env.backend)
        action = np.append(arm, 2.0 * opening - 1.0) if env.gripper_action else arm
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def seen(self) -> np.ndarray:
        """(SEEN,) what a picture shows badly: from the tool to the object in the base's axes (m), the yaw
        error (rad), whether the object is held, the gripper's opening.
        """
        at = self.env.readings
        assert at is not None, "reset the environment first"
        offset = at.object_position - at.tool_position
        return np.array([*offset, terms.yaw_error(at), terms.is_held(at), at.opening])
