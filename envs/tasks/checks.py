"""What the options of a task may be."""

from __future__ import annotations

import numpy as np

from envs.backends.base import OptionError


def check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise OptionError(f"{name} is {value!r}: choose one of {', '.join(map(str, allowed))}")


def check_name(name: str, given: object) -> None:
    if not isinstance(given, str) or not given:
        raise OptionError(f"{name} is {given!r}: it must be text, a name or a file")


def check_count(name: str, count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise OptionError(f"{name} is {count!r}: it must be a whole number above 0")
