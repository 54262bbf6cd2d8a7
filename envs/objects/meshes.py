"""An object from a user's mesh: laid so that it rests, cut into convex pieces, with a place where fingers
take it.
"""

from __future__ import annotations

import warnings
from math import cos, pi, sin
from pathlib import Path

import numpy as np

from envs.backends.base import BackendError
from envs.objects.mesh_files import READERS, read_mesh
from envs.objects.shape import Mesh, Object, Shape

SUFFIXES = tuple(READERS)
DENSITY = 400.0  # kg/m³
LIGHTEST, HEAVIEST = 0.03, 0.3  # kg
TURNS, PLACES = 60, 19  # yaws that are tried, 3° apart, and places along x
FEWEST, MOST = 6000, 100_000  # points on the surface
# In parts of the fingers' width:
WIDEST = 0.85  # what fingers are to take
FINGER = 0.17  # half of a finger along x, with some air
TIP = 0.18  # length of a finger below the grasp point
PALM = 0.8  # from the grasp point up to the hand
ROOM = 0.85  # from the grasp point to the far side of an open finger
SPACING = 0.05  # of points on the surface
STEEPEST = 0.6  # slope of a side that fingers do not slip off
GAP = 0.08  # between two things; nearer ones are one
CONCAVITY = 0.1  # that CoACD leaves in a piece
MOST_PIECES = 16
SLIVER = 1e-4  # of the volume; MuJoCo refuses a piece that is all but flat


def mesh_object(path: Path, width: float) -> Object:
    """The solid of an OBJ or STL file, in kg by its volume, fit for fingers ``width`` m apart.

    Raises:
        BackendError: the file is no such solid (see :func:`envs.objects.mesh_files.read_mesh`), or too wide.
    """
    mesh = settled(read_mesh(path))
    grasp = find_grasp(mesh, width)
    if grasp is None:
        raise BackendError(
            f"{path}: fingers {1000 * width:.0f} mm apart find no place where it is at most "
            f"{1000 * WIDEST * width:.0f} mm wide from above: scale it, or lay it down (z is up)"
        )
    turn, point, grasp_width = grasp
    mesh = Mesh(mesh.vertices @ turn.T - point, mesh.faces)
    pieces = tuple(Shape("mesh", (), mesh=piece) for piece in convex_pieces(mesh, path))
    mass = float(np.clip(DENSITY * mesh.volume_and_centre[0], LIGHTEST, HEAVIEST))
    return Object(path.stem, pieces, mass, 2, grasp_width, looks=mesh)


def convex_pieces(mesh: Mesh, path: Path) -> list[Mesh]:
    """Its decomposition by CoACD (Wei et al., SIGGRAPH 2022); without that package the mesh, whose hull
    collides.
    """
    try:
        import coacd
    except ImportError:
        warnings.warn(
            f"{path}: its convex hull collides, as coacd is not installed: pip install 'sac-dist[meshes]'",
            stacklevel=3,
        )
        return [mesh]
    coacd.set_log_level("error")
    pieces = coacd.run_coacd(
        coacd.Mesh(mesh.vertices, mesh.faces),
        threshold=CONCAVITY,
        max_convex_hull=MOST_PIECES,
        preprocess_mode="off",  # the mesh is closed
        mcts_iterations=30,  # this and what follows: a tenth of the seconds of CoACD's defaults
        mcts_nodes=5,
        mcts_max_depth=2,
        resolution=500,
        seed=0,
    )
    solids = [Mesh(np.asarray(vertices), np.asarray(faces)) for vertices, faces in pieces]
    least = SLIVER * mesh.volume_and_centre[0]
    return [solid for solid in solids if solid.volume_and_centre[0] > least]


def settled(mesh: Mesh) -> Mesh:
    """The mesh about its centre of mass, turned until it rests: from how the file has it down to the nearest
    pose in which the centre of mass is lowest.

    The height of that centre above the table is the support function of the hull, h(d) = max d·v over the
    vertices v, where the direction d points down; its gradient is the lowest vertex.
    """
    points = mesh.vertices - mesh.volume_and_centre[1]
    size = float(np.linalg.norm(points, axis=1).max())
    down = np.array([0.0, 0.0, -1.0])
    best, lowest = down, float((points @ down).max()) * (1 - 1e-3)  # a pose that rests already stays as it is
    for step in 0.2 * 0.985 ** np.arange(600):
        heights = points @ down
        slope = points[int(heights.argmax())] / size
        down = down - step * (slope - (slope @ down) * down)
        down /= np.linalg.norm(down)
        height = float((points @ down).max())
        if height < lowest:
            best, lowest = down, height
    return Mesh(points @ turn_to_down(best).T, mesh.faces)


def turn_to_down(direction: np.ndarray) -> np.ndarray:
    """(3, 3), the shortest rotation of ``direction`` to -z (Rodrigues)."""
    down = np.array([0.0, 0.0, -1.0])
    cosine = float(direction @ down)
    if cosine < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    x, y, z = np.cross(direction, down)
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)


def find_grasp(mesh: Mesh, width: float) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Where fingers from above take the mesh, whose centre of mass is the origin: the turn (3, 3) that brings
    the fingers' line to y, the grasp point (3,) after it, and the width there (all m); None: nowhere.

    Tried are yaws and places along x, and what fits between fingers that come down there, with room for both.
    Of all that fit, the one nearest to the centre of mass is taken, and rather a narrow one.
    """
    surface = sample(mesh, SPACING * width)
    bottom, top = surface[:, 2].min(), surface[:, 2].max()
    lowest, highest = (
        max(bottom + TIP * width, top - PALM * width),
        max(top - TIP / 2 * width, (bottom + top) / 2),
    )
    height = min(max(0.0, lowest), highest)
    surface = surface[surface[:, 2] > height - TIP * width]
    best, least = None, np.inf
    for angle in np.arange(TURNS) * pi / TURNS:
        turn = np.array([[cos(angle), -sin(angle), 0.0], [sin(angle), cos(angle), 0.0], [0.0, 0.0, 1.0]])
        points = surface @ turn.T
        for x in np.linspace(-0.9, 0.9, PLACES) * np.abs(points[:, 0]).max():
            across = np.sort(points[np.abs(points[:, 0] - x) < FINGER * width, 1])
            for low, high in fitting(across, width):
                middle = (low + high) / 2
                badness = np.hypot(x, middle) + 0.2 * (high - low)
                if badness < least and not tapers(points, x, low, high, width):
                    best, least = (turn, np.array([x, middle, height]), high - low), badness
    return best


def tapers(points: np.ndarray, x: float, low: float, high: float, width: float) -> bool:
    """Whether what lies between fingers at ``x``, from y ``low`` to ``high`` (m), is a wedge that they slip
    off, such as a corner of something that is too wide for them.
    """
    ahead = points[:, 0] - x
    there = (np.abs(ahead) < FINGER * width) & (points[:, 1] >= low) & (points[:, 1] <= high)
    halves = [points[there & side, 1] for side in (ahead < 0, ahead >= 0)]
    if not all(map(len, halves)):
        return False
    return bool(abs(np.ptp(halves[0]) - np.ptp(halves[1])) > 2 * STEEPEST * FINGER * width)


def fitting(across: np.ndarray, width: float) -> list[tuple[float, float]]:
    """The parts of a cut, from y to y (m), that fingers take; ``across`` (N,) holds the y of its points,
    sorted.
    """
    if len(across) == 0:
        return []
    gaps = np.flatnonzero(np.diff(across) > GAP * width)
    lows, highs = across[[0, *(gaps + 1)]], across[[*gaps, -1]]
    found = []
    for i, low in enumerate(lows):
        for j in range(i, len(lows)):
            middle = (low + highs[j]) / 2
            free_below = i == 0 or middle - highs[i - 1] > ROOM * width
            free_above = j == len(lows) - 1 or lows[j + 1] - middle > ROOM * width
            if highs[j] - low <= WIDEST * width and free_below and free_above:
                found.append((float(low), float(highs[j])))
    return found


def sample(mesh: Mesh, spacing: float) -> np.ndarray:
    """(S, 3) points spread evenly over the surface, about ``spacing`` m apart or nearer, and the vertices."""
    corners = mesh.vertices[mesh.faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    random = np.random.default_rng(0)
    count = int(np.clip(areas.sum() / 2 / spacing**2, FEWEST, MOST))
    chosen = corners[random.choice(len(corners), count, p=areas / areas.sum())]
    weights = random.dirichlet(np.ones(3), count)
    return np.concatenate([mesh.vertices, np.einsum("sc,sci->si", weights, chosen)])
