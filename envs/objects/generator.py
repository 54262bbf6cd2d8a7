"""Sets of objects that are drawn once from a seed and then stay, so that each is compiled once. All of them
can be taken from above with fingers ``width`` m apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from envs.objects import compounds, primitives
from envs.objects.shape import Object

TRAINING, HELD_OUT = 100, 30  # objects
TRAINING_SEED, HELD_OUT_SEED = 0, 1
LIGHTEST, HEAVIEST = 0.03, 0.3  # kg
DENSITY = (200.0, 1200.0)  # kg/m³
FRICTION = (0.6, 1.2)
NARROW, WIDE = 0.25, 0.75  # grasp widths, in parts of the fingers' width
# What follows is in parts of the fingers' width too.
LOW = 0.21  # least height of a grasp point above the table; finger tips reach below the tool frame's origin
HIGH = 0.55  # half the height of the tallest
SLENDER = 2.2  # the height of what stands over its width, at most
CLEARANCE = 0.24  # from a grasp point to what a finger must not touch, along x


def object_set(seed: int, count: int, width: float) -> tuple[Object, ...]:
    """``count`` objects of all FAMILIES in turn; the same seed and width give the same objects."""
    names = list(FAMILIES)
    return tuple(
        draw(names[i % len(names)], np.random.default_rng([seed, i]), width, f"_{i}") for i in range(count)
    )


def draw(family: str, random: np.random.Generator, width: float, suffix: str = "") -> Object:
    """One object of a family of FAMILIES, fit for fingers ``width`` m apart."""
    sized = FAMILIES[family](random, width)
    volume = sum(shape.volume for shape in sized.shapes)
    density = np.exp(random.uniform(*np.log(DENSITY)))
    friction = float(random.uniform(*FRICTION))
    red, green, blue = random.uniform(0.05, 0.95, 3).tolist()
    return replace(
        sized,
        name=sized.name + suffix,
        shapes=tuple(replace(shape, friction=friction) for shape in sized.shapes),
        mass=float(np.clip(volume * density, LIGHTEST, HEAVIEST)),
        colour=(red, green, blue),
    )


def standing_half_height(random: np.random.Generator, half_width: float) -> float:
    return random.uniform(LOW, min(HIGH, max(SLENDER * half_width, 1.1 * LOW)))


def draw_box(random: np.random.Generator, width: float) -> Object:
    y = random.uniform(NARROW, WIDE) / 2
    x = y * random.choice((1.0, random.uniform(1.1, 1.8)))
    return primitives.box((x * width, y * width, standing_half_height(random, y) * width), 1.0)


def draw_cylinder(random: np.random.Generator, width: float) -> Object:
    radius = random.uniform(NARROW, WIDE) / 2
    return primitives.cylinder(radius * width, standing_half_height(random, radius) * width, 1.0)


def draw_roll(random: np.random.Generator, width: float) -> Object:
    return primitives.roll(random.uniform(LOW, WIDE / 2) * width, random.uniform(0.3, 0.8) * width, 1.0)


def draw_sphere(random: np.random.Generator, width: float) -> Object:
    return primitives.sphere(random.uniform(LOW, WIDE / 2) * width, 1.0)


def draw_capsule(random: np.random.Generator, width: float) -> Object:
    return primitives.capsule(random.uniform(LOW, WIDE / 2) * width, random.uniform(0.2, 0.6) * width, 1.0)


def draw_ellipsoid(random: np.random.Generator, width: float) -> Object:
    z = random.uniform(LOW, 0.9 * WIDE / 2)
    y = random.uniform(z, WIDE / 2)
    return primitives.ellipsoid((random.uniform(1.1, 1.8) * y * width, y * width, z * width), 1.0)


def draw_mug(random: np.random.Generator, width: float) -> Object:
    radius, half_height = random.uniform(0.55, WIDE) / 2 * width, random.uniform(0.35, HIGH) * width
    return compounds.mug(radius, half_height, random.uniform(0.05, 0.08) * width, 1.0)


def draw_hammer(random: np.random.Generator, width: float) -> Object:
    length, across = random.uniform(0.7, 1.1), random.uniform(NARROW, 0.4) / 2
    handle_half = (length * width, across * width, random.uniform(LOW, 0.3) * width)
    return compounds.hammer(handle_half, random.uniform(0.4, 0.65) * width, CLEARANCE * width, 1.0)


def draw_cross(random: np.random.Generator, width: float) -> Object:
    half_lengths = (random.uniform(0.6, 0.9) * width, random.uniform(0.4, 0.7) * width)
    half_width, half_height = random.uniform(NARROW, 0.4) / 2 * width, random.uniform(LOW, 0.3) * width
    return compounds.cross(half_lengths, half_width, half_height, CLEARANCE * width, 1.0)


def draw_ring(random: np.random.Generator, width: float) -> Object:
    thickness, half_height = random.uniform(NARROW, 0.32) / 2 * width, random.uniform(LOW, 0.3) * width
    return compounds.ring(random.uniform(0.58, 0.7) * width, thickness, half_height, 1.0)


FAMILIES: dict[str, Callable[[np.random.Generator, float], Object]] = {
    "box": draw_box,
    "cylinder": draw_cylinder,
    "roll": draw_roll,
    "sphere": draw_sphere,
    "capsule": draw_capsule,
    "ellipsoid": draw_ellipsoid,
    "mug": draw_mug,
    "hammer": draw_hammer,
    "cross": draw_cross,
    "ring": draw_ring,
}
