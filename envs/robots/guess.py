"""A card from a robot's MJCF file alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from envs.backends.base import BackendError
from envs.robots.card import Gripper, RobotCard, Tool
from envs.robots.chain import Chain, corners, find_chain
from envs.robots.grasp import Grasp
from envs.robots.hand import Hand
from envs.robots.reach import HEIGHTS, Kinematics, Workspace, find_workspace
from envs.robots.shapes import colliding
from envs.robots.spec import add_tool, compiled, drop_looks, keep_inertias, read_model
from envs.robots.trial import Trial

USUAL = (5, 7)  # hinges of an arm
TIMESTEPS = (0.005, 0.0025, 0.001)  # s
SPEED = 1.0  # rad/s
CLOSEST_SHARE = 0.35  # of the arm's length: a base that is broader than this is a table
HEADINGS = (0.0, np.pi / 2, -np.pi / 2, np.pi)  # rad, in which an arm's front may lie
BROAD = 0.4  # m along y, for an arm of size 1: with such a region the front is found
FLANGE = 0.05  # m from the last body to the tool of an arm without a gripper


def guess_card(
    path: str, gripper_path: str | None = None, attach_at: str | None = None
) -> tuple[RobotCard, list[str]]:
    """The card, and what was found, assumed or missed, one line each.

    Raises BackendError, in one line, for a file that is no arm or cannot be read.
    """
    path = str(Path(path).resolve())
    gripper_path = gripper_path and str(Path(gripper_path).resolve())
    spec = read_model(path, gripper_path, attach_at)
    drop_looks(spec)
    model = compiled(spec, path)
    chain = find_chain(model, path)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    last = model.joint(chain.arm[-1]).id
    notes = _notes(model, chain)
    gripper = None
    tool = _flange(model, data, chain, last)
    if chain.gripper:
        try:
            hand_spec = read_model(path, gripper_path, attach_at)
            hand = Hand(hand_spec, chain, data.xaxis[last], data.xanchor[last], path)
            grasp = Grasp(hand)
            gripper = Gripper(*hand.drives_and_joints(), grasp.fingers, round(grasp.width, 5))
            tool = grasp.tool()
            notes += _hand_notes(hand, grasp)
        except BackendError as error:
            notes.append(f"no gripper: {str(error).removeprefix(f'{path}: ')}; reach and push work without")
    else:
        notes.append("no gripper: nothing moves beyond the last arm joint; reach and push work without")
    card = RobotCard(
        Path(path).stem, path, chain.arm, (0.0,) * len(chain.arm), (SPEED,) * len(chain.arm), tool,
        ((0.0, 1.0), (0.0, 1.0)), gripper, gripper_path, attach_at,
    )  # fmt: skip
    card, space, tables = _workspace(card, model, data, chain)
    if card.heading:
        notes.append(f"the arm's front is not the file's +x: it is turned by {np.degrees(card.heading):.0f}°")
    if space.height < HEIGHTS[0]:
        notes.append(
            f"the tool points straight down only up to {space.height:g} m times its size above the table"
        )
    if space.table_height != tables[0]:
        notes.append(
            f"the table is at z = {space.table_height:g} m, as at the base's lowest point it is out of reach"
        )
    return _with_timestep(card), notes


def _workspace(
    card: RobotCard, model: Any, data: Any, chain: Chain
) -> tuple[RobotCard, Workspace, list[float]]:
    """The card with heading, region, home and table; and the heights of tables that were tried."""
    assert card.model is not None
    key = _keyframe(card.model)
    addresses = model.jnt_qposadr[[model.joint(name).id for name in chain.arm]]
    hint = key[addresses] if key is not None and len(key) > addresses.max() else np.zeros(len(chain.arm))
    first = model.jnt_bodyid[model.joint(chain.arm[0]).id]
    stands = [float(data.xpos[body][2]) for body in (model.body_parentid[first], first)]
    found: list[tuple[float, Workspace]] = []
    trouble: BackendError | None = None
    tables: list[float] = []
    for heading in HEADINGS:
        lowest, nearest = _base(model, data, chain, heading)
        tables = list(dict.fromkeys(round(z, 4) + 0.0 for z in (lowest, 0.0, *stands)))
        turned = replace(card, heading=heading)
        try:
            space = find_workspace(_kinematics(turned, model), tables, nearest, hint, card.model)
        except BackendError as error:
            trouble = trouble or error
            continue
        found.append((heading, space))
        if space.breadth > BROAD:
            break
    if trouble is not None and not found:
        raise trouble
    heading, space = max(found, key=lambda each: each[1].area)
    x, y = ((round(float(low), 3), round(float(high), 3)) for low, high in space.region)
    home = tuple(round(float(value), 4) + 0.0 for value in space.home)
    heading = round(heading, 5)
    card = replace(card, heading=heading, region=(x, y), home=home, table_height=space.table_height)
    return card, space, tables


def _kinematics(card: RobotCard, model: Any) -> Kinematics:
    """Of a model without shapes."""
    assert card.model is not None
    spec = read_model(card.model, card.gripper_model, card.attach_at, card.heading)
    keep_inertias(spec, model)
    for element in [*spec.geoms, *spec.meshes]:
        spec.delete(element)
    add_tool(spec, card)
    return Kinematics(compiled(spec, card.model), card.arm_joints)


def _with_timestep(card: RobotCard) -> RobotCard:
    """The longest time step at which the robot does what it must; the usual one if it never does."""
    for timestep in TIMESTEPS:
        tried = replace(card, timestep=timestep)
        if not Trial(tried).troubles():
            return tried
    return card


def _keyframe(path: str) -> np.ndarray | None:
    """The model's own home, (nq,), if it has one."""
    keys = list(mujoco.MjSpec.from_file(path).keys)
    for key in keys:
        if key.name == "home" or len(keys) == 1:
            return np.array(key.qpos)
    return None


def _notes(model: Any, chain: Chain) -> list[str]:
    count = len(chain.arm)
    notes = [f"arm: {count} hinges, {chain.arm[0]} to {chain.arm[-1]}; hand: {chain.hand}"]
    if not USUAL[0] <= count <= USUAL[1]:
        notes.append(f"an arm of {count} hinges was not tried: {USUAL[0]} to {USUAL[1]} were")
    others = {model.joint(j).name for j in range(model.njnt)} - {*chain.arm, *chain.gripper}
    if others:
        notes.append(f"held where they are: {', '.join(sorted(others))}")
    return notes


def _hand_notes(hand: Hand, grasp: Grasp) -> list[str]:
    notes = [
        f"gripper: {'one moving jaw' if hand.one_jaw else 'two moving sides'}, {', '.join(hand.commands)}"
    ]
    if hand.driven_by_joints:
        notes.append("gripper: no actuators in the file; servos of 20 N are added")
    unused = set(hand.drives) - set(hand.commands)
    if unused:
        notes.append(f"gripper: held, as they do not open it: {', '.join(sorted(unused))}")
    if hand.share < 1.0:
        notes.append(f"gripper: opened to {hand.share:.0%} of its way, where the finger has turned by 45°")
    where = f"the site {grasp.site}" if grasp.site else "between the finger tips, from their shapes"
    notes.append(f"tool: {where}")
    return notes


def _flange(model: Any, data: Any, chain: Chain, last: int) -> Tool:
    """A tool frame for an arm without a gripper: on the last joint's axis, out of the arm."""
    body = model.jnt_bodyid[last]
    axis, anchor = data.xaxis[last], data.xanchor[last]
    before = data.xanchor[model.joint(chain.arm[-2]).id]
    way = anchor - before
    if abs(axis @ way) < 0.1 * np.linalg.norm(way):
        way = data.xipos[body] - anchor
    approach = axis * (1.0 if axis @ way >= 0 else -1.0)
    shape = corners(model, data, {int(body)})
    tip = float((shape @ approach).max()) if len(shape) else float(anchor @ approach) + FLANGE
    across = np.cross(approach, np.eye(3)[np.abs(approach).argmin()])
    across /= np.linalg.norm(across)
    rotation = np.stack([np.cross(across, approach), across, approach], axis=1)
    turn = data.xmat[body].reshape(3, 3)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, (turn.T @ rotation).ravel())
    origin = anchor + (tip - anchor @ approach) * approach
    position = turn.T @ (origin - data.xpos[body])
    return Tool(
        model.body(body).name,
        tuple(round(float(v), 5) for v in position),
        tuple(round(float(v), 5) for v in quaternion),
    )


def _base(model: Any, data: Any, chain: Chain, heading: float) -> tuple[float, float]:
    """z of the base's lowest point, and where x of a region may begin, in m, turned by ``heading``."""
    still = {
        int(model.geom_bodyid[g])
        for g in colliding(model, bare=True)
        if model.body_weldid[model.geom_bodyid[g]] == 0
    }
    shape = corners(model, data, still)
    front, left = np.array([[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]])
    first = data.xpos[model.jnt_bodyid[model.joint(chain.arm[0]).id]]
    length = float(np.linalg.norm(model.body_pos, axis=1).sum())
    if not len(shape):
        return 0.0, 0.1 * length
    broad = float(np.ptp(shape[:, :2] @ left))
    return float(shape[:, 2].min()), float(first[:2] @ front) + min(broad, CLOSEST_SHARE * length)
