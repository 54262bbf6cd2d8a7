"""Shapes and what is made of them: data that every simulator can build from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]  # w, x, y, z

BLUE = (0.08, 0.40, 0.98)
ROUND = ("sphere", "capsule", "cylinder", "ellipsoid", "mesh")  # a mesh may be
TORSIONAL_FRICTION = 0.005  # m, MuJoCo's default, as the two rolling frictions are lengths too
ROLLING_FRICTION = 0.002  # m; a ball of 15 mm that rolls at 0.2 m/s stops within 0.3 s
EDGED_ROLLING_FRICTION = 0.0001
UPRIGHT: Quaternion = (1.0, 0.0, 0.0, 0.0)
ALONG_X: Quaternion = (0.5**0.5, 0.0, 0.5**0.5, 0.0)  # turns z to x
ALONG_Y: Quaternion = (0.5**0.5, -(0.5**0.5), 0.0, 0.0)  # turns z to y


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface of triangles that turn counterclockwise seen from outside."""

    vertices: np.ndarray  # (V, 3) m
    faces: np.ndarray  # (F, 3) int

    @cached_property
    def volume_and_centre(self) -> tuple[float, np.ndarray]:
        """m³, negative if the triangles turn the wrong way, and (3,) m, the centre of mass: sums over the
        tetrahedra between the triangles and a point.
        """
        origin = self.vertices.mean(axis=0)
        corners = self.vertices[self.faces] - origin  # (F, 3 corners, 3)
        volumes = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
        volume = float(volumes.sum())
        if volume == 0:
            return 0.0, origin
        return volume, origin + (volumes[:, None] * corners.sum(axis=1) / 4).sum(axis=0) / volume


@dataclass(frozen=True)
class Shape:
    """A solid of one piece. ``size``, in m: box: half lengths; sphere: radius; capsule and cylinder: radius,
    half length along z (without the capsule's caps); ellipsoid: half axes; mesh: ().
    """

    type: str  # "box", "sphere", "capsule", "cylinder", "ellipsoid", "mesh", whose convex hull collides
    size: tuple[float, ...]
    position: Vector = (0.0, 0.0, 0.0)
    quaternion: Quaternion = UPRIGHT
    friction: float = 1.0  # sliding
    mesh: Mesh | None = None

    @property
    def rolls(self) -> bool:
        return self.type in ROUND

    @cached_property
    def volume(self) -> float:
        """m³."""
        size = self.size
        if self.mesh is not None:
            return self.mesh.volume_and_centre[0]
        if self.type == "box":
            return 8 * size[0] * size[1] * size[2]
        if self.type == "cylinder":
            return 2 * np.pi * size[0] ** 2 * size[1]
        if self.type == "capsule":
            return 2 * np.pi * size[0] ** 2 * size[1] + 4 / 3 * np.pi * size[0] ** 3
        return 4 / 3 * np.pi * float(np.prod(size * 3 if self.type == "sphere" else size))

    @cached_property
    def bounds(self) -> np.ndarray:
        """(2, 3) m, the lowest and highest x, y, z in the object's frame."""
        turn, size, position = rotation(self.quaternion), np.array(self.size), np.array(self.position)
        if self.mesh is not None:
            points = self.mesh.vertices @ turn.T + position
            return np.array([points.min(axis=0), points.max(axis=0)])
        if self.type == "box":
            half = np.abs(turn) @ size
        elif self.type == "sphere":
            half = np.full(3, size[0])
        elif self.type == "capsule":
            half = np.abs(turn[:, 2]) * size[1] + size[0]
        elif self.type == "cylinder":
            half = np.abs(turn[:, 2]) * size[1] + np.sqrt(np.maximum(1 - turn[:, 2] ** 2, 0)) * size[0]
        else:
            half = np.sqrt(((turn * size) ** 2).sum(axis=1))
        return np.array([position - half, position + half])

    def moved(self, by: Vector) -> Shape:
        x, y, z = self.position
        return replace(self, position=(x + by[0], y + by[1], z + by[2]))


@dataclass(frozen=True)
class Object:
    """A rigid thing, as it rests on a table: z is up.

    The origin of its frame is its grasp point: fingers that come from above, with their tool frame's origin
    there and their line along the object's y axis, take it. Tasks call it the object's position. Of a convex
    object it is the centre.
    """

    name: str
    shapes: tuple[Shape, ...]
    mass: float  # kg, shared among the shapes by their volumes
    sides: int  # on how many sides, evenly spaced in yaw, fingers fit; 0: at any yaw
    grasp_width: float  # m between the fingers when they hold it
    colour: Vector = BLUE
    looks: Mesh | None = None  # what a picture shows instead of the shapes

    @cached_property
    def bounds(self) -> np.ndarray:
        """(2, 3) m, the lowest and highest x, y, z in its frame."""
        each = np.array([shape.bounds for shape in self.shapes])
        return np.array([each[:, 0].min(axis=0), each[:, 1].max(axis=0)])

    @property
    def half(self) -> np.ndarray:
        """(3,) m, half the lengths of the box around it."""
        return (self.bounds[1] - self.bounds[0]) / 2

    @property
    def rest_height(self) -> float:
        """m of its origin above the table that it rests on."""
        return float(-self.bounds[0, 2])


def rotation(quaternion: Quaternion) -> np.ndarray:
    """(3, 3)."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
