"""Where the model files lie that a scene of CoppeliaSim is built from. Imports no simulator."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from envs.backends.base import BackendError

MODELS = ("arms/Sawyer.ttm", "end_effectors/BaxterGripper.ttm")


def model_files() -> list[Path]:
    """The files of the arm and of the gripper. Raises BackendError with what is in none of the folders."""
    folders = list(model_folders())
    files = [
        next((folder / name for folder in folders if (folder / name).is_file()), None) for name in MODELS
    ]
    missing = [name for name, file in zip(MODELS, files, strict=True) if file is None]
    if missing:
        raise BackendError(
            f"{missing[0]} is in none of {', '.join(map(str, folders))}: let PYREP_MODELS name the "
            "folder robot_ttms of a checkout of PyRep"
        )
    return [file for file in files if file is not None]


def model_folders() -> Iterator[Path]:
    """$PYREP_MODELS, beside the imported package, and a checkout beside CoppeliaSim or at home."""
    if os.environ.get("PYREP_MODELS"):
        yield Path(os.environ["PYREP_MODELS"])
    spec = importlib.util.find_spec("pyrep")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(folder).parent / "robot_ttms"
    yield Path(os.environ.get("COPPELIASIM_ROOT", ".")).parent / "PyRep/robot_ttms"
    yield Path.home() / "PyRep/robot_ttms"
