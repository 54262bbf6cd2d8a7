"""Objects of one shape; lengths in m, masses in kg."""

from __future__ import annotations

from typing import Any

from envs.objects.shape import ALONG_X, Object, Shape, Vector


def box(half: Vector, mass: float, friction: float = 1.0, **fields: Any) -> Object:
    """``half`` (x, y, z): half lengths; fingers take it across y, and across x where both are equal."""
    shape = Shape("box", half, friction=friction)
    return Object("box", (shape,), mass, 4 if half[0] == half[1] else 2, 2 * half[1], **fields)


def cylinder(radius: float, half_length: float, mass: float, friction: float = 1.0, **fields: Any) -> Object:
    """It stands."""
    shape = Shape("cylinder", (radius, half_length), friction=friction)
    return Object("cylinder", (shape,), mass, 0, 2 * radius, **fields)


def roll(radius: float, half_length: float, mass: float, friction: float = 1.0, **fields: Any) -> Object:
    """A cylinder that lies along x."""
    shape = Shape("cylinder", (radius, half_length), quaternion=ALONG_X, friction=friction)
    return Object("roll", (shape,), mass, 2, 2 * radius, **fields)


def sphere(radius: float, mass: float, friction: float = 1.0, **fields: Any) -> Object:
    return Object("sphere", (Shape("sphere", (radius,), friction=friction),), mass, 0, 2 * radius, **fields)


def capsule(radius: float, half_length: float, mass: float, friction: float = 1.0, **fields: Any) -> Object:
    """It lies along x; ``half_length`` is that of its straight part."""
    shape = Shape("capsule", (radius, half_length), quaternion=ALONG_X, friction=friction)
    return Object("capsule", (shape,), mass, 2, 2 * radius, **fields)


def ellipsoid(half: Vector, mass: float, friction: float = 1.0, **fields: Any) -> Object:
    """``half`` (x, y, z): half axes; it is to be lowest along z, or it does not stay as it lies."""
    shape = Shape("ellipsoid", half, friction=friction)
    return Object("ellipsoid", (shape,), mass, 2, 2 * half[1], **fields)
