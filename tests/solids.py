"""Closed meshes as OBJ and STL files, for the tests of users' objects."""

import numpy as np

from envs.backends.mujoco.shapes import barrel_grid, box_grid, closed_surface


def rod(radius=0.015, length=0.12):
    vertices, _, faces = closed_surface(*barrel_grid(radius, radius, length, 0.002))
    return vertices, faces


def block(half=(0.04, 0.015, 0.02)):
    vertices, _, faces = closed_surface(*box_grid(np.array(half), 0.001))
    return vertices, faces


def dumbbell():
    """Two thick ends, which fingers 72 mm apart do not take, and a thin middle, upright."""
    profile = [(0.04, -0.06), (0.04, -0.03), (0.012, -0.028), (0.012, 0.028), (0.04, 0.03), (0.04, 0.06)]
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    points = np.array([[(r * np.cos(a), r * np.sin(a), z) for a in turn] for r, z in profile])
    vertices, _, faces = closed_surface(points, points)
    return vertices, faces


def tube(inner=0.03, outer=0.045, half_height=0.02):
    """A ring with a square rim."""
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    corners = [(outer, -1), (outer, 1), (inner, 1), (inner, -1)]
    vertices = np.array([(r * np.cos(a), r * np.sin(a), z * half_height) for r, z in corners for a in turn])
    here = np.arange(4 * 32).reshape(4, 32)
    right, up = np.roll(here, -1, axis=1), np.roll(here, -1, axis=0)
    beyond = np.roll(right, -1, axis=0)
    faces = [np.stack([here, right, beyond], axis=-1), np.stack([here, beyond, up], axis=-1)]
    return vertices, np.concatenate(faces).reshape(-1, 3)


def turned(vertices, roll=0.0, pitch=0.0, yaw=0.0):
    """About x, then about y, then about z, rad."""
    c, s = np.cos(roll), np.sin(roll)
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    c, s = np.cos(pitch), np.sin(pitch)
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c, s = np.cos(yaw), np.sin(yaw)
    return vertices @ (np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ about_y @ about_x).T


def write_obj(path, vertices, faces):
    lines = [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in vertices]
    lines += [f"f {a + 1}//1 {b + 1}//1 {c + 1}//1" for a, b, c in faces]
    path.write_text("# a solid\n" + "\n".join(lines), encoding="utf-8")
    return path


def write_stl(path, vertices, faces):
    records = np.zeros(len(faces), np.dtype([("floats", "<f4", 12), ("rest", "<u2")]))
    records["floats"][:, 3:] = np.asarray(vertices)[faces].reshape(-1, 9)
    path.write_bytes(b"solid binary".ljust(80) + np.uint32(len(faces)).tobytes() + records.tobytes())
    return path
