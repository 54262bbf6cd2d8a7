"""Counters and commands that every process of a run sees: one shared block, one writer a cell."""

from __future__ import annotations

import numpy as np

from sac_dist.system.shared import SharedArray

# Columns of a member's row. OFFLINE_UPDATES: those of the UPDATES that offline phases made; BEATS: signs of
# life where nothing else is counted; DONE: 1 once its work is done, for a learner that cannot see the others'
# newest counts.
STEPS, UPDATES, EPISODES, OFFLINE_UPDATES, BEATS, DONE = range(6)
PAUSE, RESUME, STOP, COMPILED = range(4)  # columns of the supervisor's row, the last


class Control:
    """Member k (a worker, or after them the learner) writes row k, the evaluator the row after the members',
    the supervisor the last row; picklable to child processes.

    A row is one cache line, so that no process slows another by counting.
    """

    def __init__(self, members: int) -> None:
        self.__setstate__(SharedArray((members + 2, 8), np.int64))

    def __getstate__(self) -> SharedArray:
        return self._cells

    def __setstate__(self, cells: SharedArray) -> None:
        self._cells, self.members = cells, len(cells.array) - 2
        self._columns = list(cells.array[: self.members].T)  # views, looked at several times a step
        self._supervisor = cells.array[-1]

    def count(self, rank: int, column: int) -> None:
        """Add one to a counter of member ``rank``; called by that process alone."""
        self._cells.array[rank, column] += 1

    def beat(self, row: int) -> None:
        """A sign of life of a member or, with ``row`` = ``members``, of the evaluator. Everything that a
        member counts is one too.
        """
        self._cells.array[row, BEATS] += 1

    def activity(self, row: int) -> bytes:
        """What changes with each sign of life."""
        return self._cells.array[row].tobytes()

    def total(self, column: int) -> int:
        """STEPS, UPDATES, EPISODES or OFFLINE_UPDATES over all members."""
        return sum(self._columns[column].tolist())  # of a few numbers: numpy's sum takes ten times as long

    def clock(self) -> int:
        """How far the run is: environment steps and offline updates together."""
        return self.total(STEPS) + self.total(OFFLINE_UPDATES)

    def restore(self, totals: list[int]) -> None:
        """Start from earlier totals: worker 0's row carries them, whatever the number of workers was."""
        self._cells.array[0, : len(totals)] = totals

    # Where the processes share no memory each has a table of its own, and rows are carried between them.

    def row(self, row: int) -> np.ndarray:
        """A copy (8,) int64 of a row; -1: the supervisor's."""
        copy: np.ndarray = self._cells.array[row].copy()
        return copy

    def put(self, row: int, values: np.ndarray) -> None:
        """Replace a row by what its writer sent."""
        self._cells.array[row] = values

    def others(self, row: int) -> np.ndarray:
        """(8,) sums over the members but ``row``."""
        table = self._cells.array[: self.members]
        sums: np.ndarray = table.sum(axis=0) - (table[row] if row < self.members else 0)
        return sums

    # A pause is a ticket number: members park when they see a new one and leave when RESUME has caught up
    # with it.

    def pause(self) -> int:
        self._supervisor[PAUSE] += 1
        return self._supervisor.item(PAUSE)

    def resume(self) -> None:
        self._supervisor[RESUME] = self._supervisor[PAUSE]

    def paused(self) -> bool:
        return self._supervisor.item(PAUSE) > self._supervisor.item(RESUME)

    def stop(self) -> None:
        self._supervisor[STOP] = 1

    def stopped(self) -> bool:
        return self._supervisor.item(STOP) != 0

    def announce_compiled(self) -> None:
        """There are compiled updates that there were not before: members load them at their next boundary."""
        self._supervisor[COMPILED] += 1

    def compilations(self) -> int:
        """How often that was announced."""
        return self._supervisor.item(COMPILED)
