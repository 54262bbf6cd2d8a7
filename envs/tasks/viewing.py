"""What arm tasks say so that they can be drawn elsewhere; see envs/viewing.py."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from envs.backends.base import BackendError
from envs.viewing import Marks, Seen


class ViewedTask:
    """A snapshot is [scene, number of marks, x y z radius of each, placement of the bodies]."""

    cameras: ClassVar[tuple[str, ...]] = ("scene", "closeup")
    backend: Any
    readings: Any

    def marks(self, readings: Any) -> Marks:
        raise NotImplementedError

    def snapshot(self) -> np.ndarray | None:
        """(n,) float32: all that a drawing of the present instant needs; None: CoppeliaSim, and before the
        first reset.
        """
        if self.readings is None or not hasattr(self.backend, "placement"):
            return None
        scene, placement = self.backend.placement()
        marks = self.marks(self.readings)
        numbers = [scene, len(marks)]
        for position, radius in marks:
            numbers += [*position, radius]
        return np.concatenate([numbers, placement], dtype=np.float32)

    def drawing_of(self, snapshot: np.ndarray) -> tuple[int, Any]:
        scene = int(snapshot[0])
        return scene, self.backend.drawing(scene)

    def seen(self, snapshot: np.ndarray) -> Seen:
        marks, placement = _parts(snapshot)
        seen: Seen = self.backend.drawing(int(snapshot[0])).seen(placement)
        return seen._replace(marks=marks)

    def photo(self, snapshot: np.ndarray, camera: str, width: int, height: int) -> np.ndarray:
        """(height, width, 3) uint8; changes the present instant to that of ``snapshot``. Raises BackendError
        where OpenGL does not work.
        """
        marks, placement = _parts(snapshot)
        self.backend.put(int(snapshot[0]), placement)
        picture: np.ndarray = self.backend.render(camera, width, height, marks)
        return picture


def _parts(snapshot: np.ndarray) -> tuple[Marks, np.ndarray]:
    count = int(snapshot[1])
    if not 0 <= 2 + 4 * count <= len(snapshot):
        raise BackendError("this is no snapshot of an arm task")
    marks = snapshot[2 : 2 + 4 * count].reshape(count, 4)
    return tuple((mark[:3], float(mark[3])) for mark in marks), snapshot[2 + 4 * count :]
