"""A robot by name or file: the Sawyer, a card, an MJCF file, a model of the MuJoCo Menagerie."""

from __future__ import annotations

import os
import re
from pathlib import Path

import envs.backends.mujoco  # noqa: F401  (it chooses OpenGL, before anything here imports mujoco)
from envs.backends.base import BackendError
from envs.robots.card import RobotCard, read_card
from envs.robots.sawyer import CARD

ATTACHES = re.compile(r"attach|flange|mount|(^|_)ee|tool", re.IGNORECASE)

_guessed: dict[tuple[object, ...], tuple[RobotCard, list[str]]] = {}


def find_robot(name: str) -> RobotCard:
    """ "sawyer"; a card FILE.yaml; FILE.xml, whose card is FILE.yaml beside it, or is guessed; a name of the
    MuJoCo Menagerie; or an arm and a gripper, ARM+GRIPPER@SITE, each of them a file or a name.

    Raises BackendError, in one line.
    """
    return robot_and_notes(name)[0]


def robot_and_notes(name: str) -> tuple[RobotCard, list[str]]:
    """:func:`find_robot`, and what there is to say about a card that was guessed."""
    if name == "sawyer":
        return CARD, []
    if name.endswith((".yaml", ".yml")):
        return read_card(name), []
    arm, _, rest = name.partition("+")
    gripper, _, site = rest.partition("@")
    path = _model(arm)
    beside = path.with_suffix(".yaml")
    if not gripper and beside.is_file():
        return read_card(beside), [f"read from {beside}"]
    hand = _model(gripper) if gripper else None
    attach_at = (site or _attachment(path)) if hand is not None else None
    files = [path] if hand is None else [path, hand]
    key = (*files, *(file.stat().st_mtime_ns for file in files), attach_at)
    if key not in _guessed:
        from envs.robots.guess import guess_card

        _guessed[key] = guess_card(str(path), None if hand is None else str(hand), attach_at)
    return _guessed[key]


def _model(name: str) -> Path:
    """The MJCF file: itself, or the Menagerie's."""
    if name.endswith((".xml", ".urdf")) or os.sep in name:
        path = Path(name).resolve()
        if not path.is_file():
            raise BackendError(f"there is no robot {name}: name an MJCF file (.xml) or a card (.yaml)")
        return path
    return _menagerie(name)


def _menagerie(name: str) -> Path:
    try:
        import mujoco_menagerie
    except ImportError:
        raise BackendError(
            f"robot {name!r} is no file (.xml, .yaml), and for names the MuJoCo Menagerie is not installed: "
            "pip install mujoco-menagerie"
        ) from None
    try:
        robot = mujoco_menagerie.get(name)
        return Path(robot.xml(robot.default_model))
    except mujoco_menagerie.UnknownRobotError as error:
        raise BackendError(
            f"robot {name!r} is not in the MuJoCo Menagerie ({_line(error)}): name a file "
            "(.xml, .yaml) or sawyer"
        ) from error
    except (mujoco_menagerie.MenagerieError, OSError) as error:
        root = os.environ.get("MENAGERIE_ROOT")
        way = (
            "correct MENAGERIE_ROOT"
            if root
            else "go online once, or let MENAGERIE_ROOT name a copy of the Menagerie"
        )
        raise BackendError(f"robot {name!r} of the MuJoCo Menagerie: {_line(error)}: {way}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _attachment(path: Path) -> str:
    """The arm's site for grippers, where it is plain which it is."""
    import mujoco

    try:
        names = [site.name for site in mujoco.MjSpec.from_file(str(path)).sites if site.name]
    except ValueError as error:
        raise BackendError(f"cannot read the robot {path}: {_line(error)}") from error
    fitting = [name for name in names if ATTACHES.search(name)]
    if len(fitting) != 1:
        sites = ", ".join(names) or "it has none"
        raise BackendError(
            f"which site of {path} does the gripper hang on? Name it, as ARM+GRIPPER@SITE: {sites}"
        )
    return fitting[0]
