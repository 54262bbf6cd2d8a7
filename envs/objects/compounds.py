"""Objects of several primitives that touch; lengths in m, masses in kg. Few of the shapes touch the table, as
each contact costs time.
"""

from __future__ import annotations

from math import cos, pi, sin, tan
from typing import Any

import numpy as np

from envs.objects.shape import ALONG_Y, Object, Shape, Vector

STAVES = 8  # of a mug's wall
SEGMENTS = 12  # of a ring
RING_FEET = 3  # every third segment of a ring touches the table
FOOT = 0.0003  # m that the shapes which touch the table reach below the others


def mug(
    radius: float, half_height: float, wall: float, mass: float, friction: float = 1.0, **fields: Any
) -> Object:
    """A bottom, staves around it, a handle towards x. Fingers take it around the wall, in the upper half."""
    bottom = Shape("cylinder", (radius, wall / 2), (0, 0, wall / 2 - half_height), friction=friction)
    staves = [
        upright_box(
            (radius * tan(pi / STAVES), wall / 2, half_height - FOOT), radius - wall / 2, turn, friction, FOOT
        )
        for turn in np.arange(STAVES) * 2 * pi / STAVES
    ]
    reach, thick = 0.3 * half_height, 0.15 * half_height
    handle = [
        Shape("box", (reach, thick, thick), (radius + reach, 0, side * 0.45 * half_height), friction=friction)
        for side in (-1, 1)
    ]
    grip_half = (thick, thick, 0.45 * half_height + thick)
    handle.append(Shape("box", grip_half, (radius + 2 * reach + thick, 0, 0), friction=friction))
    shapes = tuple(shape.moved((0, 0, -0.25 * half_height)) for shape in (bottom, *staves, *handle))
    return Object("mug", shapes, mass, 2, 2 * radius, **fields)


def hammer(
    handle_half: Vector,
    head_half_length: float,
    clearance: float,
    mass: float,
    friction: float = 1.0,
    **fields: Any,
) -> Object:
    """A handle along x with a round head across it at its end, as thick as the handle is high. Fingers take
    the handle as near to the centre of mass as they can, ``clearance`` before the head.
    """
    length, across, height = handle_half
    head_x = length + height
    handle = Shape("box", handle_half, friction=friction)
    head = Shape("cylinder", (height, head_half_length), (head_x, 0, 0), ALONG_Y, friction)
    centre = head.volume * head_x / (head.volume + handle.volume)
    grasp = min(centre, length - clearance)
    shapes = (handle.moved((-grasp, 0, 0)), head.moved((-grasp, 0, 0)))
    return Object("hammer", shapes, mass, 2, 2 * across, **fields)


def cross(
    half_lengths: tuple[float, float],
    half_width: float,
    half_height: float,
    clearance: float,
    mass: float,
    friction: float = 1.0,
    **fields: Any,
) -> Object:
    """Two bars that lie crossed. Fingers take the one along x, ``clearance`` beside the other."""
    along, across = half_lengths
    arm = (across - half_width) / 2
    bars = [Shape("box", (along, half_width, half_height), friction=friction)]
    bars += [
        Shape("box", (half_width, arm, half_height), (0, side * (half_width + arm), 0), friction=friction)
        for side in (-1, 1)
    ]
    shapes = tuple(bar.moved((-half_width - clearance, 0, 0)) for bar in bars)
    return Object("cross", shapes, mass, 2, 2 * half_width, **fields)


def ring(
    radius: float,
    half_thickness: float,
    half_height: float,
    mass: float,
    friction: float = 1.0,
    **fields: Any,
) -> Object:
    """It lies; ``radius`` is that of the middle of its rim. Fingers take the rim, one of them in the hole."""
    half = ((radius + half_thickness) * tan(pi / SEGMENTS), half_thickness, half_height)
    rim = [
        upright_box(
            (*half[:2], half_height - (FOOT if i % RING_FEET else 0)), radius, 2 * pi * i / SEGMENTS, friction
        )
        for i in range(SEGMENTS)
    ]
    shapes = tuple(shape.moved((0, -radius, 0)) for shape in rim)
    return Object("ring", shapes, mass, 2, 2 * half_thickness, **fields)


def upright_box(half: Vector, distance: float, turn: float, friction: float, up: float = 0.0) -> Shape:
    """A box that faces the z axis from ``distance``, at the angle ``turn`` from y."""
    position = (-distance * sin(turn), distance * cos(turn), up)
    return Shape("box", half, position, (cos(turn / 2), 0.0, 0.0, sin(turn / 2)), friction)
