"""A robot at its table with what stands on it, as one MuJoCo model.

The world comes in two dresses. Bare, it holds collision shapes only and is what the physics steps. With looks
it also has the room and the shapes that a camera sees. Both have the same joints, so a picture needs only
the bare model's joint positions.
"""

from __future__ import annotations

import mujoco

from envs.backends.mujoco.objects import LEAST_HULL, OBJECT_BIT, TABLE_BIT, add_to, placed, solid
from envs.backends.mujoco.room import add_room
from envs.objects.fixtures import Fixture
from envs.objects.scene import Scene
from envs.objects.shape import EDGED_ROLLING_FRICTION, TORSIONAL_FRICTION
from envs.robots.arm import Table
from envs.robots.card import RobotCard
from envs.robots.spec import set_physics

STILL_COLOUR, MOVING_COLOUR = (0.55, 0.57, 0.60, 1), (0.85, 0.60, 0.20, 1)  # of a fixture
ACROSS = (0.5**0.5, 0.0, 0.0, 0.5**0.5)  # from an object's frame, across whose y axis fingers take it
TABLE_FRICTION = 0.1  # of two that touch MuJoCo takes the larger friction: this lets the object's count
FIXTURE = "fixture"  # the body that places it, and its joint


def object_name(index: int) -> str:
    return "object" if index == 0 else f"object{index + 1}"


def world_spec(
    robot: mujoco.MjSpec, card: RobotCard, table: Table, scene: Scene, looks: bool
) -> mujoco.MjSpec:
    """``robot``, which is robot_spec's and stays as it is, the table, and the scene."""
    spec = robot.copy()
    set_physics(spec, card.timestep)
    spec.worldbody.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(*table.centre, table.top - 0.02),
        size=(*table.half, 0.02),
        contype=TABLE_BIT,
        conaffinity=0,
        friction=(TABLE_FRICTION, TORSIONAL_FRICTION, EDGED_ROLLING_FRICTION),
        group=3,
    )
    for index, thing in enumerate(scene.objects):
        add_to(spec, thing, object_name(index), looks, meets_others=len(scene.objects) > 1)
        if index == 0:
            spec.body(object_name(0)).add_site(name="object/grasp", quat=ACROSS)
    if scene.fixture is not None:
        add_fixture(spec, scene.fixture, looks)
    if looks:
        add_room(spec, table, card.size)
    return spec


def add_fixture(spec: mujoco.MjSpec, fixture: Fixture, looks: bool) -> None:
    """A mocap body, so that its place is part of the state and not of the model; its moving part hangs on it."""
    body = spec.worldbody.add_body(name=FIXTURE, mocap=True)
    part = body
    for name, shapes in (("still", fixture.still), ("moving", fixture.moving)):
        if name == "moving" and shapes:
            part = body.add_body(name="fixture/moving")
            part.add_joint(
                name=FIXTURE,
                type=mujoco.mjtJoint.mjJNT_SLIDE,
                axis=fixture.axis,
                range=(0.0, fixture.travel),
                limited=True,
                stiffness=fixture.stiffness,
                damping=fixture.damping,
                frictionloss=fixture.friction_loss,
            )
            part.gravcomp = 1.0
        volume = sum(shape.volume for shape in shapes)
        for index, shape in enumerate(shapes):
            geom_name = f"fixture/{name}{index}"
            part.add_geom(
                name=geom_name,
                mass=fixture.mass * shape.volume / volume,
                contype=OBJECT_BIT,
                conaffinity=OBJECT_BIT,
                group=1 if looks else 3,
                rgba=MOVING_COLOUR if name == "moving" else STILL_COLOUR,
                **placed(shape),
                **solid(spec, shape, geom_name, LEAST_HULL),
            )
    if part is not body:
        spec.add_exclude(bodyname1=FIXTURE, bodyname2=part.name)
    part.add_site(name="fixture/handle", pos=fixture.handle, quat=ACROSS)
