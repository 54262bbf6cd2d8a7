"""Puts an object into a MuJoCo model."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from envs.backends.mujoco.shapes import barrel_grid, box_grid, closed_surface
from envs.objects.shape import (
    EDGED_ROLLING_FRICTION,
    ROLLING_FRICTION,
    TORSIONAL_FRICTION,
    Mesh,
    Object,
    Shape,
)

TABLE_BIT, OBJECT_BIT = 1, 2  # contype of a table and of an object; the robot's conaffinity has both
EDGE = 0.1  # of the smallest half length, rounded off in pictures
HULL_VERTICES = 256  # of all meshes of an object together; contacts cost time by them
LEAST_HULL = 16  # MuJoCo takes no fewer than 4


def add_to(spec: mujoco.MjSpec, object: Object, name: str, looks: bool, meets_others: bool = False) -> Any:
    """Add a free body ``name`` at its rest height above z = 0, with its collision geoms named ``name``, ``name_1``,
    …; return the body. Its origin is the object's grasp point.

    ``looks`` adds what pictures show (geom group 1). ``meets_others``: objects collide with each other; leave it out
    where there is one, as fewer pairs are quicker.
    """
    body = spec.worldbody.add_body(name=name, pos=[0, 0, object.rest_height])
    body.add_freejoint(name=name)
    volume = sum(shape.volume for shape in object.shapes)
    for i, shape in enumerate(object.shapes):
        geom_name = f"{name}_{i}" if i else name
        body.add_geom(
            name=geom_name,
            mass=object.mass * (shape.volume / volume),
            contype=OBJECT_BIT,
            conaffinity=TABLE_BIT | (OBJECT_BIT if meets_others else 0),
            condim=6 if shape.rolls else 3,
            friction=[
                shape.friction,
                TORSIONAL_FRICTION,
                ROLLING_FRICTION if shape.rolls else EDGED_ROLLING_FRICTION,
            ],
            group=3,
            **placed(shape),
            **solid(spec, shape, geom_name, max(HULL_VERTICES // len(object.shapes), LEAST_HULL)),
        )
    if looks:
        add_looks(spec, body, object, name)
    return body


def add_looks(spec: mujoco.MjSpec, body: Any, object: Object, name: str) -> None:
    """Its shapes once more, with rounded edges and colour, for pictures."""
    spec.add_material(name=name, rgba=[*object.colour, 1], specular=0.5, shininess=0.6)
    unseen = {"mass": 0, "contype": 0, "conaffinity": 0, "group": 1, "material": name}
    if object.looks is not None:
        add_mesh(spec, f"{name}_look", object.looks, LEAST_HULL)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"{name}_look", **unseen)
        return
    for i, shape in enumerate(object.shapes):
        if shape.type in ("box", "cylinder"):
            add_rounded(spec, f"{name}_look_{i}", shape)
            look = {"type": mujoco.mjtGeom.mjGEOM_MESH, "meshname": f"{name}_look_{i}"}
        else:
            look = solid(spec, shape, f"{name}_look_{i}", LEAST_HULL)
        body.add_geom(**placed(shape), **look, **unseen)


def placed(shape: Shape) -> dict[str, Any]:
    return {"pos": shape.position, "quat": shape.quaternion}


def solid(spec: mujoco.MjSpec, shape: Shape, mesh_name: str, hull: int) -> dict[str, Any]:
    """Type and size for ``add_geom``; a mesh is added to the model under ``mesh_name``, its hull of ``hull``
    vertices.
    """
    kind = getattr(mujoco.mjtGeom, f"mjGEOM_{shape.type.upper()}")
    if shape.mesh is None:
        return {"type": kind, "size": [*shape.size, 0, 0][:3]}
    add_mesh(spec, mesh_name, shape.mesh, hull)
    return {"type": kind, "meshname": mesh_name}


def add_mesh(spec: mujoco.MjSpec, name: str, mesh: Mesh, hull: int) -> None:
    spec.add_mesh(
        name=name,
        uservert=mesh.vertices.ravel(),
        userface=mesh.faces.ravel(),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_EXACT,
        maxhullvert=hull,
    )


def add_rounded(spec: mujoco.MjSpec, name: str, shape: Shape) -> None:
    if shape.type == "box":
        grid = box_grid(np.array(shape.size), EDGE * min(shape.size))
    else:
        radius, half_length = shape.size
        points, normals = barrel_grid(radius, radius, 2 * half_length, EDGE * min(shape.size))
        grid = (points - [0, 0, half_length], normals)
    vertices, normals, faces = closed_surface(*grid)
    spec.add_mesh(
        name=name,
        uservert=vertices.ravel(),
        usernormal=normals.ravel(),
        userface=faces.ravel(),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
    )
