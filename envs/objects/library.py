"""Objects by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from envs.backends.base import BackendError
from envs.objects import compounds, primitives
from envs.objects.generator import HELD_OUT, HELD_OUT_SEED, TRAINING, TRAINING_SEED, object_set
from envs.objects.meshes import SUFFIXES, mesh_object
from envs.objects.shape import Object

SAWYER_WIDTH = 0.072  # m between the Sawyer's fingers, for which the sizes below are; others get them scaled

NAMED: dict[str, Callable[[float], Object]] = {
    "box": lambda scale: primitives.box((0.02 * scale, 0.02 * scale, 0.03 * scale), 0.1),
    "cylinder": lambda scale: primitives.cylinder(0.02 * scale, 0.03 * scale, 0.1),
    "puck": lambda scale: replace(primitives.cylinder(0.026 * scale, 0.016 * scale, 0.1), name="puck"),
    "roll": lambda scale: primitives.roll(0.02 * scale, 0.04 * scale, 0.1),
    "sphere": lambda scale: primitives.sphere(0.02 * scale, 0.1),
    "capsule": lambda scale: primitives.capsule(0.02 * scale, 0.03 * scale, 0.1),
    "ellipsoid": lambda scale: primitives.ellipsoid((0.03 * scale, 0.022 * scale, 0.018 * scale), 0.1),
    "mug": lambda scale: compounds.mug(0.024 * scale, 0.033 * scale, 0.0045 * scale, 0.1),
    "hammer": lambda scale: compounds.hammer(
        (0.065 * scale, 0.011 * scale, 0.018 * scale), 0.036 * scale, 0.0175 * scale, 0.1
    ),
    "cross": lambda scale: compounds.cross(
        (0.054 * scale, 0.04 * scale), 0.011 * scale, 0.018 * scale, 0.0175 * scale, 0.1
    ),
    "ring": lambda scale: compounds.ring(0.046 * scale, 0.01 * scale, 0.018 * scale, 0.1),
}

CLUTTER = ("box", "cylinder", "sphere", "ellipsoid", "hammer")  # on the table of Clutter-v0
BOX = NAMED["box"](1.0)  # the Sawyer tasks'


def find_objects(text: str, width: float) -> tuple[Object, ...]:
    """What ``text`` names, fit for fingers ``width`` m apart: one of NAMED, "random" (the training set),
    "held-out", or an OBJ or STL file.

    Raises:
        BackendError: there is no such object, or it cannot be taken.
    """
    if text in NAMED:
        return (NAMED[text](width / SAWYER_WIDTH),)
    if text == "random":
        return object_set(TRAINING_SEED, TRAINING, width)
    if text == "held-out":
        return object_set(HELD_OUT_SEED, HELD_OUT, width)
    if Path(text).suffix.lower() in SUFFIXES:
        return (mesh_object(Path(text), width),)
    raise BackendError(
        f"no object {text!r}: choose {', '.join(NAMED)}, random, held-out, FILE.obj or FILE.stl"
    )
