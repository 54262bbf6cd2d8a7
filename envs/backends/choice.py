"""Which simulator, and so which environment, can run on this machine. Imports no simulator."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from envs.backends.base import Backend, BackendError
from envs.backends.coppelia.probe import probe, strange
from envs.objects.scene import Scene
from envs.robots.card import RobotCard
from envs.tasks import BOTH_SIMULATORS, TASKS
from envs.tasks.sight import MODES

BACKENDS = ("auto", "mujoco", "coppelia")


class Resolved(NamedTuple):
    """A choice: the environment's id, its backend (None where it has none), and one line that says why."""

    id: str
    backend: str | None
    reason: str


def resolve(id: str, options: Mapping[str, Any] | None = None) -> Resolved:
    """Turn the id "auto" and the option ``backend`` "auto" into what works here; ids of others pass through.
    CoppeliaSim is seen to simulate before it is chosen; the option ``scene`` is for it alone.

    Raises:
        BackendError: a task was asked for and no simulator that has it works.
        ValueError: an unknown backend.
    """
    if id != "auto" and id not in TASKS:
        return Resolved(id, None, "as asked")
    options = options or {}
    backend = options.get("backend", "auto")
    if not isinstance(backend, str):  # what makes one
        return Resolved("SawyerGrasp-v0" if id == "auto" else id, None, "as asked")
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}: choose one of {', '.join(BACKENDS)}")
    task = "SawyerGrasp-v0" if id == "auto" else id
    if backend != "auto":
        return Resolved(task, backend, "as asked")
    if options.get("scene") is not None:
        return Resolved(task, "coppelia", "CoppeliaSim, as a scene was given")
    sees = options.get("observation") in MODES  # MuJoCo steps and draws many times as quickly
    if sees or options.get("robot", "sawyer") != "sawyer" or task not in BOTH_SIMULATORS:
        no_mujoco = mujoco_obstacle()
        if no_mujoco is not None:
            raise BackendError(f"{id} needs MuJoCo: {no_mujoco}; pip install mujoco")
        return Resolved(task, "mujoco", "MuJoCo")
    no_coppelia, no_mujoco = coppelia_obstacle() or simulation_obstacle(), mujoco_obstacle()
    if no_coppelia is None:
        seen = probe().version
        return Resolved(task, "coppelia", strange(seen) or f"CoppeliaSim {seen}")
    if no_mujoco is None:
        return Resolved(task, "mujoco", f"MuJoCo; no CoppeliaSim: {no_coppelia}")
    if id == "auto":
        return Resolved("Pendulum-v1", None, f"no CoppeliaSim: {no_coppelia}; no MuJoCo: {no_mujoco}")
    raise BackendError(f"{id} finds no simulator: {no_coppelia}; {no_mujoco}; pip install mujoco")


def coppelia_obstacle() -> str | None:
    """What keeps CoppeliaSim from working, in a few words; None: nothing was found. Starts nothing."""
    spec = importlib.util.find_spec("pyrep")
    if spec is None:
        return "PyRep is not installed"
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not any((folder / "robots").is_dir() and (folder / "backend").is_dir() for folder in folders):
        return "the installed pyrep is PyPI's file manager of that name, not the robot library stepjam/PyRep"
    root = os.environ.get("COPPELIASIM_ROOT")
    if not root:
        return "COPPELIASIM_ROOT is not set"
    if not root.isascii():
        return f"PyRep takes no letters beyond ASCII, as in COPPELIASIM_ROOT={root}"
    if not any(Path(root).glob("libcoppeliaSim*")):
        return f"COPPELIASIM_ROOT={root} holds no libcoppeliaSim"
    if not any(
        Path(folder).resolve() == Path(root).resolve()
        for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":")
        if folder
    ):
        return "COPPELIASIM_ROOT is not on LD_LIBRARY_PATH"
    return None


def simulation_obstacle() -> str | None:
    """What keeps an installed CoppeliaSim from simulating, in one line; None: nothing. Launches it once."""
    return probe().obstacle


def mujoco_obstacle() -> str | None:
    """What keeps MuJoCo from working, in a few words; None: it is installed."""
    return (
        None if "mujoco" in sys.modules or importlib.util.find_spec("mujoco") else "mujoco is not installed"
    )


def has_display() -> bool:
    """Whether a window can be opened."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def start_backend(
    backend: str | Callable[[], Backend],
    card: RobotCard,
    scenes: tuple[Scene, ...],
    mujoco_only: str | None = None,
    sees: bool = False,
    scene: str | None = None,
    window: bool = False,
    reinit_every: int | None = None,
    as_the_book: bool = False,
) -> Backend:
    """A running simulator: by name, or from a factory. ``card`` and ``scenes`` are MujocoBackend's, what
    follows them CoppeliaBackend's; ``as_the_book`` makes it a BookBackend. ``mujoco_only`` says what
    CoppeliaSim does not have, ``sees`` that a policy's cameras are asked for.

    Raises:
        BackendError: it is missing or does not start, or is given what only the other one has.
        ValueError: an unknown name.
    """
    if not isinstance(backend, str):
        return backend()
    if (mujoco_only is not None or sees) and backend == "auto" and scene is None:
        backend = "mujoco"
    name = resolve("SawyerGrasp-v0", {"backend": backend, "scene": scene}).backend
    if name == "mujoco":
        given = {
            "scene": scene is not None,
            "reinit_every": reinit_every is not None,
            "mechanics": as_the_book,
        }
        refused = [option for option, asked in given.items() if asked]
        if refused:
            raise BackendError(f"{refused[0]} is for the backend coppelia, not mujoco")
        try:
            from envs.backends.mujoco.backend import MujocoBackend
        except AttributeError as error:  # of an OpenGL library that is not there
            raise BackendError(
                f"mujoco does not import with MUJOCO_GL={os.environ.get('MUJOCO_GL')} ({error}): unset it"
            ) from error

        return MujocoBackend(card, scenes)
    if mujoco_only is not None:
        raise BackendError(f"{mujoco_only} is for the backend mujoco, not coppelia")
    obstacle = coppelia_obstacle()
    if obstacle is not None:
        raise BackendError(f"backend coppelia does not work: {obstacle}")
    if sees and not has_display():  # without one its OpenGL may end the process
        raise BackendError(
            "cameras of CoppeliaSim need OpenGL on a display, and DISPLAY is not set: apt-get install xvfb, "
            "and begin the command with xvfb-run -a"
        )
    from envs.backends.coppelia.backend import CoppeliaBackend

    if as_the_book:
        from envs.backends.coppelia.book import BookBackend

        return BookBackend(scene, window, reinit_every)
    return CoppeliaBackend(scene, window, reinit_every)
