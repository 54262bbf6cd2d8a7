"""Where an arm can point its tool straight down: inverse kinematics of a compiled robot."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

LIMIT_MARGIN = 0.05  # rad that a solution stays off the joints' limits
ITERATIONS = 60
DAMPING = 0.03  # of the damped least squares (Wampler 1986), rad-metres alike
STEP = 0.4  # rad, of the fastest joint in one iteration
CLOSE = 1e-3  # m and rad, of a solution


class Kinematics:
    """The arm's joints, its tool frame, and what its joints allow."""

    def __init__(self, model: Any, joints: tuple[str, ...]) -> None:
        self.model, self.data = model, mujoco.MjData(model)
        index = [model.joint(name).id for name in joints]
        self.positions = model.jnt_qposadr[index]
        self.dofs = model.jnt_dofadr[index]
        limits = np.where(model.jnt_limited[index, None], model.jnt_range[index], [-np.pi, np.pi])
        middle, half = limits.mean(1), (limits[:, 1] - limits[:, 0]) / 2
        self.lowest = middle - np.maximum(half - LIMIT_MARGIN, 0.5 * half)
        self.highest = middle + np.maximum(half - LIMIT_MARGIN, 0.5 * half)
        self.tool = model.site("tool").id
        self.tool_position = self.data.site_xpos[self.tool]
        self.tool_rotation = self.data.site_xmat[self.tool].reshape(3, 3)
        self._jacobian = np.zeros((6, model.nv))

    def place(self, joint_positions: np.ndarray) -> None:
        self.data.qpos[self.positions] = joint_positions
        mujoco.mj_kinematics(self.model, self.data)

    def margin(self, joint_positions: np.ndarray) -> float:
        """Smallest way to a limit as a share of the joint's range, 0 … 0.5."""
        ways = np.minimum(joint_positions - self.lowest, self.highest - joint_positions)
        return float((ways / (self.highest - self.lowest)).min())

    def solve(self, target: np.ndarray, start: np.ndarray, line: bool = True) -> np.ndarray | None:
        """(J,) rad with the tool at ``target`` (3,) m pointing straight down, near ``start``; with ``line`` the
        fingers' line lies along y. None: not found.
        """
        joint_positions = np.clip(start, self.lowest, self.highest)
        rows = slice(0, 6) if line else slice(0, 5)
        for _ in range(ITERATIONS):
            self.place(joint_positions)
            error = np.concatenate([target - self.tool_position, self._turn()])[rows]
            if np.abs(error).max() < CLOSE:
                return joint_positions
            mujoco.mj_comPos(self.model, self.data)
            mujoco.mj_jacSite(self.model, self.data, self._jacobian[:3], self._jacobian[3:], self.tool)
            jacobian = self._jacobian[rows, self.dofs]
            gram = jacobian @ jacobian.T
            gram.flat[:: len(gram) + 1] += DAMPING**2 * min(1.0, float(error @ error))
            gram.flat[:: len(gram) + 1] += 1e-8
            step = jacobian.T @ np.linalg.solve(gram, error)
            step *= min(1.0, STEP / np.abs(step).max())
            joint_positions = np.clip(joint_positions + step, self.lowest, self.highest)
        return None

    def _turn(self) -> np.ndarray:
        """(3,) rad, the rotation from the tool as it is to z down and y along ±y, less than half a turn."""
        rotation = self.tool_rotation
        side = 1.0 if rotation[1, 1] >= 0 else -1.0
        wanted = np.array([[-side, 0, 0], [0, side, 0], [0, 0, -1.0]])
        wanted[0, 0] = -side  # x = y × z
        turn = np.zeros(4)
        mujoco.mju_mat2Quat(turn, (wanted @ rotation.T).ravel())
        vector = np.zeros(3)
        mujoco.mju_quat2Vel(vector, turn, 1.0)
        return vector
