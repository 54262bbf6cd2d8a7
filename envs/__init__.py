"""Simulated Sawyer tasks for gymnasium; ``import envs`` registers them and imports no simulator."""

from __future__ import annotations

from typing import Any

import gymnasium

from envs.backends.base import Backend, BackendError, Readings
from envs.backends.choice import SAWYER_IDS, Resolved, resolve

__all__ = ["SAWYER_IDS", "Backend", "BackendError", "Readings", "Resolved", "make", "resolve"]

gymnasium.register("SawyerGrasp-v0", entry_point="envs.tasks.sawyer:SawyerGraspEnv")
gymnasium.register("SawyerLift-v0", entry_point="envs.tasks.sawyer:SawyerLiftEnv")


def make(id: str, **options: Any) -> gymnasium.Env:
    """``gymnasium.make`` that also takes the id "auto" (see :func:`resolve`).

    Raises:
        BackendError: the simulator asked for does not work.
        ValueError: an option has a value it does not know.
    """
    backend = options.get("backend", "auto")
    if isinstance(backend, str) and (id == "auto" or id in SAWYER_IDS):
        resolved = resolve(id, backend, options.get("scene"))
        id = resolved.id
        if resolved.backend is not None:
            options["backend"] = resolved.backend
    return gymnasium.make(id, **options)
