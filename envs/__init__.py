"""Simulated tasks for robot arms, for gymnasium; ``import envs`` registers them and imports no simulator."""

from __future__ import annotations

from typing import Any

import gymnasium

from envs.backends.base import Backend, BackendError, OptionError, Readings
from envs.backends.choice import Resolved, resolve
from envs.tasks import SAWYER_IDS, TASKS

__all__ = [
    "SAWYER_IDS",
    "TASKS",
    "Backend",
    "BackendError",
    "OptionError",
    "Readings",
    "Resolved",
    "make",
    "resolve",
]

for _id, _entry_point in TASKS.items():
    gymnasium.register(_id, entry_point=_entry_point)


def make(id: str, **options: Any) -> gymnasium.Env:
    """``gymnasium.make`` that also takes the id "auto" (see :func:`resolve`).

    Raises:
        BackendError: the simulator asked for does not work.
        ValueError: an option has a value it does not know.
    """
    resolved = resolve(id, options)
    if resolved.backend is not None:
        options["backend"] = resolved.backend
    return gymnasium.make(resolved.id, **options)
