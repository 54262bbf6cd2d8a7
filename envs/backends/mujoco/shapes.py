"""Rounded solids as MJCF meshes with exact normals: tapered barrels and boxes with soft edges, computed here
from formulas; and the materials that they are made of.
"""

from __future__ import annotations

import numpy as np

Vector = tuple[float, float, float]

MATERIALS = {  # name: attributes in MJCF
    "leg": 'rgba="0.40 0.26 0.15 1" specular="0.2" shininess="0.3"',
    "red": 'rgba="0.70 0.035 0.045 1" specular="0.7" shininess="0.75"',
    "dark": 'rgba="0.105 0.11 0.12 1" specular="0.45" shininess="0.5"',
    "grey": 'rgba="0.22 0.23 0.25 1" specular="0.5" shininess="0.6"',
    "metal": 'rgba="0.62 0.64 0.67 1" specular="0.9" shininess="0.85"',
    "rubber": 'rgba="0.06 0.06 0.065 1" specular="0.1" shininess="0.1"',
    "blue": 'rgba="0.08 0.40 0.98 1" specular="0.5" shininess="0.6"',
    "screen": 'rgba="0.04 0.09 0.20 1" specular="0.6" shininess="0.9" emission="0.4"',
    "white": 'rgba="0.95 0.96 0.97 1" specular="0.2" emission="0.5"',
    "iris": 'rgba="0.10 0.45 0.85 1" emission="0.5"',
    "pupil": 'rgba="0.01 0.01 0.02 1" specular="0.2"',
    "light": 'rgba="0.35 0.95 0.55 1" emission="0.9"',
}
SEGMENTS = 36  # around a barrel
ARC = 4  # points along a rounded edge


LOOK = 'contype="0" conaffinity="0" mass="0" group="1"'  # of a geom that is only seen


class Shapes:
    """Collects meshes; each method returns the geom that shows one, and equal solids share a mesh."""

    def __init__(self) -> None:
        self.meshes: dict[str, str] = {}

    def assets(self) -> str:
        """The meshes, and the materials that any shape may have."""
        materials = "".join(
            f'<material name="{name}" {attributes}/>' for name, attributes in MATERIALS.items()
        )
        return materials + "".join(self.meshes.values())

    def barrel(
        self,
        material: str,
        start: Vector,
        end: Vector,
        radius: float,
        end_radius: float | None = None,
        edge: float = 0.008,
    ) -> str:
        """A cone's stump from ``start`` to ``end`` (m) with edges rounded by ``edge``."""
        axis = np.subtract(end, start)
        top = radius if end_radius is None else end_radius
        name = self._add(*barrel_grid(radius, top, float(np.linalg.norm(axis)), edge))
        return f'<geom {LOOK} type="mesh" mesh="{name}" material="{material}" pos="{text(start)}" zaxis="{text(axis)}"/>'

    def box(
        self, material: str, centre: Vector, half: Vector, edge: float = 0.006, euler: Vector = (0, 0, 0)
    ) -> str:
        """A box with half sizes ``half`` (m), all edges and corners rounded by ``edge``."""
        name = self._add(*box_grid(np.array(half), edge))
        return f'<geom {LOOK} type="mesh" mesh="{name}" material="{material}" pos="{text(centre)}" euler="{text(euler)}"/>'

    def ellipsoid(self, material: str, centre: Vector, half: Vector, euler: Vector = (0, 0, 0)) -> str:
        return f'<geom {LOOK} type="ellipsoid" material="{material}" pos="{text(centre)}" size="{text(half)}" euler="{text(euler)}"/>'

    def capsule(self, material: str, start: Vector, end: Vector, radius: float) -> str:
        return f'<geom {LOOK} type="capsule" material="{material}" fromto="{text(start)} {text(end)}" size="{radius:.5g}"/>'

    def _add(self, points: np.ndarray, normals: np.ndarray) -> str:
        """Register the closed surface over a grid; return its name."""
        vertices, directions, faces = closed_surface(points, normals)
        data = f'vertex="{text(vertices)}" normal="{text(directions)}" face="{" ".join(map(str, faces.ravel()))}"'
        name = next(
            (name for name, known in self.meshes.items() if data in known), f"solid{len(self.meshes)}"
        )
        self.meshes[name] = f'<mesh name="{name}" inertia="shell" {data}/>'
        return name


def closed_surface(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices and normals, each (V, 3), and triangles (F, 3) of the surface over a grid (rows, columns, 3), capped
    at its first and last row.
    """
    rows, columns, _ = points.shape
    ends = points[[0, -1]].mean(axis=1)
    vertices = np.concatenate([points.reshape(-1, 3), ends])
    directions = np.concatenate([normals.reshape(-1, 3), [[0, 0, -1], [0, 0, 1]]])
    here = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(here, -1, axis=1)
    sides = [(here[:-1], right[:-1], right[1:]), (here[:-1], right[1:], here[1:])]
    caps = [
        (np.full(columns, rows * columns), right[0], here[0]),
        (np.full(columns, rows * columns + 1), here[-1], right[-1]),
    ]
    faces = np.concatenate([np.stack(corners, axis=-1).reshape(-1, 3) for corners in sides + caps])
    return vertices, directions, faces


def barrel_grid(
    radius: float, end_radius: float, length: float, edge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Points and outward normals, each (2 ARC, SEGMENTS, 3), of a stump on the xy plane along z."""
    turn = np.linspace(0, 2 * np.pi, SEGMENTS, endpoint=False)
    slope = np.arctan2(radius - end_radius, length)  # of the side, which leans in
    points, normals = [], []
    for rim, low, high, height in (
        (radius, -np.pi / 2, slope, edge),
        (end_radius, slope, np.pi / 2, length - edge),
    ):
        for angle in np.linspace(low, high, ARC):
            across, up = np.cos(angle), np.sin(angle)
            reach = rim - edge + edge * across
            points.append(
                np.stack(
                    [reach * np.cos(turn), reach * np.sin(turn), np.full(SEGMENTS, height + edge * up)],
                    axis=-1,
                )
            )
            normals.append(
                np.stack([across * np.cos(turn), across * np.sin(turn), np.full(SEGMENTS, up)], axis=-1)
            )
    return np.array(points), np.array(normals)


def box_grid(half: np.ndarray, edge: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and outward normals, each (2 ARC, 4 ARC, 3), of a rounded box about the origin: a sphere pulled
    apart.
    """
    turn = np.concatenate([np.linspace(0, np.pi / 2, ARC) + quarter * np.pi / 2 for quarter in range(4)])
    signs = np.repeat(np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]), ARC, axis=0)  # (4 ARC, 2)
    points, normals = [], []
    for sign, low, high in ((-1.0, -np.pi / 2, 0.0), (1.0, 0.0, np.pi / 2)):
        for angle in np.linspace(low, high, ARC):
            normal = np.stack(
                [
                    np.cos(angle) * np.cos(turn),
                    np.cos(angle) * np.sin(turn),
                    np.full(len(turn), np.sin(angle)),
                ],
                axis=-1,
            )
            corner = np.column_stack([signs * (half[:2] - edge), np.full(len(turn), sign * (half[2] - edge))])
            points.append(corner + edge * normal)
            normals.append(normal)
    return np.array(points), np.array(normals)


def text(values: np.ndarray | Vector) -> str:
    return " ".join(f"{value:.5g}" for value in np.ravel(values))
