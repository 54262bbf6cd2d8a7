"""The Sawyer in MuJoCo."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

import numpy as np

from envs.backends.base import CONTROL_TIMESTEP, BackendError, Readings
from envs.backends.choice import has_display
from envs.backends.mujoco.model import (
    FINGER_RANGE,
    OBJECT_HALF,
    PHYSICS_TIMESTEP,
    PROXIMITY_RANGE,
    TABLE_TOP,
    sawyer_xml,
)
from envs.robots.sawyer import SAWYER, WORKPLACE


def choose_gl() -> None:
    """Without a display set MUJOCO_GL to what this machine can load; mujoco reads it once, when it is
    imported.
    """
    if sys.platform != "linux" or "MUJOCO_GL" in os.environ or has_display():
        return
    for name, libraries in (
        ("egl", ("libEGL.so.1",)),
        ("osmesa", ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")),
    ):
        for library in libraries:
            try:
                ctypes.CDLL(library)
            except OSError:
                continue
            os.environ["MUJOCO_GL"] = name
            return


choose_gl()

try:
    import mujoco
except ImportError as error:
    raise BackendError(f"MuJoCo does not import ({error}): pip install mujoco") from error

SUBSTEPS = round(CONTROL_TIMESTEP / PHYSICS_TIMESTEP)
PRESSED = 0.5  # N; a pad that presses less does not count as in contact
MAX_SPEED = 1e4  # m/s or rad/s; a state faster than this is an explosion
ORIGIN = np.zeros(3)
BOX = int(mujoco.mjtGeom.mjGEOM_BOX)


class MujocoBackend:
    """The workplace of ``mujoco_model.py``, stepped; see :class:`envs.backend.Backend` for what each method
    promises.
    """

    arm = SAWYER
    workplace = WORKPLACE

    def __init__(self) -> None:
        if (
            mujoco.get_mju_user_warning() is None
        ):  # else mujoco writes MUJOCO_LOG.TXT where we stand; _read raises instead
            mujoco.set_mju_user_warning(lambda message: None)
        self.model = mujoco.MjModel.from_xml_string(sawyer_xml(looks=False))
        self.data = mujoco.MjData(self.model)
        model, data = self.model, self.data
        self._tool = model.site("tool").id
        self._tool_position = data.site("tool").xpos
        self._tool_rotation = data.site("tool").xmat
        self._proximity_position = data.site("proximity").xpos
        self._object_position = data.geom("object").xpos
        self._object_rotation = data.geom("object").xmat
        self._object_size = np.array(OBJECT_HALF)
        self._table, self._object = model.geom("table").id, model.geom("object").id
        self._pads = (model.geom("left_pad").id, model.geom("right_pad").id)
        self._jacobian = np.zeros((6, model.nv))
        self._picture: Any = None  # a Picture once render or show was called

    def reset(self, joint_positions: np.ndarray, object_xy: np.ndarray, object_yaw: float) -> Readings:
        data = self.data
        mujoco.mj_resetData(self.model, data)  # clears velocities, commands, warm starts and time
        data.qpos[:7] = joint_positions
        data.qpos[7:9] = FINGER_RANGE
        data.ctrl[7:] = FINGER_RANGE
        data.qpos[9:11] = object_xy
        data.qpos[11] = TABLE_TOP + OBJECT_HALF[2]
        data.qpos[12:] = np.cos(object_yaw / 2), 0.0, 0.0, np.sin(object_yaw / 2)
        mujoco.mj_forward(self.model, data)
        return self._read()

    def step(self, joint_velocities: np.ndarray, opening: float | None) -> Readings:
        data = self.data
        data.ctrl[:7] = joint_velocities
        if opening is not None:
            data.ctrl[7:] = FINGER_RANGE * min(max(opening, 0.0), 1.0)
        mujoco.mj_step(self.model, data, SUBSTEPS)
        mujoco.mj_kinematics(self.model, data)  # mj_step leaves the poses of the instant before its last move
        return self._read()

    def get_state(self) -> np.ndarray:
        """Everything that later steps depend on, (n,) float64."""
        state = np.empty(mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_getState(self.model, self.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        return state

    def set_state(self, state: np.ndarray) -> None:
        """After a reset. Raises ValueError if it is not of this model."""
        size = mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_INTEGRATION)
        if state.shape != (size,) or state.dtype != np.float64:
            raise ValueError(f"a state of {state.dtype} {state.shape} instead of float64 ({size},)")
        mujoco.mj_setState(self.model, self.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_kinematics(self.model, self.data)  # jacobian() and the proximity ray read poses

    def jacobian(self) -> np.ndarray:
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_jacSite(self.model, self.data, self._jacobian[:3], self._jacobian[3:], self._tool)
        return self._jacobian[:, :7].copy()

    def render(self, camera: str, width: int, height: int) -> np.ndarray:
        return self._get_picture().render(self.data.qpos, camera, width, height)

    def show(self) -> None:
        self._get_picture().show(self.data.qpos)

    def close(self) -> None:
        if self._picture is not None:
            self._picture.close()
            self._picture = None

    def _get_picture(self) -> Any:
        if self._picture is None:
            from envs.backends.mujoco.picture import Picture

            self._picture = Picture()
        return self._picture

    def _read(self) -> Readings:
        data = self.data
        speed = np.abs(data.qvel).max()
        if not (speed < MAX_SPEED and np.isfinite(data.qpos).all()):
            raise BackendError(
                "the MuJoCo state is no longer finite: reset the environment; check the commands it was given"
            )
        left, right, table = self._contacts()
        rotation = self._tool_rotation.reshape(3, 3).copy()
        return Readings(
            joint_positions=data.qpos[:7].copy(),
            joint_velocities=data.qvel[:7].copy(),
            tool_position=self._tool_position.copy(),
            tool_rotation=rotation,
            object_position=self._object_position.copy(),
            object_rotation=self._object_rotation.reshape(3, 3).copy(),
            opening=float(min(max((data.qpos[7] + data.qpos[8]) / (2 * FINGER_RANGE), 0.0), 1.0)),
            left_contact=left,
            right_contact=right,
            table_contact=table,
            proximity=self._sees(rotation[:, 2]),
            table_height=TABLE_TOP,
            base_position=ORIGIN,
            object_sides=4,
        )

    def _contacts(self) -> tuple[bool, bool, bool]:
        """Whether the left pad presses on the object, the right pad does, the robot touches the table."""
        left = right = 0.0
        table = False
        contact = self.data.contact
        force = self.data.efc_force
        for (first, second), row in zip(contact.geom.tolist(), contact.efc_address.tolist(), strict=True):
            if row < 0:  # within a margin, not touching
                continue
            pair = {first, second}
            if self._object not in pair:
                table = table or self._table in pair
            elif self._pads[0] in pair:
                left += force[row]  # an elliptic cone's first row is the normal force
            elif self._pads[1] in pair:
                right += force[row]
        return bool(left > PRESSED), bool(right > PRESSED), table

    def _sees(self, direction: np.ndarray) -> bool:
        distance = mujoco.mju_rayGeom(
            self._object_position,
            self._object_rotation,
            self._object_size,
            self._proximity_position,
            direction,
            BOX,
        )
        return 0.0 <= distance <= PROXIMITY_RANGE
