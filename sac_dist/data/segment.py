"""Transitions on their way between a replay and its files, or its next shards: consecutive ones of every
shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sac_dist.data.schema import Rows, Schema
from sac_dist.data.transitions import Transitions

Counts = npt.NDArray[np.int64]


def shard_sizes(capacity: int, shards: int) -> Counts:
    """(shards,) how many of the ``capacity`` transitions each shard holds: the same, or one more in the first
    ones.
    """
    sizes: Counts = capacity // shards + (np.arange(shards) < capacity % shards)
    return sizes


class ReplaySegment(NamedTuple):
    """Consecutive transitions of every shard, for a checkpoint: plain arrays that share nothing with the
    buffer.

    Row for row: shard 0's transitions ``start[0] … stop[0] - 1``, then shard 1's, …
    """

    capacity: int
    start: Counts  # (shards,) transitions written before the first row here
    stop: Counts  # (shards,) transitions written, the last row here included: ``since`` for the next snapshot
    rows: Rows  # (sum(stop - start), row_width)
    episodes: tuple[
        Counts, ...
    ]  # of each shard: the transitions at which the episodes of its rows begin; the
    # first one may be older than ``start``

    @classmethod
    def of(cls, data: Transitions) -> ReplaySegment:
        """What a buffer of one shard, full of ``data``, holds."""
        count = len(data)
        return cls(count, np.array([0]), np.array([count]), data.rows, (data.starts,))

    def parts(self) -> list[Rows]:
        """The rows of each shard."""
        return np.split(self.rows, (self.stop - self.start).cumsum()[:-1])

    def begins(self) -> Counts:
        """The rows at which episodes, or what is stored of them, begin."""
        counts = self.stop - self.start
        firsts = (counts.cumsum() - counts).tolist()
        each = zip(firsts, self.start.tolist(), self.episodes, strict=True)
        return np.concatenate([first + np.maximum(begun - start, 0) for first, start, begun in each])


class Replay(Protocol):
    """A replay as its files see it, wherever its shards lie."""

    def snapshot(self, since: npt.ArrayLike | None = None) -> ReplaySegment: ...

    def restore(self, segment: ReplaySegment) -> bool: ...


def check_segment(segment: ReplaySegment, schema: Schema) -> None:
    """Raise ValueError if the parts of a segment do not fit together or not to the schema."""
    _, start, stop, rows, episodes = segment
    if rows.ndim != 2 or rows.shape[1] != schema.row_width or rows.dtype != np.float32:
        raise ValueError(
            f"replay rows are {rows.dtype} {rows.shape} instead of float32 (…, {schema.row_width})"
        )
    if not np.isfinite(rows).all():
        raise ValueError("replay rows must be finite")
    if len(start) != len(stop) or (start > stop).any() or (stop - start).sum() != len(rows):
        raise ValueError(f"{len(rows)} replay rows do not fit the counts {start} … {stop}")
    check_episodes(start, stop, episodes)


def check_episodes(start: Counts, stop: Counts, episodes: Sequence[Counts]) -> None:
    """Raise ValueError if these cannot be where the episodes of a segment's transitions begin."""
    if len(episodes) != len(stop):
        raise ValueError(f"the episodes of {len(episodes)} shards for rows of {len(stop)}")
    for first, end, begun in zip(start.tolist(), stop.tolist(), episodes, strict=True):
        fits = 0 <= begun[0] <= first and begun[-1] < end if len(begun) else first == end
        if not fits or (np.diff(begun) < 1).any() or (begun[1:] <= first).any():
            raise ValueError(f"the starts of episodes do not fit the transitions {first} … {end}")


def deal(segment: ReplaySegment, sizes: npt.ArrayLike) -> list[tuple[Rows, Counts]]:
    """The segment's episodes for shards of other sizes: rows, and which of them begin an episode, per shard.

    Whole episodes, oldest first, go each to the shard with the fewest rows so far. Where a shard would have
    more than its size the oldest rows are left out: one of its episodes may lose its beginning.
    """
    whole = [
        (end - begin, rows[max(begin - first, 0) : stop - first])
        for rows, first, end, begun in zip(
            segment.parts(), segment.start.tolist(), segment.stop.tolist(), segment.episodes, strict=True
        )
        for begin, stop in zip(begun.tolist(), [*begun[1:].tolist(), end], strict=False)
    ]
    whole.sort(key=lambda episode: -episode[0])  # by the age of its start, in transitions of its shard
    limits = np.asarray(sizes).tolist()
    dealt: list[list[Rows]] = [[segment.rows[:0]] for _ in limits]
    filled = [0] * len(limits)
    for _, rows in whole:
        shard = filled.index(min(filled))
        dealt[shard].append(rows)
        filled[shard] += len(rows)
    result = []
    for episodes, total, limit in zip(dealt, filled, limits, strict=True):
        too_many = max(total - limit, 0)
        begins = np.cumsum([len(rows) for rows in episodes])[:-1] - too_many
        result.append((np.concatenate(episodes)[too_many:], np.unique(np.maximum(begins, 0))))
    return result
