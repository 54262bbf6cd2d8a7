"""Where a policy's cameras stand, in every simulator: a policy sees the same from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SAWYER_MIDDLE = (0.595, 0.0, -0.12)  # m, of the region of its table
CLOSEUP = ((1.15, -0.74, 0.36), (0.60, 0.0, -0.03), 36)  # of the Sawyer: from, to, angle of view in degrees
SCENE_FROM = (1.12, -0.50, 0.38)  # m; nearer than the camera for people: a pixel is 7 mm of the table at 64
SCENE_ANGLE, WRIST_ANGLE = 34, 100  # degrees
BESIDE, BEHIND = 0.10, 0.12  # m of the wrist camera from the tool, which it looks at


class View(NamedTuple):
    """A camera in a frame; ``rotation``'s columns are right and up in its picture, and back to who looks."""

    place: np.ndarray  # (3,) m
    rotation: np.ndarray  # (3, 3)
    angle: float  # degrees, from the lower edge to the upper one


def room_views(middle: np.ndarray, size: float) -> dict[str, View]:
    """Those that stand in the room, in the frame in which ``middle`` (3,) m is of the region on its table;
    ``size`` is the arm's (see Arm).
    """
    views = {}
    for name, (start, end, angle) in {
        "scene": (SCENE_FROM, SAWYER_MIDDLE, SCENE_ANGLE),
        "closeup": CLOSEUP,
    }.items():
        place, aim = (middle + size * np.subtract(one, SAWYER_MIDDLE) for one in (start, end))
        views[name] = View(place, facing(place - aim), float(angle))
    return views


def wrist_view(size: float) -> View:
    """In the tool's frame, beside the fingers' plane, so that it sees both of them and what is between."""
    place = size * np.array([BESIDE, 0.0, -BEHIND])
    return View(place, facing(place, up=(1.0, 0.0, 0.0)), float(WRIST_ANGLE))


def facing(back: np.ndarray, up: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> np.ndarray:
    """(3, 3) of a camera that looks along -``back``; ``up`` is above in its picture."""
    back = back / np.linalg.norm(back)
    right = np.cross(up, back)
    right = right / np.linalg.norm(right)
    return np.column_stack([right, np.cross(back, right), back])
