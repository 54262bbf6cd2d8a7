"""What stands in a scene of CoppeliaSim: the objects that its card names, and a workplace built from model
files.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyrep.backend import sim
from pyrep.const import JointMode, ObjectType, PrimitiveShape
from pyrep.objects.joint import Joint
from pyrep.objects.object import Object
from pyrep.objects.proximity_sensor import ProximitySensor
from pyrep.objects.shape import Shape
from pyrep.robots import arms, end_effectors
from pyrep.robots.arms.arm import Arm as ArmObject
from pyrep.robots.end_effectors.baxter_gripper import BaxterGripper
from pyrep.robots.end_effectors.gripper import Gripper

from envs.backends.base import BackendError
from envs.backends.coppelia.card import Card
from envs.backends.coppelia.models import model_files
from envs.objects.library import BOX
from envs.robots.arm import Arm, Workplace
from envs.robots.sawyer import SAWYER, TABLE, WORKPLACE

BASE = np.array([0.0, 0.0, 0.92])  # m, the base in the world of a built scene
GRIPPER_PLACE = (
    0.0,
    0.0076,
    0.026,
)  # m from the flange to the gripper's own origin: its fingers' middle then lies on the flange's axis
FRICTION = 1.0  # of object and pads in a built scene
REGION_SIZE, TABLE_MARGIN = 0.2, 0.05  # m: how far random targets lie from the scene's, and from an edge
DROP = 0.02  # m; in a control step gravity makes 0.012 of it
FLANGE = "Sawyer_wrist_connector"
TURNS = 2 * np.pi  # rad, the limit of a joint that turns for ever


@dataclass(frozen=True)
class Parts:
    """The objects of a scene that a backend reads and moves."""

    arm: ArmObject
    gripper: Gripper
    pads: list[Shape]  # left, right
    sensor: ProximitySensor
    table: Shape
    target: Shape


def find_parts(scene: str, card: Card) -> Parts:
    """The objects that the card names, in what is called ``scene``. Raises BackendError with all it lacks."""
    missing = []
    found: dict[str, Any] = {}
    for part, folder, kind in (("arm", arms, ArmObject), ("gripper", end_effectors, Gripper)):
        name = getattr(card, part)
        robot = robot_class(folder, kind, name)
        try:
            found[part] = robot()
        except RuntimeError:  # an object of its name is not there
            missing.append(f"whole {name}")
    missing += [name for name in (card.table, card.target, *(card.pads or ())) if not Object.exists(name)]
    if missing:
        joints = sim.simGetObjectsInTree(sim.sim_handle_scene, ObjectType.JOINT.value, 0)
        there = ", ".join(map(sim.simGetObjectName, joints)) or "none"
        raise BackendError(
            f"{scene} has no {', no '.join(missing)}: a card beside a scene names its objects, see "
            f"docs/coppeliasim.md (the scene's joints: {there})"
        )
    gripper = found["gripper"]
    pads = [Shape(name) for name in card.pads] if card.pads else outermost_shapes(gripper)
    if len(pads) != 2:
        raise BackendError(f"{scene}: which are the pads of {card.gripper}? Name them in the scene's card")
    return Parts(
        **found,
        pads=pads,
        sensor=gripper._proximity_sensor,
        table=Shape(card.table),
        target=Shape(card.target),
    )


def robot_class(folder: Any, kind: type, name: str) -> Any:
    """PyRep's class of that name in the package ``folder``. Raises BackendError with the ones it has."""
    known = {}
    for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
        for one in vars(importlib.import_module(module.name)).values():
            if isinstance(one, type) and issubclass(one, kind) and one is not kind:
                known[one.__name__] = one
    if name not in known:
        raise BackendError(
            f"{folder.__name__} has no {name}: the card takes one of {', '.join(sorted(known))}"
        )
    return known[name]


def outermost_shapes(gripper: Gripper) -> list[Shape]:
    """Of each finger the last shape that others collide with."""
    pads = []
    for joint in gripper.joints:
        shapes = [Shape(one.get_handle()) for one in joint.get_objects_in_tree(object_type=ObjectType.SHAPE)]
        solid = [shape for shape in shapes if shape.is_respondable()]
        pads += solid[-1:]
    return pads


def arm_of(card: Card, joints: list[Joint]) -> Arm:
    """What the tasks must know of the scene's arm."""
    home = np.array([joint.get_joint_position() for joint in joints] if card.home is None else card.home)
    if len(home) != len(joints):
        raise BackendError(f"the card's home has {len(home)} joint positions, {card.arm} has {len(joints)}")
    if card.arm == "Sawyer":
        return SAWYER if card.home is None else Arm(SAWYER.joint_limits, {"centre": home}, SAWYER.first_joint)
    limits = []
    for joint in joints:
        endless, (low, length) = joint.get_joint_interval()
        limits.append((-TURNS, TURNS) if endless else (max(low, -TURNS), min(low + length, TURNS)))
    return Arm(np.array(limits), {"centre": home}, first_joint=0.0)


def take_control(joint: Joint) -> None:
    """Let the joint's motor hold the velocity it is told, in whatever mode the scene has it."""
    if joint.get_joint_mode() != JointMode.FORCE:
        joint.set_joint_mode(JointMode.FORCE)
        joint.set_motor_enabled(True)
    joint.set_control_loop_enabled(False)


def idle_cameras() -> None:
    """Cameras of the scene do not draw at each step, but where somebody looks."""
    for camera in sim.simGetObjectsInTree(sim.sim_handle_scene, ObjectType.VISION_SENSOR.value, 0):
        sim.simSetExplicitHandling(camera, 1)


def falls(simulator: Any, thing: Shape) -> bool:
    """Whether a thing that is let go in the air falls: else nothing is simulated, and steps pass all the
    same.
    """
    place = np.array(thing.get_position())
    thing.set_position(place + np.array([0.0, 0.0, DROP]))
    simulator.start()
    simulator.step()
    fallen = place[2] + DROP - thing.get_position()[2]
    simulator.stop()
    thing.set_position(place)
    return bool(fallen > DROP / 4)


def bounds(shape: Shape) -> np.ndarray:
    """(3, 2) m: the lowest and highest x, y, z in the world of a shape's bounding box as it stands."""
    corners = np.array(np.meshgrid(*np.array(shape.get_bounding_box()).reshape(3, 2))).reshape(3, -1)
    turned = np.array(shape.get_matrix()).reshape(-1, 4)[:3, :3] @ corners
    places = turned + np.array(shape.get_position())[:, None]
    return np.column_stack([places.min(axis=1), places.max(axis=1)])


def fitting_sides(shape: Shape) -> int:
    """On how many sides the fingers fit: 4 of a square section, else 2, the ones that its own x axis goes
    through.
    """
    x, y, _ = np.diff(np.array(shape.get_bounding_box()).reshape(3, 2), axis=1)[:, 0]
    return 4 if abs(x - y) < 1e-3 else 2


def workplace(scene: str | None, card: Card, table: Shape, target: np.ndarray, base: np.ndarray) -> Workplace:
    """Where the object may lie; ``target`` and ``base`` (3,) m in the world are where they stand in the
    scene.
    """
    if scene is None:
        return WORKPLACE
    fixed = (target - base)[:2]
    if card.region is not None:
        return Workplace(np.array(card.region) - base[:2, None], fixed)
    top = bounds(table)[:2] - base[:2, None]
    low = np.maximum(top[:, 0] + TABLE_MARGIN, fixed - REGION_SIZE)
    high = np.minimum(top[:, 1] - TABLE_MARGIN, fixed + REGION_SIZE)
    return Workplace(np.column_stack([low, high]), fixed)


def physics_timestep() -> float:
    """Seconds of one step of the physics engine, several of which make a control step."""
    number = sim.ffi.new("float *")
    sim.lib.simGetFloatParameter(sim.sim_floatparam_dynamic_step_size, number)
    return float(number[0])


def build(simulator: Any) -> None:
    """Put into the empty scene what MuJoCo's workplace has: the Sawyer with its gripper, a table, the object.
    Raises BackendError.
    """
    for model in model_files():
        simulator.import_model(str(model))
    robot, hand = Object.get_object("Sawyer"), Object.get_object("BaxterGripper")
    first = Joint("Sawyer_joint1").get_position()
    robot.set_position(robot.get_position() + BASE + (0.0, 0.0, SAWYER.first_joint) - first)
    flange = Object.get_object(FLANGE)
    for other in flange.get_objects_in_tree(exclude_base=True, first_generation_only=True):
        other.set_parent(flange.get_parent())  # a force sensor holds its child only if that is alone
    hand.set_position(list(GRIPPER_PLACE), flange)
    hand.set_orientation([0.0, 0.0, 0.0], flange)
    hand.set_parent(flange)
    x, y = TABLE.centre
    place = BASE + np.array([x, y, TABLE.top - 0.02])
    table = Shape.create(
        PrimitiveShape.CUBOID,
        [2 * TABLE.half[0], 2 * TABLE.half[1], 0.04],
        static=True,
        position=place.tolist(),
        color=[0.6, 0.5, 0.4],
    )
    table.set_name(Card.table)
    place = BASE + np.append(WORKPLACE.fixed_target, TABLE.top + BOX.rest_height)
    size = [2 * half for half in BOX.half.tolist()]
    target = Shape.create(
        PrimitiveShape.CUBOID, size, mass=BOX.mass, position=place.tolist(), color=[0.1, 0.3, 0.9]
    )
    target.set_name(Card.target)
    target.set_detectable(True)
    for shape in (target, *outermost_shapes(BaxterGripper())):
        shape.set_bullet_friction(FRICTION)
