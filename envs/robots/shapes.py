"""The shapes of a robot that collide, with few corners."""

from __future__ import annotations

import itertools
from typing import Any

import mujoco
import numpy as np

from envs.backends.base import BackendError
from envs.robots.card import RobotCard

HULL_VERTICES = 32  # of a link's convex hull
SLICES = 6  # of a finger's mesh across the approach axis: fingers are hollow, their hull is not
THINNEST = 1e-4  # m; a slice that is thinner has no volume
ROBOT = {"contype": 0, "conaffinity": 3, "group": 3}
KEPT = ("pos", "quat", "rgba", "condim", "friction", "priority", "solmix", "solref", "solimp")
PAD = {
    "condim": 4,
    "friction": [2.0, 0.05, 0.0001],
    "priority": 1,
    "solref": [0.01, 1.0],
    "solimp": [0.95, 0.99, 0.001, 0.5, 2.0],
}  # as the Sawyer's, holds 0.1 kg at 5 ms without slip


def add_shapes(spec: Any, model: Any, card: RobotCard) -> None:
    """In place of all geoms of ``spec`` those of the compiled ``model`` that collide, meshes as hulls."""
    data = mujoco.MjData(model)
    for name, position in zip(card.arm_joints, card.home, strict=True):
        data.joint(name).qpos[0] = position
    mujoco.mj_kinematics(model, data)
    sides = pad_bodies(card)
    shapes = colliding(model, bare=True)
    for geom in list(spec.geoms):
        spec.delete(geom)
    for mesh in list(spec.meshes):
        spec.delete(mesh)
    counts = {"left": 0, "right": 0}
    for index in shapes:
        body = (
            spec.body(model.body(model.geom_bodyid[index]).name)
            if model.geom_bodyid[index]
            else spec.worldbody
        )
        side = sides.get(body.name)
        if side is None:
            _add(spec, body, model, index, {}, None)
            continue
        near = _nearness(spec, model, data, card, body.name)
        for points, is_pad in _pieces(model, data, index, card, near):
            settings: dict[str, Any] = {}
            if is_pad:
                settings = {"name": f"{side}_pad{counts[side]}", **PAD}
                counts[side] += 1
            _add(spec, body, model, index, settings, points)
    for side, count in counts.items():
        if card.gripper is not None and count == 0:
            raise BackendError(
                f"the card of {card.name}: the {side} finger has no shape that could touch an object"
            )
    keep_hulls(spec)


def keep_hulls(spec: Any) -> None:
    """Leave out the corners inside the hulls: they collide with nothing, and each model would carry them."""
    if not spec.meshes:
        return
    model = spec.copy().compile()  # a spec that was compiled holds faces beside its corners
    for mesh in spec.meshes:
        index, turn = model.mesh(mesh.name).id, np.zeros(9)
        mujoco.mju_quat2Mat(turn, model.mesh_quat[index])
        mesh.uservert = (hull_of(model, index) @ turn.reshape(3, 3).T + model.mesh_pos[index]).ravel()
        mesh.maxhullvert = -1  # none less


def pad_bodies(card: RobotCard) -> dict[str, str]:
    """Finger bodies with their side."""
    if card.gripper is None:
        return {}
    return {
        name: side
        for side, names in zip(("left", "right"), card.gripper.fingers, strict=True)
        for name in names
    }


def colliding(model: Any, bare: bool = False) -> list[int]:
    """Geoms that collide in the file; all of them where none does. ``bare``: also those of links without."""
    solid = [i for i in range(model.ngeom) if model.geom_contype[i] or model.geom_conaffinity[i]]
    if not solid:
        return list(range(model.ngeom))
    links = model.body_weldid[model.geom_bodyid]
    covered = {int(links[i]) for i in solid}
    return sorted({*solid, *(i for i in range(model.ngeom) if bare and int(links[i]) not in covered)})


def _nearness(spec: Any, model: Any, data: Any, card: RobotCard, body: str) -> float:
    """How far behind the tool point (m along the approach) a shape of the body still is a pad."""
    moves = any(joint.name not in card.arm_joints for joint in _joints_above(spec.body(body)))
    assert card.gripper is not None
    return np.inf if moves else card.gripper.width


def _joints_above(body: Any) -> list[Any]:
    return [] if body is None or body.name == "world" else [*body.joints, *_joints_above(body.parent)]


def tool_pose(model: Any, data: Any, card: RobotCard) -> tuple[np.ndarray, np.ndarray]:
    """Position (3,) and rotation (3, 3) of the tool frame."""
    body = model.body(card.tool.body).id
    quaternion, turn = np.array(card.tool.quaternion), np.zeros(9)
    mujoco.mju_quat2Mat(turn, quaternion / np.linalg.norm(quaternion))
    rotation = data.xmat[body].reshape(3, 3)
    return data.xpos[body] + rotation @ card.tool.position, rotation @ turn.reshape(3, 3)


def _pieces(
    model: Any, data: Any, index: int, card: RobotCard, near: float
) -> list[tuple[np.ndarray | None, bool]]:
    """A finger's geom as it is, or the points (n, 3) in its frame of its slices; whether each is a pad."""
    origin, rotation = tool_pose(model, data, card)
    place, turn = data.geom_xpos[index], data.geom_xmat[index].reshape(3, 3)
    approach = turn.T @ rotation[:, 2]
    offset = float((place - origin) @ rotation[:, 2])  # of the geom's origin beyond the tool point
    if model.geom_type[index] != mujoco.mjtGeom.mjGEOM_MESH:
        front = (geom_corners(model, index) @ approach).max() + offset
        return [(None, front > -near / 2)]
    corners, faces = mesh_of(model, model.geom_dataid[index])
    heights = corners @ approach + offset
    low, high = heights.min(), heights.max()
    if not np.isfinite(near) and high - low < THINNEST * SLICES:
        return [(corners, True)]
    start = max(low, -near)
    if start >= high:
        return [(corners, False)]
    cuts = np.linspace(start, high, SLICES + 1)
    pieces: list[tuple[np.ndarray | None, bool]] = []
    if start > low + THINNEST:
        pieces.append((_between(corners, faces, heights, low, start), False))
    pieces += [(_between(corners, faces, heights, a, b), True) for a, b in itertools.pairwise(cuts)]
    return [piece for piece in pieces if piece[0] is not None and has_volume(piece[0])]


def mesh_of(model: Any, mesh: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n, 3) and triangles (m, 3) of a compiled mesh, in its geoms' frame."""
    start, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    first, faces = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    return model.mesh_vert[start : start + count].astype(float), model.mesh_face[first : first + faces]


def geom_corners(model: Any, index: int, most: int | None = None) -> np.ndarray:
    """(n, 3) m in the geom's frame: a mesh's corners, about ``most``, or those of the box around it."""
    if model.geom_type[index] == mujoco.mjtGeom.mjGEOM_MESH:
        points, _ = mesh_of(model, model.geom_dataid[index])
        return points if most is None else points[:: max(1, len(points) // most)]
    centre, half = model.geom_aabb[index, :3], model.geom_aabb[index, 3:]
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    corners: np.ndarray = centre + signs * half
    return corners


def _between(
    corners: np.ndarray, faces: np.ndarray, heights: np.ndarray, low: float, high: float
) -> np.ndarray:
    """(n, 3) points whose hull is that of the surface between two planes: corners, and where edges cross."""
    points = [corners[(heights >= low) & (heights <= high)]]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    first, second = heights[edges[:, 0]], heights[edges[:, 1]]
    for plane in (low, high):
        crossing = (first < plane) & (second > plane)
        share = (plane - first[crossing]) / (second[crossing] - first[crossing])
        a, b = corners[edges[crossing, 0]], corners[edges[crossing, 1]]
        points.append(a + share[:, None] * (b - a))
    return np.concatenate(points)


def has_volume(points: np.ndarray) -> bool:
    if len(points) < 4:
        return False
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False) / np.sqrt(len(points))
    return bool(spread[2] > THINNEST)


def _add(
    spec: Any, body: Any, model: Any, index: int, settings: dict[str, Any], points: np.ndarray | None
) -> None:
    kind = mujoco.mjtGeom(model.geom_type[index])
    values = {name: getattr(model, f"geom_{name}")[index] for name in KEPT} | ROBOT | settings
    geom = body.add_geom(
        type=kind, material="", **values
    )  # a default's material is not renamed when attached
    if kind != mujoco.mjtGeom.mjGEOM_MESH:
        geom.size = model.geom_size[index]
        return
    if points is None:
        points = hull_of(model, model.geom_dataid[index])
    if not has_volume(points):
        spec.delete(geom)
        return
    mesh = spec.add_mesh(name=f"hull{len(spec.meshes)}", maxhullvert=HULL_VERTICES)
    mesh.uservert = points.ravel()
    geom.meshname = mesh.name


def hull_of(model: Any, mesh: int) -> np.ndarray:
    """(n, 3) corners of a compiled mesh's convex hull; all of its corners if it has none."""
    corners, _ = mesh_of(model, mesh)
    start = model.mesh_graphadr[mesh]
    if start < 0:
        return corners
    count = model.mesh_graph[start]
    return corners[model.mesh_graph[start + 2 + count : start + 2 + 2 * count]]
