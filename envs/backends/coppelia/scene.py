"""What stands in a scene of CoppeliaSim: the objects a backend needs by name, and a workplace built from
model files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pyrep.backend import sim
from pyrep.const import PrimitiveShape
from pyrep.objects.joint import Joint
from pyrep.objects.object import Object
from pyrep.objects.proximity_sensor import ProximitySensor
from pyrep.objects.shape import Shape
from pyrep.objects.vision_sensor import VisionSensor

from envs.backends.base import BackendError
from envs.backends.coppelia.models import model_files
from envs.backends.mujoco.model import OBJECT_HALF, OBJECT_MASS, TABLE_CENTRE, TABLE_HALF, TABLE_TOP
from envs.robots.sawyer import WORKPLACE, Workplace

FIRST_JOINT = 0.08  # m of the first joint above the origin of the robot's base
BASE = np.array([0.0, 0.0, 0.92])  # m, the base in the world of a built scene
GRIPPER_PLACE = (
    0.0,
    0.0076,
    0.026,
)  # m from the flange to the gripper's own origin: its fingers' middle then lies on the flange's axis
CAMERA_PLACE, CAMERA_AIM = np.array([1.6, 0.9, 0.6]), np.array([0.5, 0.0, 0.0])  # m from the base
FRICTION = 1.0  # of object and pads in a built scene
BOOK_REGION = np.array([[0.10, 0.45], [-0.30, 0.30]])  # m in the world, where the book's random targets lie

# The names in the book's scenes and, but for table and target, in PyRep's model files.
JOINTS = tuple(f"Sawyer_joint{number}" for number in range(1, 8))
FINGERS = ("BaxterGripper_leftJoint", "BaxterGripper_rightJoint")
PADS = ("BaxterGripper_leftPad", "BaxterGripper_righPad")  # the second as the model's author has it
FLANGE, GRIPPER, SENSOR = "Sawyer_wrist_connector", "BaxterGripper", "BaxterGripper_attachProxSensor"
TABLE, TARGET = "diningTable", "target"


@dataclass(frozen=True)
class Parts:
    """The objects of a scene that a backend reads and moves."""

    joints: list[Joint]  # 7, from the base on
    fingers: list[Joint]  # left, right
    pads: list[Shape]  # left, right
    gripper: Object
    sensor: ProximitySensor
    table: Shape
    target: Shape


def find_parts(scene: str | None) -> Parts:
    """The scene's objects. Raises BackendError with every name that it lacks."""
    names = (*JOINTS, *FINGERS, *PADS, GRIPPER, SENSOR, TABLE, TARGET)
    missing = [name for name in names if not Object.exists(name)]
    if missing:
        raise BackendError(
            f"{scene or 'the built scene'} has no {', '.join(missing)}: the objects have the names of "
            "the book's scenes"
        )
    return Parts(
        [Joint(name) for name in JOINTS],
        [Joint(name) for name in FINGERS],
        [Shape(name) for name in PADS],
        Shape(GRIPPER),
        ProximitySensor(SENSOR),
        Shape(TABLE),
        Shape(TARGET),
    )


def heights(shape: Shape) -> tuple[float, float]:
    """Lowest and highest z (m, world) of a shape's bounding box as it stands."""
    corners = np.array(np.meshgrid(*np.array(shape.get_bounding_box()).reshape(3, 2))).reshape(3, -1)
    z = (np.array(shape.get_matrix()).reshape(-1, 4)[:3, :3] @ corners)[2] + shape.get_position()[2]
    return float(z.min()), float(z.max())


def fitting_sides(shape: Shape) -> int:
    """On how many sides the fingers fit: 4 of a square section, else 2, the ones that its own x axis goes
    through.
    """
    x, y, _ = np.diff(np.array(shape.get_bounding_box()).reshape(3, 2), axis=1)[:, 0]
    return 4 if abs(x - y) < 1e-3 else 2


def workplace(scene: str | None, target: np.ndarray, base: np.ndarray) -> Workplace:
    """Where the object may lie; ``target`` and ``base`` (3,) m in the world are where they stand in the
    scene.
    """
    if scene is None:
        return WORKPLACE
    return Workplace(BOOK_REGION - base[:2, None], (target - base)[:2])


def physics_timestep() -> float:
    """Seconds of one step of the physics engine, several of which make a control step."""
    number = sim.ffi.new("float *")
    sim.lib.simGetFloatParameter(sim.sim_floatparam_dynamic_step_size, number)
    return float(number[0])


def make_camera(base: np.ndarray) -> VisionSensor:
    """A camera that looks at the workplace from the front left; ``base`` (3,) m is the robot's."""
    camera = VisionSensor.create([640, 480], explicit_handling=True, view_angle=50.0, far_clipping_plane=10.0)
    place, aim = base + CAMERA_PLACE, base + CAMERA_AIM
    forward = (aim - place) / np.linalg.norm(aim - place)
    left = np.cross([0.0, 0.0, 1.0], forward)
    left /= np.linalg.norm(left)
    pose = np.eye(4)
    pose[:3] = np.column_stack([left, np.cross(forward, left), forward, place])
    camera.set_matrix(pose)
    return camera


def build(simulator: Any) -> None:
    """Put into the empty scene what mujoco_model.py has: the Sawyer with its gripper, a table, the object.
    Raises BackendError.
    """
    for model in model_files():
        simulator.import_model(str(model))
    robot, hand = Object.get_object("Sawyer"), Object.get_object(GRIPPER)
    robot.set_position(
        robot.get_position() + BASE + (0.0, 0.0, FIRST_JOINT) - Joint(JOINTS[0]).get_position()
    )
    flange = Object.get_object(FLANGE)
    for other in flange.get_objects_in_tree(exclude_base=True, first_generation_only=True):
        other.set_parent(flange.get_parent())  # a force sensor holds its child only if that is alone
    hand.set_position(list(GRIPPER_PLACE), flange)
    hand.set_orientation([0.0, 0.0, 0.0], flange)
    hand.set_parent(flange)
    x, y = TABLE_CENTRE
    place = BASE + np.array([x, y, TABLE_TOP - 0.02])
    table = Shape.create(
        PrimitiveShape.CUBOID,
        [2 * TABLE_HALF[0], 2 * TABLE_HALF[1], 0.04],
        static=True,
        position=place.tolist(),
        color=[0.6, 0.5, 0.4],
    )
    table.set_name(TABLE)
    place = BASE + np.append(WORKPLACE.fixed_target, TABLE_TOP + OBJECT_HALF[2])
    size = [2 * half for half in OBJECT_HALF]
    target = Shape.create(
        PrimitiveShape.CUBOID, size, mass=OBJECT_MASS, position=place.tolist(), color=[0.1, 0.3, 0.9]
    )
    target.set_name(TARGET)
    target.set_detectable(True)
    for shape in (target, *(Shape(name) for name in PADS if Shape.exists(name))):
        shape.set_bullet_friction(FRICTION)
