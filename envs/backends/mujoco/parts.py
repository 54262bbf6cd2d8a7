"""A compiled world with the numbers under which MuJoCo knows its parts."""

from __future__ import annotations

import math
from collections.abc import Mapping

import mujoco
import numpy as np

from envs.backends.base import BackendError
from envs.backends.mujoco.world import FIXTURE, object_name, world_spec
from envs.objects.scene import Placing, Scene
from envs.robots.card import RobotCard
from envs.robots.drive import ArmDrive, GripperDrive, pads, run
from envs.robots.workplace import table_of

# What a shape is, as bits, so that those of a touching pair can be put together.
TABLE, OBJECT, LEFT, RIGHT, ROBOT = 1, 2, 4, 8, 16
LEFT_ON_OBJECT, RIGHT_ON_OBJECT = LEFT | ROBOT | OBJECT, RIGHT | ROBOT | OBJECT
RANDOMIZED = (
    *("body_mass", "body_inertia", "geom_friction", "dof_damping"),
    *("actuator_gainprm", "actuator_biasprm"),
)
SHORT_OF_TOOL = 0.001  # m; the proximity ray ends so far before the tool frame's origin
SETTLING = 1.0  # s in which a gripper with a linkage opens before the first episode


class Parts:
    """Model and data of one scene, and where in them the robot, the object and the fixture are."""

    def __init__(self, robot: mujoco.MjSpec, card: RobotCard, scene: Scene) -> None:
        self.card, self.scene = card, scene
        self._usual: dict[str, np.ndarray] | None = None  # what randomize changes
        table = table_of(card)
        self._table_top = table.top
        self.model = compiled(card, world_spec(robot, card, table, scene, looks=False))
        self.data = mujoco.MjData(self.model)
        self._find_arm()
        self._find_object()
        self._find_roles()
        self._settle()

    def _find_arm(self) -> None:
        model, data = self.model, self.data
        joints = [model.joint(name).id for name in self.card.arm_joints]
        self.arm_qpos = run([int(model.jnt_qposadr[joint]) for joint in joints])
        self.arm_dofs = run([int(model.jnt_dofadr[joint]) for joint in joints])
        limited = model.jnt_limited[joints].astype(bool)[:, None]
        self.joint_limits = np.where(limited, model.jnt_range[joints], (-math.tau, math.tau))
        self.drive = ArmDrive(model, self.card)
        self.gripper = GripperDrive(model, self.card.gripper) if self.card.gripper is not None else None
        self.tool = model.site("tool").id
        self.tool_position = data.site("tool").xpos
        self.tool_rotation = data.site("tool").xmat
        self._proximity_position = data.site("proximity").xpos
        mujoco.mj_kinematics(model, data)
        length = float(np.linalg.norm(data.site("tool").xpos - data.site("proximity").xpos))
        self._proximity_range = round(length - SHORT_OF_TOOL, 6)
        self.jacobian = np.zeros((6, model.nv))

    def _find_object(self) -> None:
        model, data, scene = self.model, self.data, self.scene
        self._free = [
            int(model.jnt_qposadr[model.joint(object_name(i)).id]) for i in range(len(scene.objects))
        ]
        self.others = [model.body(object_name(i)).id for i in range(1, len(scene.objects))]
        self.slide = None
        if scene.fixture is not None and scene.fixture.moving:
            self.slide = int(model.jnt_qposadr[model.joint(FIXTURE).id])
        is_empty = not scene.objects and scene.fixture is None
        self.goal = np.zeros(3 if is_empty else 0)  # where the hand goes to, in a scene without things
        self.sides, self.object_half = 0, np.zeros(3)
        self.object_position, self.object_rotation = self.goal, np.eye(3).ravel()
        self._object_geoms: list[int] = []
        if scene.objects:
            thing = scene.objects[0]
            body = model.body(object_name(0)).id
            self.object_position, self.object_rotation = data.xpos[body], data.xmat[body]
            if thing.sides == 2:  # whose x axis Readings want where the fingers' line fits
                self.object_rotation = data.site("object/grasp").xmat
            self._object_geoms = geoms_of(model, [body])
            self.sides, self.object_half = thing.sides, thing.half
        elif scene.fixture is not None:
            handle = data.site("fixture/handle")
            self.object_position, self.object_rotation = handle.xpos, handle.xmat
            self._object_geoms = geoms_of(model, [int(model.site("fixture/handle").bodyid[0])])
            self.sides, self.object_half = scene.fixture.sides, np.array(scene.fixture.half)
        is_mesh = {geom: model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH for geom in self._object_geoms}
        self._meshes = [geom for geom in self._object_geoms if is_mesh[geom]]
        self._solids = [
            (
                data.geom_xpos[geom],
                data.geom_xmat[geom],
                model.geom_size[geom].copy(),
                int(model.geom_type[geom]),
            )
            for geom in self._object_geoms
            if not is_mesh[geom]
        ]

    def _find_roles(self) -> None:
        model = self.model
        roles = np.zeros(model.ngeom, int)
        self.robot_bodies = robot_bodies(model)
        roles[geoms_of(model, self.robot_bodies)] = ROBOT
        for side, geoms in zip((LEFT, RIGHT), pads(model), strict=True):
            roles[list(geoms)] |= side
        roles[self._object_geoms] = OBJECT
        roles[model.geom("table").id] = TABLE
        self.roles: list[int] = roles.tolist()

    def _settle(self) -> None:
        """Where the hand's joints are when it is open: as the card says, or, where others hang on those, as
        they come to rest.
        """
        model, data, gripper = self.model, self.data, self.card.gripper
        arm = {model.joint(name).id for name in self.card.arm_joints}
        hand = [
            joint
            for joint in range(model.njnt)
            if joint not in arm and model.jnt_bodyid[joint] in self.robot_bodies
        ]
        self._hand_qpos = [int(model.jnt_qposadr[joint]) for joint in hand]
        self._open = np.array([model.qpos0[address] for address in self._hand_qpos])
        if gripper is None:
            return
        named = {model.joint(name).id: opened for name, (_, opened) in gripper.joints.items()}
        for place, joint in enumerate(hand):
            self._open[place] = named.get(joint, self._open[place])
        if set(hand) <= set(named):
            return
        self.open_gripper(data)
        far = np.array([[10.0 + index, 0.0, 1.0] for index in range(len(self._free))])
        for _ in range(round(SETTLING / model.opt.timestep)):
            data.qpos[self.arm_qpos] = self.card.home
            for address, place in zip(self._free, far, strict=True):
                data.qpos[address : address + 3] = place
            data.qvel[:] = np.where(np.isin(np.arange(model.nv), self._hand_dofs(hand)), data.qvel, 0.0)
            self.drive.reset(data)
            mujoco.mj_step(model, data)
        self._open = data.qpos[self._hand_qpos].copy()

    def _hand_dofs(self, hand: list[int]) -> np.ndarray:
        return self.model.jnt_dofadr[hand]

    def randomize(self, values: Mapping[str, float]) -> None:
        """Change masses, friction, damping and gains by factors on what they are in the files."""
        model = self.model
        if self._usual is None:
            self._usual = {name: getattr(model, name).copy() for name in RANDOMIZED}
        for name, usual in self._usual.items():
            getattr(model, name)[:] = usual
        bodies = [model.body(object_name(i)).id for i in range(len(self.scene.objects))]
        model.body_mass[bodies] *= values.get("mass", 1.0)
        model.body_inertia[bodies] *= values.get("mass", 1.0)
        touching = [*geoms_of(model, bodies), *frozenset().union(*pads(model))]
        model.geom_friction[touching, 0] *= values.get("friction", 1.0)
        model.dof_damping[self.arm_dofs] *= values.get("damping", 1.0)
        servos = self.drive.actuators
        model.actuator_gainprm[servos] *= values.get("gain", 1.0)
        model.actuator_biasprm[servos] *= values.get("gain", 1.0)
        mujoco.mj_setConst(model, self.data)

    def open_gripper(self, data: mujoco.MjData) -> None:
        """As it is at the start of an episode."""
        data.qpos[self._hand_qpos] = self._open
        if self.gripper is not None:
            self.gripper.command(data, 1.0)

    def fixture(self, data: mujoco.MjData) -> float:
        """How far its part is moved, 0 … 1."""
        assert self.scene.fixture is not None and self.slide is not None
        return float(min(max(data.qpos[self.slide] / self.scene.fixture.travel, 0.0), 1.0))

    def place(self, data: mujoco.MjData, first: tuple[float, ...], placing: Placing | None) -> None:
        """Put everything at rest on the table."""
        top, scene = self._table_top, self.scene
        poses = [first, *(placing.objects if placing is not None else ())]
        for address, thing, pose in zip(self._free, scene.objects, poses, strict=bool(scene.objects)):
            x, y, yaw = pose
            data.qpos[address : address + 2] = x, y
            data.qpos[address + 2] = top + thing.rest_height
            data.qpos[address + 3 : address + 7] = np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)
        if len(self.goal):
            self.goal[:] = first[0], first[1], top + (placing.height if placing is not None else 0.0)
        if scene.fixture is not None:
            x, y, yaw = first if not scene.objects else placing.fixture  # type: ignore[union-attr,misc]
            data.mocap_pos[0] = x, y, top
            data.mocap_quat[0] = np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)

    def sees(self, direction: np.ndarray) -> bool:
        """Whether the ray from the palm towards the tool frame's origin meets the object."""
        start = self._proximity_position
        for position, rotation, size, kind in self._solids:
            if (
                0.0
                <= mujoco.mju_rayGeom(position, rotation, size, start, direction, kind)
                <= self._proximity_range
            ):
                return True
        return bool(self._meshes) and any(
            0.0 <= mujoco.mj_rayMesh(self.model, self.data, mesh, start, direction) <= self._proximity_range
            for mesh in self._meshes
        )


def compiled(card: RobotCard, spec: mujoco.MjSpec) -> mujoco.MjModel:
    try:
        return spec.compile()
    except ValueError as error:
        raise BackendError(
            f"the robot {card.name} does not compile: {' '.join(str(error).split())}"
        ) from error


def robot_bodies(model: mujoco.MjModel) -> list[int]:
    """All but the world, the objects and the fixture, whose names begin so."""
    mine = ("object", FIXTURE)
    tops = {
        body
        for body in range(1, model.nbody)
        if model.body(int(model.body_rootid[body])).name.startswith(mine)
    }
    return [body for body in range(1, model.nbody) if body not in tops]


def geoms_of(model: mujoco.MjModel, bodies: list[int]) -> list[int]:
    """Their shapes that can collide."""
    collide = (model.geom_contype | model.geom_conaffinity) != 0
    return [int(geom) for geom in np.flatnonzero(np.isin(model.geom_bodyid, bodies) & collide)]
