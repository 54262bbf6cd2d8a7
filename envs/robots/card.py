"""A robot's card: which parts of its MJCF file the tasks are about. Imports no simulator.

Positions are in m and angles in rad, in the base frame: that of the MJCF file's world, turned by ``heading``
so that +x is forward. The tool frame has its origin at the grasp point between the finger tips, z along the
approach (out of the hand), y along the line on which the fingers close, from right to left.
"""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from envs.backends.base import BackendError
from envs.yaml_files import read_yaml

SAWYER_RADIUS = 0.595  # m, of the middle of the Sawyer's region
NARROWEST, WIDEST = 0.005, 1.0  # m between open fingers
NEAREST, FARTHEST = 0.02, 10.0  # m from the base to the region's middle
SHORTEST, LONGEST = 0.0001, 0.05  # s of a time step
Pair = tuple[float, float]


@dataclass(frozen=True)
class Tool:
    """The tool frame, in the frame of a body."""

    body: str
    position: tuple[float, ...]  # (3,) m
    quaternion: tuple[float, ...]  # (4,) w x y z


@dataclass(frozen=True)
class Gripper:
    """How the hand opens and what of it touches an object."""

    # Commands of actuators, [closed, open]; a name that is no actuator's is a joint's, with its positions.
    drives: Mapping[str, Pair] = field(hash=False)
    # Positions of joints, [closed, open], which the opening is read from.
    joints: Mapping[str, Pair] = field(hash=False)
    # Bodies, left and right, whose shapes touch an object; of one that does not move against the hand (a
    # fixed jaw) only the part near the tool counts.
    fingers: tuple[tuple[str, ...], tuple[str, ...]]
    width: float  # m between the fingers when open


@dataclass(frozen=True)
class RobotCard:
    """See the module. ``model`` is None for the Sawyer, which is made by the program."""

    name: str
    model: str | None  # MJCF file, absolute
    arm_joints: tuple[str, ...]  # J hinges from the base to the hand
    home: tuple[float, ...]  # (J,) rad; tool straight down over the middle of the region
    speed: tuple[float, ...]  # (J,) rad/s, an action of 1
    tool: Tool
    region: tuple[Pair, Pair]  # m, x and y of objects, lowest and highest
    gripper: Gripper | None = None
    gripper_model: str | None = None  # a second MJCF file, hung on the site ``attach_at`` of the first
    attach_at: str | None = None
    heading: float = 0.0  # rad, the turn of the MJCF file's world about z that brings the arm's front to +x
    table_height: float = 0.0  # m, of the table's top
    timestep: float = 0.005  # s of physics

    @property
    def size(self) -> float:
        """Radius of the region's middle over the Sawyer's: lengths in tasks are in units of it."""
        (left, right), (near, far) = self.region
        return math.hypot((left + right) / 2, (near + far) / 2) / SAWYER_RADIUS


def need_gripper(card: RobotCard, task: str) -> Gripper:
    """The robot's gripper. Raises BackendError if it has none."""
    if card.gripper is None:
        raise BackendError(
            f"{card.model or card.name} has no gripper, which {task} needs: reach and push work without; "
            "a card can name one (gripper), or a second file (gripper_model)"
        )
    return card.gripper


def read_card(path: str | os.PathLike[str]) -> RobotCard:
    """Raises BackendError, in one line, for a file that is no card."""
    path = Path(path)
    try:
        given = read_yaml(path)
    except ValueError as error:
        raise BackendError(f"cannot read the card {path}: {error}") from error
    if not isinstance(given, dict):
        raise BackendError(f"the card {path} is no table of fields: it has {', '.join(FORMS)}")
    given = dict[str, Any](name=path.stem) | given
    if given.get("speed") is None and _names(given.get("arm_joints")):
        given["speed"] = [1.0] * len(given["arm_joints"])
    missing = [name for name in NEEDED if given.get(name) is None]
    if missing:
        raise BackendError(f"the card {path} has no {missing[0]}: {FORMS[missing[0]][1]}")
    _check(given, FORMS, f"the card {path}")
    for name, forms in (("tool", TOOL_FORMS), ("gripper", GRIPPER_FORMS)):
        if given.get(name) is not None:
            _check(given[name], forms, f"the card {path}, in {name},", all_needed=True)
    count = len(given["arm_joints"])
    for name in ("home", "speed"):
        if len(given[name]) != count:
            raise BackendError(
                f"the card {path} has {len(given[name])} numbers in {name} for {count} arm joints"
            )
    if (given.get("gripper_model") is None) != (given.get("attach_at") is None):
        raise BackendError(f"the card {path} must name gripper_model and attach_at (a site) together")
    for name in ("model", "gripper_model"):
        if given.get(name) is not None:
            given[name] = str((path.parent / given[name]).resolve())
    values = {name: value for name, value in _frozen(given).items() if value is not None}
    values["tool"] = Tool(**values["tool"])
    if "gripper" in values:
        values["gripper"] = Gripper(**values["gripper"])
    return RobotCard(**values)


def write_card(card: RobotCard, path: str | os.PathLike[str]) -> None:
    """YAML that :func:`read_card` reads; files in or below the card's folder are named from there."""
    Path(path).write_text(card_text(card, Path(path).resolve().parent), encoding="utf-8")


def card_text(card: RobotCard, folder: Path | None = None) -> str:
    lines = []
    for name in FORMS:
        value = _plain(getattr(card, name))
        if name in ("model", "gripper_model") and value is not None and folder is not None:
            inside = Path(value).is_relative_to(folder)
            value = Path(value).relative_to(folder).as_posix() if inside else value
        lines.append(
            f"{name}: {_flow(value)}\n" if name != "gripper" or value is None else _gripper_text(value)
        )
    return "".join(lines)


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _gripper_text(gripper: dict[str, Any]) -> str:
    return "gripper:\n" + "".join(f"  {name}: {_flow(value)}\n" for name, value in gripper.items())


def _plain(value: Any) -> Any:
    if isinstance(value, Tool | Gripper):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return round(float(value), 5) if isinstance(value, float) else value


def _frozen(value: Any) -> Any:
    """Lists as tuples, whole numbers among them as floats."""
    if isinstance(value, dict):
        return {name: _frozen(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check(given: Any, forms: Mapping[str, Any], where: str, all_needed: bool = False) -> None:
    """Raise BackendError for a field that is unknown, missing, or of another form."""
    if not isinstance(given, dict) or not set(given) <= set(forms):
        strange = (
            ", ".join(map(str, set(given) - set(forms))) if isinstance(given, dict) else reprlib.repr(given)
        )
        raise BackendError(f"{where} has {strange}: it knows {', '.join(forms)}")
    for name, (fits, form) in forms.items():
        if all_needed and name not in given:
            raise BackendError(f"{where} has no {name}: {form}")
        if given.get(name) is not None and not fits(given[name]):
            raise BackendError(f"{where} has {name} {reprlib.repr(given[name])}: {form}")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(map(_text, value))
        and len(set(value)) == len(value)
    )


def _numbers(count: int | None = None) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(_number, value)) and count in (None, len(value))


def _interval(value: Any) -> bool:
    return _numbers(2)(value) and value[0] < value[1]


def _region(value: Any) -> bool:
    if not (isinstance(value, list) and len(value) == 2 and all(map(_interval, value))):
        return False
    return NEAREST <= math.hypot(*(sum(ends) / 2 for ends in value)) <= FARTHEST


def _ends(value: Any) -> bool:
    """Names with two different numbers each."""
    return (
        isinstance(value, dict)
        and len(value) > 0
        and all(_text(name) and _numbers(2)(ends) and ends[0] != ends[1] for name, ends in value.items())
    )


NEEDED = ("model", "arm_joints", "home", "tool", "region")
FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (
        lambda value: _text(value) and value.isprintable() and os.sep not in value,
        "it is a word, part of the names of files",
    ),
    "model": (_text, "it is an MJCF file, from the card's folder"),
    "gripper_model": (_text, "it is an MJCF file, from the card's folder"),
    "attach_at": (_text, "it is the site of the model that the gripper is hung on"),
    "arm_joints": (_names, "they are the names of the arm's hinges from base to hand, each once"),
    "home": (_numbers(), "it is the arm's joint positions in rad"),
    "speed": (
        lambda value: _numbers()(value) and all(each > 0 for each in value),
        "it is the arm's highest joint velocities in rad/s",
    ),
    "tool": (lambda value: isinstance(value, dict), "it is {body, position, quaternion}"),
    "gripper": (lambda value: isinstance(value, dict), "it is {drives, joints, fingers, width}"),
    "heading": (_number, "it is the turn of the file about z in rad that brings the arm's front to +x"),
    "table_height": (_number, "it is z of the table's top in m"),
    "region": (
        lambda value: _region(value),
        "it is [[lowest x, highest x], [lowest y, highest y]] in m, "
        f"its middle {NEAREST} to {FARTHEST} m from the base",
    ),
    "timestep": (
        lambda value: _number(value) and SHORTEST <= value <= LONGEST,
        f"it is the physics' time step in s, from {SHORTEST} to {LONGEST}",
    ),
}
TOOL_FORMS = {
    "body": (_text, "it is the name of a body"),
    "position": (_numbers(3), "it is x, y, z in m in the body's frame"),
    "quaternion": (
        lambda value: _numbers(4)(value) and 0.1 < math.hypot(*value) < 10.0,
        "it is w, x, y, z, a unit quaternion: the frame's turn against the body's",
    ),
}
GRIPPER_FORMS = {
    "drives": (_ends, "it is {actuator or joint: [closed, open]}"),
    "joints": (_ends, "it is {joint: [closed, open]}, in rad or m"),
    "fingers": (
        lambda value: isinstance(value, list) and len(value) == 2 and all(map(_names, value)),
        "they are two lists of bodies, [[left], [right]]",
    ),
    "width": (
        lambda value: _number(value) and NARROWEST <= value <= WIDEST,
        f"it is the way between the open fingers in m, from {NARROWEST} to {WIDEST}",
    ),
}
