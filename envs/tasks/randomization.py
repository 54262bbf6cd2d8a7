"""What is drawn anew each episode so that a policy works on a robot that is not exactly the simulated one.

Domain randomisation as Tobin et al. 2017 (arXiv 1703.06907) and Peng et al. 2018 (arXiv 1710.06537) have it.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.backends.base import OptionError
from envs.yaml_files import read_yaml

LONGEST_DELAY = 100  # control steps


class Quantity(NamedTuple):
    """``least`` and ``most`` are the ends of what makes sense; a ``whole`` one is drawn as a whole number."""

    meaning: str
    usual: float
    least: float = 0.0
    whole: bool = False
    most: float = math.inf

    def allows(self, value: Any) -> bool:
        is_number = type(value) in (int, float) and math.isfinite(value)
        return is_number and self.least <= value <= self.most and not (self.whole and value % 1)

    @property
    def wanted(self) -> str:
        """What its values are, for a message."""
        kind = "whole numbers" if self.whole else "numbers"
        least = "" if self.least == -math.inf else f" from {self.least:g} up"
        most = "" if self.most == math.inf else f", at most {self.most:g}"
        return f"{kind}{least}{most}: {self.meaning}"


QUANTITIES = {
    "mass": Quantity("factor on the masses of objects", 1.0, 1e-3),
    "friction": Quantity("factor on the sliding friction of objects and fingers", 1.0),
    "damping": Quantity("factor on the damping of the arm's joints", 1.0),
    "gain": Quantity("factor on the gains of the arm's servos", 1.0, 1e-3),
    "action_delay": Quantity(
        "control steps (0.05 s) until an action takes effect", 0.0, whole=True, most=LONGEST_DELAY
    ),
    "observation_delay": Quantity(
        "control steps (0.05 s) by which observations are old", 0.0, whole=True, most=LONGEST_DELAY
    ),
    "observation_noise": Quantity(
        "standard deviation of what is added to each number of an observation", 0.0
    ),
    "camera": Quantity("m by which the camera is beside its place, along each axis", 0.0, -math.inf),
    "light": Quantity("factor on the brightness of the lights", 1.0),
    "colour": Quantity(
        "of 0 … 1, how far red, green and blue of each thing that a policy's camera sees may be from its own",
        0.0,
        most=1.0,
    ),
    "texture": Quantity(
        "of 0 … 1, how much darker fields of a pattern on table and floor are, which a policy's camera sees",
        0.0,
        most=1.0,
    ),
}
PHYSICS = ("mass", "friction", "damping", "gain")  # what a backend has to change
LOOKS = ("camera", "light", "colour", "texture")  # the same, in pictures


class Randomization:
    """Ranges by name, from a mapping such as {"mass": [0.5, 2], "action_delay": [0, 2]} or from a YAML file
    of it.

    Raises:
        OptionError: in one line, for a file that cannot be read and for ranges that make no sense.
    """

    def __init__(self, given: Mapping[str, Any] | str) -> None:
        where, ranges = "randomize", given
        if isinstance(given, str):
            where, ranges = f"randomize {given}", read(given)
        if not isinstance(ranges, Mapping):
            raise OptionError(f"{where} is no table of ranges such as 'mass: [0.5, 2]'")
        self.ranges = {str(name): checked(where, str(name), span) for name, span in ranges.items()}

    def draw(self, random: np.random.Generator) -> dict[str, float]:
        """A value of each quantity in its range, uniform."""
        return {
            name: float(
                random.integers(int(low), int(high) + 1)
                if QUANTITIES[name].whole
                else random.uniform(low, high)
            )
            for name, (low, high) in self.ranges.items()
        }


def read(path: str) -> Any:
    try:
        return read_yaml(Path(path))
    except ValueError as error:
        raise OptionError(f"cannot read randomize {path}: {error}") from None


def checked(where: str, name: str, span: Any) -> tuple[float, float]:
    if name not in QUANTITIES:
        raise OptionError(f"{where} has {name!r}: it knows {', '.join(QUANTITIES)}")
    quantity = QUANTITIES[name]
    is_span = isinstance(span, list | tuple) and len(span) == 2
    if not is_span or not all(map(quantity.allows, span)) or span[0] > span[1]:
        raise OptionError(
            f"{where} has {name} {reprlib.repr(span)}: it is [lowest, highest], {quantity.wanted}"
        )
    return float(span[0]), float(span[1])
