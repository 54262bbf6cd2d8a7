"""A robot's MJCF file as a part of a world: for physics what collides, for pictures what is seen."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from envs.backends.base import BackendError
from envs.robots.card import RobotCard
from envs.robots.servos import drive_arm, drive_gripper
from envs.robots.shapes import add_shapes

OLDEST = (3, 4)  # before it a tendon of a spec does not tell its joints
GRIPPER_PREFIX = "gripper/"  # of every name in a gripper's file that is hung on an arm's
LOOKS_GROUP = 1  # of shapes that are seen
JOINT_EQUALITIES = (mujoco.mjtEq.mjEQ_JOINT, mujoco.mjtEq.mjEQ_TENDON)
TAKEN = ("object", "fixture")  # how names of bodies and joints on the table begin
BEYOND = 0.1  # of a gripper's joint's range, by which a card may go beyond it
HIDDEN_GROUP = 3  # from here on MuJoCo does not draw a group


def robot_spec(card: RobotCard, looks: bool, cameras: bool = False) -> Any:
    """The robot without the scene that its file draws around it, with the sites "tool" and "proximity", and
    with ``cameras`` those that its file has on its bodies.

    For physics (``looks`` False) shapes are convex and collide with the table (contype 1) and with objects
    (contype 2), never with each other; those that touch an object are named left_pad0, … and right_pad0, ….
    The arm's actuators have the joints' names, and their commands are velocities (rad/s). With ``looks``
    there are the same joints in the same order, what is seen in group 1, and nothing else.

    Raises BackendError, in one line, for a file that cannot be read and a card that contradicts it.
    """
    if card.model is None:
        return _sawyer(looks)
    spec = read_model(card.model, card.gripper_model, card.attach_at, card.heading, cameras)
    if not looks:
        drop_looks(spec)
    check_card(card, spec)
    _fix_other_joints(spec, card)
    model = compiled(spec, card.model)
    check_home(card, model)
    add_tool(spec, card)
    if looks:
        _keep_looks(spec)
        for actuator in list(spec.actuators):
            spec.delete(actuator)
        return spec
    keep_inertias(spec, model)
    drive_arm(spec, model, card)
    drive_gripper(spec, model, card)
    add_shapes(spec, model, card)
    for site in [site for site in spec.sites if site.name not in ("tool", "proximity")]:
        spec.delete(site)
    return spec


def read_model(
    path: str,
    gripper: str | None = None,
    attach_at: str | None = None,
    heading: float = 0.0,
    cameras: bool = False,
) -> Any:
    """The file's spec with the gripper's hung on the site ``attach_at``, less all that is no robot, with a
    name for every body, joint and actuator; turned about z by ``heading`` (rad).
    """
    spec = _parse(path)
    if gripper is not None:
        sites = [site for site in spec.sites if site.name == attach_at]
        if not sites:
            known = ", ".join(site.name for site in spec.sites if site.name) or "none"
            raise BackendError(f"{path} has no site {attach_at!r} to hang the gripper on; its sites: {known}")
        hand = _parse(gripper)
        _strip(hand, cameras)
        spec.attach(hand, site=sites[0], prefix=GRIPPER_PREFIX)
    _strip(spec, cameras)
    for kind, elements in (("body", spec.bodies[1:]), ("joint", spec.joints), ("actuator", spec.actuators)):
        for number, element in enumerate(elements):
            element.name = element.name or f"{kind}{number}"
    if heading:
        _turn(spec, heading)
    return spec


def _turn(spec: Any, heading: float) -> None:
    world = spec.worldbody
    held = [frame for frame in world.frames if frame.frame is None]
    turned = world.add_frame(quat=[np.cos(heading / 2), 0, 0, np.sin(heading / 2)])
    for element in [*held, *world.bodies, *world.geoms, *world.sites]:
        if element.frame is None:
            element.set_frame(turned)


def _parse(path: str) -> Any:
    if tuple(map(int, mujoco.__version__.split(".")[:2])) < OLDEST:
        raise BackendError(
            f"robots of files need mujoco {OLDEST[0]}.{OLDEST[1]} or newer, this is {mujoco.__version__}: "
            "pip install -U mujoco"
        )
    if mujoco.get_mju_user_warning() is None:  # else mujoco writes MUJOCO_LOG.TXT where we stand
        mujoco.set_mju_user_warning(lambda message: None)
    if not Path(path).is_file():
        raise BackendError(f"there is no robot {path}: name an MJCF file")
    try:
        return mujoco.MjSpec.from_file(path)
    except (ValueError, mujoco.FatalError) as error:
        line = " ".join(str(error).split())
        if "decoder" in line:  # MuJoCo's word for a kind of file it does not read
            line = "it is no MJCF file (.xml), no URDF file (.urdf) and no card (.yaml)"
        raise BackendError(f"cannot read the robot {path}: {line}") from error


def compiled(spec: Any, path: str) -> Any:
    try:
        model = spec.compile()
    except (ValueError, mujoco.FatalError) as error:
        line = " ".join(str(error).split())
        if path.endswith(".urdf") and "opening file" in line:
            line += ": name meshes (.stl, .obj) by their way from the URDF file, without package://"
        raise BackendError(f"cannot build the robot {path}: {line}") from error
    for name in (
        "body_mass",
        "body_inertia",
        "body_pos",
        "jnt_range",
        "jnt_axis",
        "dof_damping",
        "geom_size",
    ):
        if not np.isfinite(getattr(model, name)).all():
            raise BackendError(f"cannot build the robot {path}: a number of its {name} is not finite")
    return model


def _strip(spec: Any, cameras: bool) -> None:
    """Remove the scene around the robot: floor, lights, keyframes, things that lie about, and cameras, or
    with ``cameras`` those that stand in it or look after something.
    """
    for elements in (spec.keys, spec.sensors, spec.pairs, spec.excludes, spec.lights):
        for element in list(elements):
            spec.delete(element)
    for camera in list(spec.cameras):
        hangs = camera.parent is not spec.worldbody and camera.name and not camera.targetbody
        if not (cameras and hangs):
            spec.delete(camera)
    for geom in list(spec.geoms):
        if geom.type in (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_HFIELD):
            spec.delete(geom)
    for body in list(spec.worldbody.bodies):
        loose = any(joint.type == mujoco.mjtJoint.mjJNT_FREE for joint in body.joints)
        if body.mocap or (loose and not body.bodies):
            spec.delete(body)
    tops = list(spec.worldbody.bodies)
    moving = [any(each.joints for each in (body, *bodies_below(body))) for body in tops]
    for body, moves in zip(tops, moving, strict=True):
        if any(moving) and not moves:  # a table, a wall
            spec.delete(body)
    spec.compiler.fusestatic = False


def check_card(card: RobotCard, spec: Any) -> None:
    """Raise BackendError where the card names what the model does not have."""
    joints = {joint.name: joint for joint in spec.joints}
    bodies = {body.name for body in spec.bodies}
    actuators = {actuator.name for actuator in spec.actuators}
    for name in (*joints, *bodies):
        if name.startswith(TAKEN):
            raise BackendError(
                f"{card.model} has {name!r}, a name of what stands on the table: call it otherwise"
            )
    gripper = card.gripper
    wanted: list[tuple[str, str, set[str]]] = [
        *(("arm joint", name, set(joints)) for name in card.arm_joints),
        ("body", card.tool.body, bodies),
    ]
    if gripper is not None:
        wanted += [("joint", name, set(joints)) for name in gripper.joints]
        wanted += [("body", name, bodies) for finger in gripper.fingers for name in finger]
        wanted += [("actuator or joint", name, actuators | set(joints)) for name in gripper.drives]
    for kind, name, known in wanted:
        if name not in known:
            raise BackendError(
                f"the card of {card.name} names the {kind} {name!r}, which {card.model} does not have"
            )
    for name in card.arm_joints:
        if joints[name].type != mujoco.mjtJoint.mjJNT_HINGE:
            raise BackendError(
                f"the card of {card.name} has {name!r} among the arm's joints, which is no hinge"
            )

    bodies_down = [(joints[name].parent, name) for name in card.arm_joints]
    for (upper, first), (lower, second) in itertools.pairwise(bodies_down):
        if upper is not lower and lower.name not in {body.name for body in bodies_below(upper)}:
            raise BackendError(
                f"the card of {card.name} has {second} after {first} among the arm's joints: they go from "
                "base to hand"
            )
    for equality in spec.equalities:
        pair = (equality.name1, equality.name2)
        if equality.type == mujoco.mjtEq.mjEQ_JOINT and set(pair) <= set(card.arm_joints):
            raise BackendError(
                f"{card.model} couples {' and '.join(pair)}, joints of the arm, by an equality: take that out"
            )


def check_home(card: RobotCard, model: Any) -> None:
    """Also how the gripper's joints stand."""
    for name, position in zip(card.arm_joints, card.home, strict=True):
        joint = model.joint(name)
        low, high = joint.range
        if model.jnt_limited[joint.id] and not low <= position <= high:
            raise BackendError(
                f"the card of {card.name} has {name} at {position:.3f} rad at home: its limits are "
                f"{low:.3f} and {high:.3f}"
            )
    for name, ends in ({} if card.gripper is None else card.gripper.joints).items():
        low, high = model.joint(name).range
        beyond = max(low - min(ends), max(ends) - high)
        if model.joint(name).limited[0] and beyond > BEYOND * (high - low):
            raise BackendError(
                f"the card of {card.name} has {name} from {ends[0]:g} to {ends[1]:g} in gripper: its "
                f"limits are {low:.3f} and {high:.3f}"
            )


def _fix_other_joints(spec: Any, card: RobotCard) -> None:
    """Only the arm's and the gripper's joints move: a head stays where it is."""
    moving = set(card.arm_joints)
    if card.gripper is not None:
        last = spec.joint(card.arm_joints[-1]).parent
        moving |= {joint.name for body in bodies_below(last) for joint in body.joints}
        # a camera's tilt, say: without its actuator it would hang loose
        others = {actuator.target for actuator in spec.actuators if actuator.name not in card.gripper.drives}
        moving -= others - {*card.arm_joints, *card.gripper.joints, *card.gripper.drives}
    hold_joints(spec, {joint.name for joint in spec.joints} - moving)


def hold_joints(spec: Any, names: Collection[str]) -> None:
    """Take these joints out, with all that moves them or couples them to others."""
    gone = set(names)
    for tendon in list(spec.tendons):
        if any(getattr(wrap.target, "name", None) in gone for wrap in tendon.path):
            gone |= {tendon.name} - {""}
            spec.delete(tendon)
    for actuator in list(spec.actuators):
        if actuator.target in gone:
            spec.delete(actuator)
    for equality in list(spec.equalities):
        if {equality.name1, equality.name2} & gone and equality.type in JOINT_EQUALITIES:
            spec.delete(equality)
    for joint in [joint for joint in spec.joints if joint.name in gone]:
        spec.delete(joint)


def bodies_below(body: Any) -> list[Any]:
    return [inner for child in body.bodies for inner in (child, *bodies_below(child))]


def drop_looks(spec: Any) -> None:
    """Leave out, before their meshes are read, shapes that neither collide nor weigh."""
    if spec.compiler.inertiafromgeom == mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_TRUE:
        return
    for body in spec.bodies:
        solid = [geom for geom in body.geoms if geom.contype or geom.conaffinity]
        if solid and (body.explicitinertial or body.name == "world"):
            for geom in [geom for geom in body.geoms if not (geom.contype or geom.conaffinity)]:
                spec.delete(geom)
    drop_unused_meshes(spec)


def drop_unused_meshes(spec: Any) -> None:
    used = {geom.meshname for geom in spec.geoms}
    for mesh in list(spec.meshes):
        if (mesh.name or Path(mesh.file).stem) not in used:
            spec.delete(mesh)


def keep_inertias(spec: Any, model: Any) -> None:
    """Masses as they were with all shapes, which are about to be taken away."""
    for body in spec.bodies[1:]:
        index = model.body(body.name).id
        body.explicitinertial = True
        body.mass = model.body_mass[index]
        body.ipos, body.iquat = model.body_ipos[index], model.body_iquat[index]
        body.inertia = model.body_inertia[index]
        body.fullinertia = np.full(6, np.nan)
    spec.compiler.inertiafromgeom = mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_AUTO
    spec.compiler.settotalmass = -1
    spec.compiler.boundmass = spec.compiler.boundinertia = 0


def add_tool(spec: Any, card: RobotCard) -> None:
    """The sites "tool", and "proximity", from which a ray looks between the fingers: as far behind the tool
    as the fingers are apart.
    """
    for site in [site for site in spec.sites if site.name in ("tool", "proximity")]:
        spec.delete(site)
    body = spec.body(card.tool.body)
    turn = np.zeros(9)
    quaternion = np.array(card.tool.quaternion) / np.linalg.norm(card.tool.quaternion)
    mujoco.mju_quat2Mat(turn, quaternion)
    behind = np.array(card.tool.position) - proximity_distance(card) * turn.reshape(3, 3)[:, 2]
    body.add_site(name="tool", pos=card.tool.position, quat=quaternion, group=5)
    body.add_site(name="proximity", pos=behind, quat=quaternion, group=5)


def proximity_distance(card: RobotCard) -> float:
    """m from the site "proximity" to the tool point."""
    return card.gripper.width if card.gripper is not None else 0.07


def _keep_looks(spec: Any) -> None:
    """Only shapes that are seen, which touch nothing."""
    seen = [geom for geom in spec.geoms if geom.group < HIDDEN_GROUP]
    for geom in list(spec.geoms):
        if seen and geom.group >= HIDDEN_GROUP:
            spec.delete(geom)
            continue
        geom.group, geom.contype, geom.conaffinity = LOOKS_GROUP, 0, 0
        geom.name = ""  # which may be the world's, too
    for site in spec.sites:
        site.group = 5


def set_physics(spec: Any, timestep: float) -> None:
    """The solver's settings of a world with robots, as the Sawyer's."""
    option = spec.option
    option.timestep = timestep
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10
    option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET


def _sawyer(looks: bool) -> Any:
    from envs.backends.mujoco.sawyer import sawyer_xml

    spec = mujoco.MjSpec.from_string(sawyer_xml(looks))
    if looks:
        for actuator in list(spec.actuators):
            spec.delete(actuator)
    return spec
