"""What stands on the table."""

from __future__ import annotations

from dataclasses import dataclass

from envs.objects.fixtures import Fixture
from envs.objects.shape import Object


@dataclass(frozen=True)
class Scene:
    """The first of ``objects`` is the one that the task is about; where there is none, it is the fixture's
    handle.
    """

    objects: tuple[Object, ...] = ()
    fixture: Fixture | None = None


@dataclass(frozen=True)
class Placing:
    """Where the things of a scene are at the start of an episode, on the table; m and rad in the base's
    frame.
    """

    objects: tuple[tuple[float, float, float], ...] = ()  # x, y, yaw of each
    fixture: tuple[float, float, float] | None = None  # the same
    height: float = 0.0  # m above the table of the point that the hand goes to, in a scene without things
