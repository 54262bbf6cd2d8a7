"""What keys, gamepads and SpaceMice mean for a hand."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Of a motion in the viewer's frame: forward, left, up, and turns about these axes.
FORWARD, LEFT, UP, ROLL, PITCH, YAW = range(6)
MOVES = {
    **{"KeyW": (FORWARD, 1.0), "KeyS": (FORWARD, -1.0), "KeyA": (LEFT, 1.0), "KeyD": (LEFT, -1.0)},
    **{"KeyR": (UP, 1.0), "KeyF": (UP, -1.0), "KeyQ": (YAW, 1.0), "KeyE": (YAW, -1.0)},
    **{"ArrowUp": (PITCH, 1.0), "ArrowDown": (PITCH, -1.0)},
    **{"ArrowLeft": (ROLL, -1.0), "ArrowRight": (ROLL, 1.0)},
}
SLOW, SLOWLY = ("ShiftLeft", "ShiftRight"), 0.25
GRIPPER, TAKE, DONE, DISCARD, REDO = "Space", "KeyT", "Enter", "Backspace", "KeyZ"
# The axes of a gamepad of the standard layout, and of a SpaceMouse, which a browser shows as a gamepad of
# another layout with six of them.
PAD = ((1, FORWARD, -1.0), (0, LEFT, -1.0), (3, UP, -1.0), (2, YAW, -1.0))
SPACEMOUSE = (
    *((1, FORWARD, -1.0), (0, LEFT, -1.0), (2, UP, -1.0)),
    *((4, ROLL, -1.0), (3, PITCH, -1.0), (5, YAW, -1.0)),
)
PAD_BUTTONS = {0: GRIPPER, 1: DISCARD, 2: REDO, 3: DONE}
SPACEMOUSE_BUTTONS = {0: GRIPPER, 1: DONE}
HOLDS = (5, 7)  # the right shoulder and trigger: takes over while it is pressed
DEAD = 0.12  # of a stick, in its middle
MOST = 64  # keys, axes and buttons of a message


@dataclass(frozen=True)
class Input:
    """What is pressed now."""

    keys: frozenset[str] = frozenset()
    axes: tuple[float, ...] = ()
    buttons: tuple[bool, ...] = ()
    standard: bool = True  # the layout of the gamepad

    @classmethod
    def of(cls, message: Any) -> Input:
        """Raises ValueError for what no page sends."""
        parts = json.loads(message) if isinstance(message, str) else None
        if not isinstance(parts, dict):
            raise ValueError("no input")
        keys, axes, buttons = (parts.get(name, []) for name in ("keys", "axes", "buttons"))
        if not all(isinstance(each, list) and len(each) <= MOST for each in (keys, axes, buttons)):
            raise ValueError("no lists")
        numbers = tuple(float(axis) for axis in axes)
        if not all(math.isfinite(axis) for axis in numbers) or not all(isinstance(key, str) for key in keys):
            raise ValueError("no numbers or no names")
        return cls(frozenset(keys), numbers, tuple(map(bool, buttons)), parts.get("standard", True) is True)

    def motion(self) -> np.ndarray:
        """(6,) in [-1, 1]."""
        motion = np.zeros(6)
        for key in self.keys & MOVES.keys():
            axis, sign = MOVES[key]
            motion[axis] += sign
        if self.standard or len(self.axes) >= 6:
            for source, axis, sign in PAD if self.standard else SPACEMOUSE:
                if source < len(self.axes) and abs(self.axes[source]) > DEAD:
                    motion[axis] += sign * self.axes[source]
        return np.clip(motion, -1.0, 1.0) * (SLOWLY if self.keys & set(SLOW) else 1.0)

    def pressed(self) -> frozenset[str]:
        """The keys, and the buttons by the keys that they stand for."""
        meant = PAD_BUTTONS if self.standard else SPACEMOUSE_BUTTONS
        on = (meant[index] for index, pressed in enumerate(self.buttons) if pressed and index in meant)
        return self.keys | frozenset(on)

    def holds(self) -> bool:
        return any(index < len(self.buttons) and self.buttons[index] for index in HOLDS)


@dataclass
class Grip:
    """What one person has chosen by keys that switch."""

    opening: float = 1.0
    taken: bool = False
    _last: Input = field(default_factory=Input)

    def take(self, now: Input) -> frozenset[str]:
        """The keys that were not pressed before."""
        fresh = now.pressed() - self._last.pressed()
        self._last = now
        if GRIPPER in fresh:
            self.opening = 1.0 - self.opening
        if TAKE in fresh:
            self.taken = not self.taken
        return fresh

    def match(self, held: bool, opening: float) -> None:
        """Leave the gripper as it is."""
        self.opening = float(opening > 0.5 and not held)

    def takes_over(self) -> bool:
        return self.taken or self._last.holds()


def turned(motion: np.ndarray, angle: float) -> np.ndarray:
    """(6,) ``motion`` turned by ``angle`` rad about the vertical: from the frame of a viewer who looks in
    that direction to the base's.
    """
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    return np.concatenate([rotation @ motion[:3], rotation @ motion[3:]])
