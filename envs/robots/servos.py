"""The actuators of a robot in a world: commands of the arm's are joint velocities."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from envs.backends.base import BackendError
from envs.robots.card import RobotCard

FULL_FORCE = 0.5  # rad/s, the error of speed at which our velocity servo gives all its torque
OVERSHOOT = 1.0  # of that error, by which a full torque may change the speed within one physics step
PAYLOAD = 0.5  # kg in the hand, where the model says nothing of forces
GRAVITY = 9.81  # m/s²
SPARE_STRENGTH = 3.0  # times what holds the stretched arm, where the model says nothing of forces
SQUEEZE = 20.0  # N, of a gripper that the model drives by nothing
POSITION, VELOCITY, OTHER = "position", "velocity", "other"


def drive_arm(spec: Any, model: Any, card: RobotCard) -> None:
    """Replace the arm's actuators by ones with the joints' names that take velocities (rad/s).

    A position servo keeps its gains and follows a target that moves at the commanded velocity (MuJoCo's
    intvelocity); a velocity servo keeps its gain; everything else becomes a velocity servo, and the weight of
    the bodies that such servos carry is taken off them.
    """
    mobilities = joint_mobilities(model, card)
    own = []
    for name, mobility in zip(card.arm_joints, mobilities, strict=True):
        index = arm_actuator(model, name)
        kind, stiffness, damping = servo_of(model, index)
        joint = model.joint(name)
        strength = strength_of(model, name, index)
        for actuator in list(spec.actuators):
            if actuator.target == name and turns(actuator.trntype):
                spec.delete(actuator)
        servo = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        servo.forcelimited, servo.forcerange = True, [-strength, strength]
        if kind == POSITION:
            servo.set_to_intvelocity(kp=stiffness, kv=damping)
            servo.actlimited = bool(joint.range[0] < joint.range[1])
            servo.actrange = joint.range
        else:
            gain = damping if kind == VELOCITY else strength / FULL_FORCE
            servo.set_to_velocity(kv=gain)
            # a joint that its servo could throw past the commanded speed in one step would chatter: models
            # leave out the motors' own inertia
            spec.joint(name).armature += max(0.0, gain * card.timestep / OVERSHOOT - 1.0 / mobility)
            own.append(name)
    for body in {spec.joint(name).parent.name for name in own}:
        _lift_weight(spec.body(body))


def turns(transmission: int) -> bool:
    """Whether an actuator's transmission is a joint."""
    return int(transmission) in (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))


def _lift_weight(body: Any) -> None:
    body.gravcomp = 1
    for child in body.bodies:
        _lift_weight(child)


def arm_actuator(model: Any, joint: str) -> int | None:
    """The actuator that turns the joint, if there is one."""
    wanted = model.joint(joint).id
    for index in range(model.nu):
        if turns(model.actuator_trntype[index]) and model.actuator_trnid[index, 0] == wanted:
            return index
    return None


def servo_of(model: Any, index: int | None) -> tuple[str, float, float]:
    """What kind an actuator is, with stiffness (N m/rad) and damping (N m s/rad) at the joint."""
    if index is None or model.actuator_biastype[index] != mujoco.mjtBias.mjBIAS_AFFINE:
        return OTHER, 0.0, 0.0
    gear = model.actuator_gear[index, 0]
    _, stiffness, damping = model.actuator_biasprm[index, :3] * -(gear**2)
    if stiffness > 0:
        return POSITION, stiffness, max(damping, 0.0)
    return (VELOCITY, 0.0, damping) if damping > 0 else (OTHER, 0.0, 0.0)


def strength_of(model: Any, name: str, index: int | None) -> float:
    """The joint's largest torque (N m), or force (N)."""
    joint = model.joint(name)
    found = []
    if model.jnt_actfrclimited[joint.id]:
        found.append(np.abs(model.jnt_actfrcrange[joint.id]).max())
    if index is not None:
        gear = abs(model.actuator_gear[index, 0])
        if model.actuator_forcelimited[index]:
            found.append(gear * np.abs(model.actuator_forcerange[index]).max())
        elif model.actuator_ctrllimited[index] and servo_of(model, index)[0] == OTHER:
            gain = abs(model.actuator_gainprm[index, 0])
            found.append(gear * gain * np.abs(model.actuator_ctrlrange[index]).max())
    return float(min(found)) if found else SPARE_STRENGTH * holding_torque(model, name)


def holding_torque(model: Any, name: str) -> float:
    """A bound (N m) of what holds all beyond the joint, and a payload, against its weight: each mass at its
    farthest.
    """
    body = int(model.jnt_bodyid[model.joint(name).id])
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    torque = farthest = 0.0
    for index in range(body, model.nbody):
        chain, reach = index, float(np.linalg.norm(model.body_ipos[index]))
        while chain not in (0, body):
            reach += float(np.linalg.norm(model.body_pos[chain]))
            chain = int(model.body_parentid[chain])
        if chain == body:
            torque += GRAVITY * float(model.body_mass[index]) * reach
            farthest = max(farthest, reach)
    return max(torque + GRAVITY * PAYLOAD * farthest, 0.1)


def joint_mobilities(model: Any, card: RobotCard) -> np.ndarray:
    """(J,) 1/(kg m²), how much a torque at each joint accelerates it at home, all other joints being free."""
    data = mujoco.MjData(model)
    for name, position in zip(card.arm_joints, card.home, strict=True):
        data.joint(name).qpos[0] = position
    mujoco.mj_forward(model, data)
    units, inverse = np.eye(model.nv), np.zeros((model.nv, model.nv))
    mujoco.mj_solveM(model, data, inverse, units)
    return inverse.diagonal()[[model.joint(name).dofadr[0] for name in card.arm_joints]]


def drive_gripper(spec: Any, model: Any, card: RobotCard) -> None:
    """Keep the actuators that the card's gripper names, give its joints without one a position servo."""
    drives = card.gripper.drives if card.gripper is not None else {}
    present = {actuator.name for actuator in spec.actuators}
    for actuator in list(spec.actuators):
        if actuator.name not in drives and actuator.name not in card.arm_joints:
            spec.delete(actuator)
    for name, ends in drives.items():
        if name in present:
            continue
        index = model.joint(name).id
        way = abs(ends[1] - ends[0])
        force = SQUEEZE
        if model.jnt_type[index] == mujoco.mjtJoint.mjJNT_HINGE:
            assert card.gripper is not None
            force *= card.gripper.width / way  # the finger's lever: way of its tip to angle
        stiffness = 2.0 * force / way
        inertia = float(model.dof_M0[model.jnt_dofadr[index]])
        servo = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        servo.set_to_position(kp=stiffness, kv=3.0 * np.sqrt(stiffness * inertia))
        servo.forcelimited, servo.forcerange = True, [-force, force]
    missing = set(drives) - {actuator.name for actuator in spec.actuators}
    if missing:
        raise BackendError(f"the card of {card.name}: nothing drives {missing.pop()!r}")
