"""A scene's card: which of its objects the tasks are about. Imports no simulator."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from envs.backends.base import BackendError
from envs.yaml_files import read_yaml

Interval = tuple[float, float]


@dataclass(frozen=True)
class Card:
    """Names in a scene of CoppeliaSim, and where episodes begin. The default is the book's scene.

    What is None comes from the scene: the pads are the outermost shapes of a gripper's two fingers, home is
    how the arm stands, the region is the table's top within 0.2 m of the target.
    """

    arm: str = "Sawyer"  # a class of pyrep.robots.arms
    gripper: str = "BaxterGripper"  # a class of pyrep.robots.end_effectors
    pads: tuple[str, str] | None = None  # left, right
    table: str = "diningTable"
    target: str = "target"
    home: tuple[float, ...] | None = None  # rad
    region: tuple[Interval, Interval] | None = None  # m in the world: x and y of a random target


BOOK = Card(region=((0.10, 0.45), (-0.30, 0.30)))  # where the book's random targets lie


def read_card(scene: str) -> Card:
    """The YAML file beside the scene, of its name; without one the scene is taken for the book's.

    Raises BackendError, in one line, for a file that is not a card.
    """
    path = Path(scene).with_suffix(".yaml")
    if not path.is_file():
        return BOOK
    try:
        given = read_yaml(path)
    except ValueError as error:
        raise BackendError(f"cannot read the card {path}: {error}") from error
    known = {field.name for field in fields(Card)}
    if not isinstance(given, dict) or not set(given) <= known:
        strange = (
            f" has {', '.join(map(str, set(given) - known))}" if isinstance(given, dict) else " is empty"
        )
        raise BackendError(f"the card {path}{strange}: it knows {', '.join(sorted(known))}")
    for name, value in given.items():
        if not _fits(name, value):
            raise BackendError(f"the card {path} has {name} {value!r}: {FORMS[name]}")
    if "region" in given:
        given["region"] = tuple(map(tuple, given["region"]))
    values: dict[str, Any] = {
        name: tuple(value) if type(value) is list else value for name, value in given.items()
    }
    return Card(**values)


FORMS = {
    "arm": "it is a class of pyrep.robots.arms, such as Panda",
    "gripper": "it is a class of pyrep.robots.end_effectors, such as PandaGripper",
    "pads": "they are the names of two shapes, [left, right]",
    "table": "it is the name of a shape",
    "target": "it is the name of a shape",
    "home": "it is the arm's joint positions in rad",
    "region": "it is [[lowest x, highest x], [lowest y, highest y]] in m, in the world",
}


def _fits(name: str, value: Any) -> bool:
    if name == "home":
        return isinstance(value, list) and all(map(_is_number, value))
    if name == "pads":
        return isinstance(value, list) and len(value) == 2 and all(isinstance(pad, str) for pad in value)
    if name == "region":
        return isinstance(value, list) and len(value) == 2 and all(map(_is_interval, value))
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_interval(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and value[0] <= value[1]
    )
