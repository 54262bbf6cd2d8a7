"""Which joints of a model are its arm, and which belong to its hand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from envs.backends.base import BackendError
from envs.robots.shapes import geom_corners

FEWEST = 4  # hinges of an arm
GRIPPER_WORDS = re.compile(r"grip|jaw|finger|claw|clamp|pinch", re.IGNORECASE)
CLOSES = 0.3  # a jaw's tip comes nearer to the hand than this share of its length


@dataclass(frozen=True)
class Chain:
    arm: tuple[str, ...]  # hinges from base to hand
    hand: str  # the body that the gripper's bodies hang on; without a gripper the last one
    gripper: tuple[str, ...]  # joints beyond the hand


def find_chain(model: Any, path: str) -> Chain:
    """Follow the hinges from the base until the bodies branch into fingers, or end.

    Raises BackendError for two arms, for a slide within the arm, and for too few hinges.
    """
    below = _joints_below(model)
    body = 0
    joints: list[int] = []
    while True:
        branches = sorted((b for b in _children(model, body) if below[b]), key=lambda b: -below[b])
        hinges = len(joints)
        if not branches or (len(branches) > 1 and hinges >= FEWEST):
            break
        if len(branches) > 1 and below[branches[1]] >= FEWEST:
            names = " and ".join(model.body(b).name for b in branches[:2])
            raise BackendError(f"{path} has several arms, at {names}: give a file with one")
        body = branches[0]
        joints += _joints(model, body)
    hand = body
    gripper: list[int] = []
    if not branches:  # no fingers branch off: the last joint may be a jaw, or one moving finger
        while joints and model.jnt_type[joints[-1]] == mujoco.mjtJoint.mjJNT_SLIDE:
            gripper.insert(0, joints.pop())
        if not gripper and len(joints) > FEWEST and _is_jaw(model, joints[-1]):
            gripper.insert(0, joints.pop())
        if gripper:
            hand = int(model.body_parentid[model.jnt_bodyid[gripper[0]]])
    else:
        gripper = [joint for joint in range(model.njnt) if _is_below(model, model.jnt_bodyid[joint], hand)]
    for joint in joints:
        if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_HINGE:
            raise BackendError(
                f"{path}: {model.joint(joint).name} in the arm is no hinge: only hinges are driven"
            )
    if len(joints) < FEWEST:
        raise BackendError(
            f"{path} is no arm: its longest chain has {len(joints)} hinges, at least {FEWEST} are wanted"
        )
    arm_names, gripper_names = (tuple(model.joint(j).name for j in each) for each in (joints, gripper))
    return Chain(arm_names, model.body(hand).name, gripper_names)


def _children(model: Any, body: int) -> list[int]:
    return [b for b in range(1, model.nbody) if model.body_parentid[b] == body]


def _joints(model: Any, body: int) -> list[int]:
    first = model.body_jntadr[body]
    return list(range(first, first + model.body_jntnum[body]))


def _joints_below(model: Any) -> list[int]:
    """For each body the number of joints on the longest way down from it, its own included."""
    below = [int(count) for count in model.body_jntnum]
    for body in range(model.nbody - 1, 0, -1):
        parent = model.body_parentid[body]
        below[parent] = max(below[parent], int(model.body_jntnum[parent]) + below[body])
    return below


def _is_below(model: Any, body: int, ancestor: int) -> bool:
    while body:
        body = int(model.body_parentid[body])
        if body == ancestor:
            return True
    return False


def _is_jaw(model: Any, joint: int) -> bool:
    """Whether the last hinge of an unbranched chain closes its body against the body before: by its name, or
    as the tip comes near to that body somewhere and is away from it elsewhere.
    """
    body = int(model.jnt_bodyid[joint])
    if GRIPPER_WORDS.search(model.joint(joint).name) or GRIPPER_WORDS.search(model.body(body).name):
        return True
    data = mujoco.MjData(model)
    address = model.jnt_qposadr[joint]
    low, high = model.jnt_range[joint] if model.jnt_limited[joint] else (-np.pi, np.pi)
    nearest = []
    for angle in np.linspace(low, high, 9):
        data.qpos[address] = angle
        mujoco.mj_kinematics(model, data)
        moving, fixed = corners(model, data, {body}), corners(model, data, {int(model.body_parentid[body])})
        if not len(moving) or not len(fixed):
            return False
        reach = np.linalg.norm(moving - data.xanchor[joint], axis=1)
        tip = moving[reach > 0.8 * reach.max()]
        ways = np.linalg.norm(tip[:, None] - fixed[None], axis=2).min()
        nearest.append(ways / reach.max())
    return min(nearest) < CLOSES < max(nearest) - CLOSES


def corners(model: Any, data: Any, bodies: set[int], most: int = 500) -> np.ndarray:
    """(n, 3) m, corners of the shapes of these bodies where they are now; of a large mesh some of them."""
    found = [
        geom_corners(model, index, most) @ data.geom_xmat[index].reshape(3, 3).T + data.geom_xpos[index]
        for index in range(model.ngeom)
        if int(model.geom_bodyid[index]) in bodies
    ]
    return np.concatenate(found) if found else np.zeros((0, 3))
