"""Simulated tasks for robot arms, for gymnasium; ``import envs`` registers them and imports no simulator."""

from __future__ import annotations

from typing import Any

import gymnasium

from envs.backends.base import Backend, BackendError, Readings
from envs.backends.choice import SAWYER_IDS, Resolved, resolve

__all__ = ["SAWYER_IDS", "TASKS", "Backend", "BackendError", "Readings", "Resolved", "make", "resolve"]

TASKS = {
    "Reach-v0": "envs.tasks.reach:ReachEnv",
    "Grasp-v0": "envs.tasks.grasp:GraspEnv",
    "Lift-v0": "envs.tasks.lift:LiftEnv",
    "Push-v0": "envs.tasks.goals:PushEnv",
    "PickAndPlace-v0": "envs.tasks.goals:PickAndPlaceEnv",
    "Stack-v0": "envs.tasks.assembly:StackEnv",
    "Clutter-v0": "envs.tasks.lift:ClutterEnv",
    "Drawer-v0": "envs.tasks.fixtures:DrawerEnv",
    "Button-v0": "envs.tasks.fixtures:ButtonEnv",
    "Peg-v0": "envs.tasks.assembly:PegEnv",
    "SawyerGrasp-v0": "envs.tasks.grasp:GraspEnv",
    "SawyerLift-v0": "envs.tasks.lift:LiftEnv",
}
for _id, _entry_point in TASKS.items():
    gymnasium.register(_id, entry_point=_entry_point)


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
