"""Any robot of a card, with the things of a scene, in MuJoCo."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np

from envs.backends.base import CONTROL_TIMESTEP, NOTHING, BackendError, Marks, Readings, Unstable
from envs.objects.scene import Placing, Scene
from envs.robots.card import RobotCard
from envs.robots.workplace import arm_of, table_of, workplace_of

try:
    import mujoco
except ImportError as error:
    raise BackendError(f"MuJoCo does not import ({error}): pip install mujoco") from error

from envs.backends.mujoco.parts import (
    LEFT_ON_OBJECT,
    RIGHT_ON_OBJECT,
    ROBOT,
    TABLE,
    Parts,
)
from envs.robots.reach import check_reach
from envs.robots.spec import robot_spec

PRESSED = 0.5  # N; a pad that presses less does not count as in contact
MAX_SPEED = 1e4  # m/s and rad/s, of all together; a state faster than this is an explosion
PICTURES_KEPT = 8  # scenes of which a model to draw is kept, each with an OpenGL context
ORIGIN = np.zeros(3)
INTEGRATION = mujoco.mjtState.mjSTATE_INTEGRATION


class MujocoBackend:
    """A robot at its table, stepped; see :class:`envs.backends.base.Backend` for what each method promises.

    ``scenes`` are alternatives: each episode has one of them. They differ in their objects, not in how many there
    are.
    """

    def __init__(self, card: RobotCard, scenes: tuple[Scene, ...]) -> None:
        if (
            mujoco.get_mju_user_warning() is None
        ):  # else mujoco writes MUJOCO_LOG.TXT where we stand; _read raises instead
            mujoco.set_mju_user_warning(lambda message: None)
        self.card, self._table_top = card, table_of(card).top
        self.workplace = workplace_of(card)
        self._robot = robot_spec(card, looks=False)  # read once, as meshes take their time
        self._scenes = scenes
        self._parts: dict[int, Parts] = {}
        self._enter(0)
        if card.model is not None:
            check_reach(self.model, card)
        self.arm = arm_of(card, self._now.joint_limits)
        self._substeps = round(CONTROL_TIMESTEP / card.timestep)
        self._look: Mapping[str, float] = {}
        self._picture: Any = None  # a Picture once render or show was called
        self._seen: dict[int, Any] = {}  # by scene, a LeanPicture once see was called
        self._drawings: dict[int, Any] = {}  # by scene

    def _enter(self, scene: int) -> None:
        """Compiled at its first use, kept for the next."""
        if scene not in self._parts:
            self._parts[scene] = Parts(self._robot, self.card, self._scenes[scene])
        self._scene, self._now = scene, self._parts[scene]
        self.model, self.data = self._now.model, self._now.data

    def reset(
        self,
        joint_positions: np.ndarray,
        object_xy: np.ndarray,
        object_yaw: float,
        placing: Placing | None = None,
        scene: int = 0,
    ) -> Readings:
        """``object_xy`` and ``object_yaw`` place the first object, ``placing`` what else the scene has."""
        if scene != self._scene:
            self._enter(scene)
        now, data = self._now, self.data
        mujoco.mj_resetData(self.model, data)  # clears velocities, commands, warm starts and time
        now.open_gripper(data)
        data.qpos[now.arm_qpos] = joint_positions
        now.place(data, (*object_xy, object_yaw), placing)
        mujoco.mj_forward(self.model, data)
        if now.drive.has_targets:
            now.drive.reset(data)  # which needs the weight that the first pass found
            mujoco.mj_forward(self.model, data)
        return self._read()

    def randomize(self, values: Mapping[str, float], scene: int | None = None) -> None:
        """Change the world by the factors that ``values`` names, as envs/tasks/randomization.py has them; before a
        reset, and to the scene that it will have.
        """
        if scene is not None and scene != self._scene:
            self._enter(scene)
        self._now.randomize(values)
        self._look = values

    def step(self, joint_velocities: np.ndarray, opening: float | None) -> Readings:
        data, now = self.data, self._now
        now.drive.command(data, joint_velocities)
        if opening is not None and now.gripper is not None:
            now.gripper.command(data, opening)
        mujoco.mj_step(self.model, data, self._substeps)
        mujoco.mj_kinematics(self.model, data)  # mj_step leaves the poses of the instant before its last move
        return self._read()

    def get_state(self) -> np.ndarray:
        """Everything that later steps depend on, (n,) float64: MuJoCo's state, the point of a scene without things,
        and the scene's number where there are several.
        """
        state = np.empty(mujoco.mj_stateSize(self.model, INTEGRATION))
        mujoco.mj_getState(self.model, self.data, state, INTEGRATION)
        scene = [float(self._scene)] if len(self._scenes) > 1 else []
        return np.concatenate([state, self._now.goal, scene])

    def set_state(self, state: np.ndarray) -> None:
        """After a reset. Raises ValueError if it is not of this model."""
        several = len(self._scenes) > 1
        size = mujoco.mj_stateSize(self.model, INTEGRATION)
        expected = size + len(self._now.goal) + several
        if state.shape != (expected,) or state.dtype != np.float64:
            raise ValueError(f"a state of {state.dtype} {state.shape} instead of float64 ({expected},)")
        if several:
            self._enter(int(state[-1]))
        self._now.goal[:] = state[size : size + len(self._now.goal)]
        mujoco.mj_setState(self.model, self.data, state[:size], INTEGRATION)
        mujoco.mj_kinematics(self.model, self.data)  # jacobian() and the proximity ray read poses

    def jacobian(self) -> np.ndarray:
        now = self._now
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_jacSite(self.model, self.data, now.jacobian[:3], now.jacobian[3:], now.tool)
        return now.jacobian[:, now.arm_dofs].copy()

    def render(self, camera: str, width: int, height: int, marks: Marks = ()) -> np.ndarray:
        return self._get_picture().render(self.data, camera, width, height, self._look, marks)

    def see(self, cameras: tuple[str, ...], size: int) -> dict[str, np.ndarray]:
        """(size, size, 3) uint8 of each camera, as a policy sees it; always of one size. BackendError as render."""
        if self._scene not in self._seen:
            from envs.backends.mujoco.lean import LeanPicture

            while len(self._seen) >= PICTURES_KEPT:
                self._seen.pop(next(iter(self._seen))).close()
            self._seen[self._scene] = LeanPicture(self.card, self._scenes[self._scene], size)
        seen: dict[str, np.ndarray] = self._seen[self._scene].see(self.data, cameras, size, self._look)
        return seen

    def show(self, marks: Marks = ()) -> None:
        self._get_picture().show(self.data, marks)

    # For drawing it elsewhere: see envs/tasks/viewing.py.

    def placement(self) -> tuple[int, np.ndarray]:
        """The scene's number, and (n,) float32, on which the places of all bodies depend."""
        data = self.data
        parts = data.qpos, data.mocap_pos.ravel(), data.mocap_quat.ravel()
        return self._scene, np.concatenate(parts, dtype=np.float32)

    def put(self, scene: int, placement: np.ndarray) -> None:
        """Show the bodies where ``placement`` says; nothing can be stepped after it before a reset."""
        if scene != self._scene:
            self._enter(scene)
        model, data = self.model, self.data
        data.qpos[:] = placement[: model.nq]
        mocap = placement[model.nq :]
        data.mocap_pos[:] = mocap[: 3 * model.nmocap].reshape(-1, 3)
        data.mocap_quat[:] = mocap[3 * model.nmocap :].reshape(-1, 4)

    def drawing(self, scene: int) -> Any:
        """The Drawing of a scene, in the dress that has looks."""
        if scene not in self._drawings:
            from envs.backends.mujoco.drawing import Drawing
            from envs.backends.mujoco.picture import Picture

            self._drawings[scene] = Drawing(Picture.of(self.card, self._scenes[scene]).model)
        return self._drawings[scene]

    def close(self) -> None:
        if self._picture is not None:
            self._picture.close()
            self._picture = None
        while self._seen:
            self._seen.popitem()[1].close()

    def _get_picture(self) -> Any:
        if self._picture is not None and self._picture.scene is not self._scenes[self._scene]:
            self._picture.close()
            self._picture = None
        if self._picture is None:
            from envs.backends.mujoco.picture import Picture

            self._picture = Picture.of(self.card, self._scenes[self._scene])
        return self._picture

    def _read(self) -> Readings:
        data, now = self.data, self._now
        qpos, qvel = data.qpos, data.qvel
        if not (qvel @ qvel < MAX_SPEED**2 and isfinite(qpos @ qpos)):
            raise Unstable("the MuJoCo state is no longer finite")
        left, right, table = self._contacts()
        rotation = now.tool_rotation.reshape(3, 3).copy()
        return Readings(
            joint_positions=qpos[now.arm_qpos].copy(),
            joint_velocities=qvel[now.arm_dofs].copy(),
            tool_position=now.tool_position.copy(),
            tool_rotation=rotation,
            object_position=now.object_position.copy(),
            object_rotation=now.object_rotation.reshape(3, 3).copy(),
            opening=1.0 if now.gripper is None else now.gripper.opening(qpos),
            left_contact=left,
            right_contact=right,
            table_contact=table,
            proximity=now.sees(rotation[:, 2]),
            table_height=self._table_top,
            base_position=ORIGIN,
            object_sides=now.sides,
            object_half=now.object_half,
            others=data.xpos[now.others] if now.others else NOTHING,
            fixture=0.0 if now.slide is None else now.fixture(data),
        )

    def _contacts(self) -> tuple[bool, bool, bool]:
        """Whether the left pad presses on the object, the right pad does, the robot touches the table."""
        left = right = 0.0
        table = False
        contact = self.data.contact
        force = self.data.efc_force
        roles = self._now.roles
        for (first, second), row in zip(contact.geom.tolist(), contact.efc_address.tolist(), strict=True):
            if row < 0:  # within a margin, not touching
                continue
            pair = roles[first] | roles[second]
            if pair == LEFT_ON_OBJECT:
                left += force[row]  # an elliptic cone's first row is the normal force
            elif pair == RIGHT_ON_OBJECT:
                right += force[row]
            elif pair & TABLE and pair & ROBOT:
                table = True
        return bool(left > PRESSED), bool(right > PRESSED), table
