"""A MuJoCo model for drawing it elsewhere, such as in a browser: its shapes as meshes, once, and where its
bodies are at any instant.
"""

from __future__ import annotations

import mujoco
import numpy as np

from envs.viewing import Seen, Shape

HIDDEN_GROUP = 3  # from here on MuJoCo does not draw a group
ROUND = 32  # corners of a circle
ENDLESS = 5.0  # m, half the side of a plane that has no end


class Drawing:
    """Raises no error for shapes that have no mesh, such as height fields: they are left out."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model, self.data = model, mujoco.MjData(model)

    def shapes(self) -> tuple[Shape, ...]:
        """All that is seen, in one piece for each body and colour."""
        pieces: dict[tuple[int, tuple[float, ...]], list[tuple[np.ndarray, np.ndarray]]] = {}
        for geom in range(self.model.ngeom):
            colour = self._colour(geom)
            if self.model.geom_group[geom] < HIDDEN_GROUP and colour[3] > 0.0:
                mesh = self._mesh(geom)
                if mesh is not None:
                    body = int(self.model.geom_bodyid[geom])
                    pieces.setdefault((body, colour), []).append(mesh)
        return tuple(Shape(body, *joined(meshes), colour) for (body, colour), meshes in pieces.items())

    def seen(self, placement: np.ndarray) -> Seen:
        """``placement`` (n,) is what :func:`placement_of` gave."""
        data, model = self.data, self.model
        data.qpos[:] = placement[: model.nq]
        mocap = placement[model.nq :]
        data.mocap_pos[:] = mocap[: 3 * model.nmocap].reshape(-1, 3)
        data.mocap_quat[:] = mocap[3 * model.nmocap :].reshape(-1, 4)
        mujoco.mj_kinematics(model, data)
        return Seen(np.concatenate([data.xpos, data.xquat], axis=1, dtype=np.float32))

    def viewpoint(self) -> tuple[np.ndarray, np.ndarray]:
        """Where to look from, and at what: the first camera that stands still, else a place before the
        middle.
        """
        model = self.model
        mujoco.mj_forward(model, self.data)
        middle, extent = model.stat.center, model.stat.extent
        for camera in range(model.ncam):
            if model.cam_mode[camera] == mujoco.mjtCamLight.mjCAMLIGHT_FIXED and not model.cam_bodyid[camera]:
                eye, ahead = self.data.cam_xpos[camera], -self.data.cam_xmat[camera].reshape(3, 3)[:, 2]
                return eye.copy(), eye + ahead * float(np.linalg.norm(eye - middle))
        return middle + extent * np.array([1.0, -1.2, 0.7]), middle.copy()

    def _colour(self, geom: int) -> tuple[float, ...]:
        """RGBA in 0 … 1; a texture counts by its mean."""
        model, material = self.model, int(self.model.geom_matid[geom])
        if material < 0:
            return tuple(model.geom_rgba[geom].tolist())
        colour = model.mat_rgba[material].copy()
        texture = int(np.max(model.mat_texid[material]))
        if texture >= 0:
            start, channels = int(model.tex_adr[texture]), int(model.tex_nchannel[texture])
            size = int(model.tex_height[texture]) * int(model.tex_width[texture]) * channels
            pixels = model.tex_data[start : start + size].reshape(-1, channels)
            colour[:3] *= pixels[:, : min(channels, 3)].mean(axis=0) / 255.0
        return tuple(colour.tolist())

    def _mesh(self, geom: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Vertices (V, 3) in the body's frame and triangles (F, 3)."""
        model, kind = self.model, mujoco.mjtGeom(int(self.model.geom_type[geom]))
        if kind == mujoco.mjtGeom.mjGEOM_MESH:
            vertices, faces = _mesh_of(model, int(model.geom_dataid[geom]))
        elif kind in SOLIDS:
            vertices, faces = SOLIDS[kind](model.geom_size[geom])
        else:
            return None
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
        return vertices @ turn.reshape(3, 3).T + model.geom_pos[geom], faces


def placement_of(data: mujoco.MjData) -> np.ndarray:
    """(n,) float32: all on which the places of the bodies depend."""
    return np.concatenate([data.qpos, data.mocap_pos.ravel(), data.mocap_quat.ravel()], dtype=np.float32)


class ModelView:
    """The view of an environment that has a MuJoCo model and nothing else to say, as gymnasium's."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        self._drawing: Drawing | None = None

    def snapshot(self) -> np.ndarray:
        return placement_of(self._data)

    def drawing_of(self, snapshot: np.ndarray) -> tuple[int, Drawing]:
        self._drawing = self._drawing or Drawing(self._model)
        return 0, self._drawing

    def seen(self, snapshot: np.ndarray) -> Seen:
        return self.drawing_of(snapshot)[1].seen(snapshot)


def joined(meshes: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    before = np.cumsum([0, *(len(vertices) for vertices, _ in meshes)])
    faces = [part + first for (_, part), first in zip(meshes, before[:-1], strict=True)]
    return (
        np.concatenate([vertices for vertices, _ in meshes], dtype=np.float32),
        np.concatenate(faces).astype(np.uint32),
    )


def _mesh_of(model: mujoco.MjModel, mesh: int) -> tuple[np.ndarray, np.ndarray]:
    """A vertex for each normal that it has, so that edges stay edges where normals are made of triangles."""
    first, count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
    corners = model.mesh_face[first : first + count].ravel()
    normals = model.mesh_facenormal[first : first + count].ravel()
    pairs, faces = np.unique(np.stack([corners, normals], axis=1), axis=0, return_inverse=True)
    return model.mesh_vert[int(model.mesh_vertadr[mesh]) + pairs[:, 0]], faces.reshape(-1, 3)


def _box(size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    sides = []
    for axis in range(3):
        for sign in (-1, 1):
            side = np.insert(square[::sign], axis, sign, axis=1)
            sides.append(side if axis != 1 else side[::-1])
    first = 4 * np.arange(6)[:, None]
    faces = np.concatenate([np.add(first, [0, 1, 2]), np.add(first, [0, 2, 3])])
    return np.concatenate(sides) * size, faces


def _plane(size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = (half if half > 0 else ENDLESS for half in size[:2].tolist())
    corners = np.array([[-x, -y, 0], [x, -y, 0], [x, y, 0], [-x, y, 0]])
    return corners, np.array([[0, 1, 2], [0, 2, 3]])


def turned(outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The surface that an outline (n, 2), radii and heights from below upwards, makes around the z axis."""
    angles = np.linspace(0.0, 2.0 * np.pi, ROUND, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rings = [np.column_stack([radius * circle, np.full(ROUND, height)]) for radius, height in outline]
    here = np.arange(ROUND)
    following = (here + 1) % ROUND
    faces = []
    for ring in range(len(outline) - 1):
        low, high = ring * ROUND, (ring + 1) * ROUND
        faces.append(np.stack([low + here, low + following, high + following], axis=1))
        faces.append(np.stack([low + here, high + following, high + here], axis=1))
    return np.concatenate(rings), np.concatenate(faces)


def _sphere(size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return turned(size[0] * _half_circle(-np.pi / 2, np.pi / 2))


def _ellipsoid(size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    vertices, faces = turned(_half_circle(-np.pi / 2, np.pi / 2))
    return vertices * size, faces


def _cylinder(size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    radius, half = size[:2].tolist()
    sides = [(0, -half), (radius, -half), (radius, -half), (radius, half), (radius, half), (0, half)]
    return turned(np.array(sides))


def _capsule(size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    radius, half = size[:2].tolist()
    below, above = radius * _half_circle(-np.pi / 2, 0.0), radius * _half_circle(0.0, np.pi / 2)
    return turned(np.concatenate([np.add(below, [0, -half]), np.add(above, [0, half])]))


def _half_circle(low: float, high: float) -> np.ndarray:
    angles = np.linspace(low, high, ROUND // 4 + 1)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


SOLIDS = {
    mujoco.mjtGeom.mjGEOM_BOX: _box,
    mujoco.mjtGeom.mjGEOM_PLANE: _plane,
    mujoco.mjtGeom.mjGEOM_SPHERE: _sphere,
    mujoco.mjtGeom.mjGEOM_ELLIPSOID: _ellipsoid,
    mujoco.mjtGeom.mjGEOM_CYLINDER: _cylinder,
    mujoco.mjtGeom.mjGEOM_CAPSULE: _capsule,
}
