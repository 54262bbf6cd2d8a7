"""What went wrong in somebody else's code, in one line that names the place."""

from __future__ import annotations

import importlib.metadata
import os
import sysconfig
import traceback
from pathlib import Path
from typing import Any

import gymnasium

from envs.backends.base import BackendError, OptionError
from sac_dist.settings import ConfigError

# Packages of environments that fail under this machine's mujoco, by the folder of their code: the mujoco that
# they were seen to work with.
PINS = {
    "gymnasium_robotics": ("gymnasium-robotics 1.4.2", "3.3.7"),
    "dm_control": ("dm_control 1.0.50", "3.17.0"),
    "robosuite": ("robosuite 1.5.2", "3.3.7"),
}
# What pip calls the suites of docs/suites.md, by the name that they are imported by.
DISTRIBUTIONS = {
    "gymnasium_robotics": "gymnasium-robotics",
    "shimmy": f"shimmy dm_control mujoco=={PINS['dm_control'][1]}",
    "dm_control": "dm_control",
    "metaworld": "metaworld",
    "robosuite": "robosuite==1.5.2",
    "mani_skill": "mani_skill",
    "panda_gym": "panda-gym",
}
# Packages that only pass on what an environment does: the environment's own line is above theirs.
BETWEEN = tuple(f"{os.sep}{package}{os.sep}" for package in ("gymnasium", "numpy", "mujoco"))
HERE = str(Path(__file__).parents[1]) + os.sep
STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"] + os.sep
PACKAGES = "site-packages"
WRITTEN_FOR_USERS = (BackendError, OptionError, ConfigError, ImportError, gymnasium.error.Error)


class NoPicture(ConfigError):
    """The environment cannot be drawn here; it may well be played."""


def reason(error: BaseException) -> str:
    """The first line of what went wrong, with the exception's name and place unless users are meant."""
    lines = str(error).strip().splitlines()
    if isinstance(error, WRITTEN_FOR_USERS) and lines:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        return lines[0] + (f": {install}" if missing and (install := install_line(missing)) else "")
    words = lines[0] if lines else _asserted(error)
    what = f"{type(error).__name__}: {words}" if words else type(error).__name__
    return f"{what}{_place(error)}{_pin(error)}"


def install_line(package: str) -> str:
    """How to install a suite, with the mujoco that it works with, or nothing for any other package."""
    if package not in DISTRIBUTIONS:
        return ""
    mujoco = f" mujoco=={PINS[package][1]}" if package in PINS else ""
    return f"pip install {DISTRIBUTIONS[package]}{mujoco}"


def _asserted(error: BaseException) -> str:
    """The line of an assertion without words."""
    frames = traceback.extract_tb(error.__traceback__)
    line = frames[-1].line if frames else None
    return line if line is not None and line.startswith("assert ") else ""


def _files(error: BaseException) -> list[tuple[str, int | None]]:
    """File and line of each call of others' code, the deepest last."""
    frames = traceback.extract_tb(error.__traceback__)
    return [(frame.filename, frame.lineno) for frame in frames if not frame.filename.startswith(HERE)]


def _place(error: BaseException) -> str:
    """ " (file.py:12)": the deepest line of the environment's own code, else of anybody's."""
    files = _files(error)
    own = [(name, line) for name, line in files if not _is_between(name)] or files
    if not own:
        return ""
    name, line = own[-1]
    if PACKAGES in name:
        return f" ({name.rpartition(PACKAGES + os.sep)[2]}:{line})"
    return f" ({os.path.relpath(name) if name.startswith(os.getcwd() + os.sep) else name}:{line})"


def _is_between(name: str) -> bool:
    _, found, inside = name.rpartition(PACKAGES)
    if found:
        return inside.startswith(BETWEEN)
    return name.startswith((STANDARD_LIBRARY, "<frozen"))


def _pin(error: BaseException) -> str:
    for package, (release, mujoco) in PINS.items():
        if any(f"{os.sep}{package}{os.sep}" in name for name, _ in _files(error)):
            try:
                installed: Any = importlib.metadata.version("mujoco")
            except importlib.metadata.PackageNotFoundError:
                continue
            if installed != mujoco:
                return (
                    f"; {release} works with mujoco {mujoco}, this is {installed}: "
                    f"pip install mujoco=={mujoco}"
                )
    return ""
