"""Count, mean and variance of observations, in float64, and those of a growing replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.segment import ReplaySegment

PIECE = 4096  # observations that are taken to float64 at once
GROWTH = 100  # new moments are due once the replay has grown by a hundredth of what they are of …
LARGEST_PIECE = 1000  # … or by so many transitions


class Moments(NamedTuple):
    """Of n vectors (size,): how many, their mean, and their squared distances from it, summed.

    Two are merged as in Chan, Golub, LeVeque, Algorithms for Computing the Sample Variance, The American
    Statistician 37 (1983), equations 2.1: no sum of squares that could drown the variance. A component that
    has had a single value has squares of exactly 0.
    """

    number: float
    mean: npt.NDArray[np.float64]  # (size,)
    squares: npt.NDArray[np.float64]  # (size,) Σ (x − mean)²

    @classmethod
    def none(cls, size: int) -> Moments:
        return cls(0.0, np.zeros(size), np.zeros(size))

    @classmethod
    def of(cls, values: npt.NDArray[np.float32]) -> Moments:
        """Those of ``values`` (n, size)."""
        found = cls.none(values.shape[1])
        for begin in range(0, len(values), PIECE):
            piece = values[begin : begin + PIECE].astype(np.float64)
            mean = piece.mean(axis=0)  # of one value that value, as the sum of float32 ones is exact
            piece -= mean
            found = found.merged(cls(float(len(piece)), mean, np.square(piece, out=piece).sum(axis=0)))
        return found

    def merged(self, other: Moments) -> Moments:
        """Those of both together."""
        if not self.number or not other.number:
            return self if other.number == 0 else other
        number = self.number + other.number
        apart, share = other.mean - self.mean, other.number / number
        squares = self.squares + other.squares + apart * apart * (self.number * share)
        return Moments(number, self.mean + apart * share, squares)

    @property
    def variance(self) -> npt.NDArray[np.float64]:
        """(size,), with n in the denominator; 0 where there is no vector."""
        return self.squares / max(self.number, 1.0)


class NewObservations:
    """The moments of what is written to ``replay``, shard after shard, each transition once.

    One that is overwritten before its turn is left out: that of a shard smaller than what comes at once.
    ``taken``: of each shard, how many had their turn in an earlier process; None, or those of another
    buffer: all that is written. ``also`` gets what is new too.
    """

    def __init__(
        self,
        replay: ReplayBuffer,
        taken: list[int] | None = None,
        also: Callable[[ReplaySegment], None] | None = None,
    ) -> None:
        self.replay, self.also = replay, also
        self.taken = replay.written
        if taken is not None and len(taken) == replay.shards and (np.array(taken) <= self.taken).all():
            self.taken = np.array(taken, np.int64)
        self._set_due()

    def _set_due(self) -> None:
        total = int(self.taken.sum())
        most = min(LARGEST_PIECE, max(self.replay.capacity // 2, 1))
        self.due = total + min(max(total // GROWTH, 1), most)

    def moments(self) -> Moments | None:
        """Of what is new; None: so little that it can wait."""
        if self.replay.written.sum() < self.due:
            return None
        segment = self.replay.snapshot(self.taken, pictures=False)
        self.taken = segment.stop
        self._set_due()
        if self.also is not None:
            self.also(segment)
        return Moments.of(segment.rows[:, self.replay.schema.columns["observation"]])
