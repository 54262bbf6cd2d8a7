"""Reads OBJ and STL files into closed meshes in metres, or says in a line why not."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from envs.backends.base import BackendError
from envs.objects.shape import Mesh

MOST_TRIANGLES = 200_000
LARGEST_FILE = 100_000_000  # bytes
SMALLEST, LARGEST = 0.005, 0.5  # m, the longest side of an object that a gripper takes
MILLIMETRES = 5.0  # a mesh that is longer than this many units was drawn in mm


def read_mesh(path: Path) -> Mesh:
    """The closed mesh of a file, its triangles turned outwards, in metres.

    Raises:
        BackendError: there is no such file, it holds no solid, or one of an impossible size.
    """
    vertices, faces = merge(*read_triangles(path))
    if not np.isfinite(vertices).all():
        raise BackendError(f"{path}: a vertex is not finite: export the mesh again")
    if len(faces) == 0:
        raise BackendError(f"{path} holds no triangles: export the mesh again, with its faces")
    length = float(np.ptp(vertices, axis=0).max())
    if length > MILLIMETRES:
        warnings.warn(f"{path} is {length:.4g} units long: read as millimetres", stacklevel=2)
        vertices, length = vertices / 1000, length / 1000
    if not SMALLEST <= length <= LARGEST:
        raise BackendError(
            f"{path} is {length:.4g} m long, an object {SMALLEST} to {LARGEST} m: scale it, in metres"
        )
    mesh = Mesh(vertices, faces)
    edges = open_edges(faces)
    if edges:
        raise BackendError(
            f"{path} is not closed: {edges} of its edges do not join two triangles that turn the same way: "
            "mend it (Blender: 3D-Print Toolbox, Make Manifold)"
        )
    volume, _ = mesh.volume_and_centre
    if abs(volume) < 1e-6 * length**3:
        raise BackendError(f"{path} has no volume: give its walls a thickness")
    return mesh if volume > 0 else Mesh(vertices, faces[:, ::-1])


def read_triangles(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(V, 3) vertices as the file has them, (F, 3) their numbers."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BackendError(f"{path} has more than {LARGEST_FILE // 10**6} MB: reduce the mesh")
        content = path.read_bytes()
    except OSError as error:
        raise BackendError(f"{path} cannot be read ({error.strerror}): name an OBJ or STL file") from error
    try:
        vertices, faces = READERS[path.suffix.lower()](content)
    except (ValueError, IndexError, struct.error) as error:
        raise BackendError(f"{path} is not a whole {path.suffix[1:].upper()} file ({error})") from error
    if len(faces) > MOST_TRIANGLES:
        raise BackendError(
            f"{path} has {len(faces)} triangles, at most {MOST_TRIANGLES} are taken: reduce the mesh"
        )
    return vertices, faces


def read_obj(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    vertices: list[list[float]] = []
    faces: list[tuple[int, int, int]] = []
    for line in content.decode("utf-8", errors="replace").splitlines():
        words = line.split()
        if words[:1] == ["v"]:
            vertices.append([float(word) for word in words[1:4]])
            if len(vertices[-1]) != 3:
                raise ValueError(f"a vertex is {line.strip()!r}")
        elif words[:1] == ["f"]:
            numbers = [int(word.split("/")[0]) for word in words[1:]]
            corners = [number - 1 if number > 0 else len(vertices) + number for number in numbers]
            if not all(0 <= corner < len(vertices) for corner in corners):
                raise ValueError(f"a face of vertices that are not there: {line.strip()[:60]!r}")
            faces += [(corners[0], corners[i], corners[i + 1]) for i in range(1, len(corners) - 1)]
    return np.array(vertices, np.float64).reshape(-1, 3), np.array(faces, np.int64).reshape(-1, 3)


def read_stl(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Binary or ASCII; a binary file may begin with "solid" as well, so its length decides."""
    count = struct.unpack_from("<I", content, 80)[0] if len(content) >= 84 else -1
    if len(content) == 84 + 50 * count:
        records = np.frombuffer(content, np.dtype([("floats", "<f4", 12), ("rest", "<u2")]), offset=84)
        corners = records["floats"][:, 3:].reshape(-1, 3).astype(np.float64)
    elif content.lstrip()[:5].lower() == b"solid" and b"endsolid" in content[-1000:].lower():
        words = [line.split() for line in content.decode("utf-8", errors="replace").splitlines()]
        rows = [[float(word) for word in line[1:4]] for line in words if line[:1] == ["vertex"]]
        corners = np.array(rows, np.float64).reshape(-1, 3)
    else:
        raise ValueError(f"its {len(content)} bytes are not those of {max(count, 0)} triangles")
    return corners, np.arange(len(corners)).reshape(-1, 3)


READERS: dict[str, Callable[[bytes], tuple[np.ndarray, np.ndarray]]] = {".obj": read_obj, ".stl": read_stl}


def merge(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equal vertices become one; what no triangle uses goes, and triangles without area."""
    _, kept, numbers = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    faces = numbers.reshape(-1)[faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    used, numbers = np.unique(faces, return_inverse=True)
    return vertices[kept][used], numbers.reshape(faces.shape)


def open_edges(faces: np.ndarray) -> int:
    """How many edges are not passed once in each direction."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    span = int(faces.max()) + 1
    there, counts = np.unique(edges[:, 0] * span + edges[:, 1], return_counts=True)
    back = np.unique(edges[:, 1] * span + edges[:, 0])
    return int((counts > 1).sum() + len(np.setdiff1d(there, back)))
