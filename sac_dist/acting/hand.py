"""What a person wants of an arm at any moment, on its way from keys and devices to the process that steps the
arm: shared memory without locks.

A page, a device or a script writes a hand; one process at a time reads it. A hand that is not held for
``STALE`` seconds, as that of a process that died, wants nothing.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from envs.tasks.steering import SEEN
from sac_dist.system.shared import SharedArray

STALE = 1.0  # s

SHOWN = 0.6  # s that the end of an episode stays to be seen

# Columns that the person's side writes; of the buttons, how often they were pressed, and LEFT, how often who
# held the hand has gone.
BEAT, TAKES_OVER, OPENING, ATTENDED, SPEED, DONE, DISCARD, REDO, LEFT = range(9)
MOTION = slice(9, 15)
# Columns that the player's side writes, in another cache line.
STATE, KEPT, WANTED, TICK = range(16, 20)
VIEW = slice(20, 20 + SEEN)
NOBODY, STANDS, MOVES, SUCCEEDED, FAILED = range(5)  # of STATE


class Command(NamedTuple):
    """``motion`` and ``opening`` as in envs/tasks/steering.py."""

    motion: np.ndarray
    opening: float
    takes_over: bool  # acts in place of the policy


class Hand:
    """Picklable to child processes."""

    def __init__(self) -> None:
        self._cells = SharedArray((32,), np.float64)
        self._cells.array[OPENING] = self._cells.array[SPEED] = 1.0

    # For the person's side

    def hold(self, motion: np.ndarray, opening: float, takes_over: bool) -> None:
        """What is wanted from now on; to be said again before it is stale."""
        cells = self._cells.array
        cells[MOTION], cells[OPENING], cells[TAKES_OVER] = motion, opening, takes_over
        cells[BEAT] = time.monotonic()

    def let_go(self) -> None:
        self._cells.array[BEAT] = 0.0
        self._cells.array[LEFT] += 1

    def press(self, button: int) -> None:
        """DONE, DISCARD or REDO."""
        self._cells.array[button] += 1

    def attend(self, player: int | None) -> None:
        """Whom the person looks at: that one plays at the speed of the real robot."""
        self._cells.array[ATTENDED] = 0 if player is None else 1 + player

    def pace(self, speed: float) -> None:
        """1: as the real robot."""
        self._cells.array[SPEED] = speed

    def told(self) -> Told:
        cells = self._cells.array
        state, kept, wanted, tick = cells[STATE : TICK + 1].astype(int).tolist()
        return Told(state, kept, wanted, tick, cells[VIEW].copy())

    # For who plays

    def command(self) -> Command | None:
        """What is wanted now; None: nobody holds the hand."""
        cells = self._cells.array
        if time.monotonic() - cells[BEAT] > STALE:
            return None
        return Command(cells[MOTION].copy(), float(cells[OPENING]), bool(cells[TAKES_OVER]))

    def presses(self, button: int) -> int:
        """How often it was pressed ever; LEFT is one too."""
        return int(self._cells.array[button])

    def attends(self, player: int) -> bool:
        cells = self._cells.array
        return bool(cells[ATTENDED] == 1 + player) and time.monotonic() - cells[BEAT] <= STALE

    @property
    def speed(self) -> float:
        return float(self._cells.array[SPEED])

    def tell(self, state: int, seen: np.ndarray, kept: int = 0, wanted: int = 0) -> None:
        """What the person is to know of this instant."""
        cells = self._cells.array
        cells[VIEW] = seen
        cells[STATE], cells[KEPT], cells[WANTED] = state, kept, wanted
        cells[TICK] += 1


class Told(NamedTuple):
    """What the player said last."""

    state: int
    kept: int  # demonstrations
    wanted: int
    tick: int  # counts the instants
    seen: np.ndarray  # see envs/tasks/steering.py


class Pace:
    """Keeps the steps of an episode at the speed of the real robot."""

    def __init__(self, period: float) -> None:
        """``period``: s of a step."""
        self._period, self._next = period, time.monotonic()

    def wait(self, speed: float) -> None:
        """Until the next step is due; one that comes late is not made up for."""
        self._next = max(self._next + self._period / speed, time.monotonic() - self._period)
        time.sleep(max(self._next - time.monotonic(), 0.0))
