"""What an environment has that can be drawn elsewhere, such as in a browser, while it is stepped here.

An environment like this has three methods. ``snapshot`` is cheap and belongs to the process that steps; the
others belong to a second environment, made with the same arguments in the process that draws.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

Marks = tuple[tuple[np.ndarray, float], ...]  # balls in a picture: place (3,) and radius, in m


class Shape(NamedTuple):
    """A mesh that moves with a body."""

    body: int
    vertices: np.ndarray  # (V, 3) float32 m, in the body's frame
    faces: np.ndarray  # (F, 3) uint32, counter-clockwise from outside
    colour: tuple[float, ...]  # red, green, blue, opacity in 0 … 1


class Seen(NamedTuple):
    """One instant."""

    poses: np.ndarray  # (B, 7) float32: the bodies' places in m and turns as quaternions w x y z
    marks: Marks = ()  # balls that are no part of the world, such as a goal


class Drawn(Protocol):
    """The world of a snapshot."""

    def shapes(self) -> tuple[Shape, ...]: ...

    def viewpoint(self) -> tuple[np.ndarray, np.ndarray]:
        """(3,) m, where to look from, and (3,) m, at what."""
        ...


class Viewable(Protocol):
    """Such an environment. It may also have ``photo(snapshot, camera, width, height)``, an (h, w, 3) uint8
    picture, and ``cameras``, the names of its cameras.
    """

    def snapshot(self) -> np.ndarray | None:
        """(n,) float32: all that a drawing of the present instant needs; None: it cannot be drawn."""
        ...

    def drawing_of(self, snapshot: np.ndarray) -> tuple[int, Drawn]:
        """The world of ``snapshot`` and its number: worlds of one number are the same."""
        ...

    def seen(self, snapshot: np.ndarray) -> Seen: ...
