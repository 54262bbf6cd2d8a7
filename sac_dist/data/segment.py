"""Transitions on their way between a replay and its files, or its next shards: consecutive ones of every
shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sac_dist.data.pictures import Frames
from sac_dist.data.schema import Rows, Schema
from sac_dist.data.transitions import Transitions

Counts = npt.NDArray[np.int64]


def shard_sizes(capacity: int, shards: int) -> Counts:
    """(shards,) how many of the ``capacity`` transitions each shard holds: the same, or one more in the first
    ones.
    """
    sizes: Counts = capacity // shards + (np.arange(shards) < capacity % shards)
    return sizes


class SegmentFrames(NamedTuple):
    """The pictures of a segment's transitions: shard after shard, its slots in order (pictures.py)."""

    frames: Frames  # (slots, frame_size)
    first: Counts  # (shards,) each shard's first slot here
    stop: Counts  # (shards,) one past its last one
    numbers: Counts  # (shards,) of the first of its ``episodes``, counted from 0
    oldest: Counts  # (shards,) the first transition that the buffer held

    @classmethod
    def of(
        cls, shards: Sequence[tuple[int, Frames]], numbers: Sequence[int], oldest: Counts
    ) -> SegmentFrames:
        """From each shard's first slot and frames."""
        first = np.array([slot for slot, _ in shards], np.int64)
        stop = first + np.array([len(frames) for _, frames in shards], np.int64)
        frames = np.concatenate([frames for _, frames in shards])
        return cls(frames, first, stop, np.array(numbers, np.int64), oldest.copy())

    def of_shard(self, shard: int) -> tuple[int, Frames, int]:
        """First slot, frames and oldest transition of one shard."""
        ends = (self.stop - self.first).cumsum()
        begin = int(ends[shard] - (self.stop - self.first)[shard])
        return int(self.first[shard]), self.frames[begin : int(ends[shard])], int(self.oldest[shard])


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
    frames: SegmentFrames | None = None

    @classmethod
    def of(cls, data: Transitions) -> ReplaySegment:
        """What a buffer of one shard, full of ``data``, holds."""
        count = len(data)
        frames = None if data.frames is None else SegmentFrames.of([(0, data.frames)], [0], np.array([0]))
        return cls(count, np.array([0]), np.array([count]), data.rows, (data.starts,), frames)

    def stored(self) -> list[Stored]:
        """Every episode, or what is stored of it, shard after shard."""
        found = []
        shards = zip(self.parts(), self.start.tolist(), self.stop.tolist(), self.episodes, strict=True)
        for shard, (rows, first, end, begun) in enumerate(shards):
            for number, (begin, stop) in enumerate(
                zip(begun.tolist(), [*begun[1:].tolist(), end], strict=False)
            ):
                kept = max(begin, first)
                frames = None
                if self.frames is not None:
                    slot, all_frames, _ = self.frames.of_shard(shard)
                    slot -= int(self.frames.numbers[shard]) + number
                    frames = all_frames[kept - slot : stop + 1 - slot]
                found.append(Stored(end - begin, rows[kept - first : stop - first], frames))
        return found

    def parts(self) -> list[Rows]:
        """The rows of each shard."""
        return np.split(self.rows, (self.stop - self.start).cumsum()[:-1])

    def begins(self) -> Counts:
        """The rows at which episodes, or what is stored of them, begin."""
        counts = self.stop - self.start
        firsts = (counts.cumsum() - counts).tolist()
        each = zip(firsts, self.start.tolist(), self.episodes, strict=True)
        return np.concatenate([first + np.maximum(begun - start, 0) for first, start, begun in each])


class Stored(NamedTuple):
    """What is stored of an episode."""

    age: int  # of its start, in transitions of its shard
    rows: Rows
    frames: Frames | None  # (rows + 1, frame_size), the last one of its last next observation

    def newest(self, count: int) -> Stored:
        """Its last ``count`` transitions."""
        drop = len(self.rows) - count
        return Stored(self.age, self.rows[drop:], None if self.frames is None else self.frames[drop:])


class Replay(Protocol):
    """A replay as its files see it, wherever its shards lie."""

    def snapshot(self, since: npt.ArrayLike | None = None) -> ReplaySegment: ...

    def restore(self, segment: ReplaySegment) -> bool: ...


def check_segment(segment: ReplaySegment, schema: Schema) -> None:
    """Raise ValueError if the parts of a segment do not fit together or not to the schema."""
    _, start, stop, rows, episodes, frames = segment
    if rows.ndim != 2 or rows.shape[1] != schema.row_width or rows.dtype != np.float32:
        raise ValueError(
            f"replay rows are {rows.dtype} {rows.shape} instead of float32 (…, {schema.row_width})"
        )
    if not np.isfinite(rows).all():
        raise ValueError("replay rows must be finite")
    if len(start) != len(stop) or (start > stop).any() or (stop - start).sum() != len(rows):
        raise ValueError(f"{len(rows)} replay rows do not fit the counts {start} … {stop}")
    check_episodes(start, stop, episodes)
    if (frames is None) == bool(schema.pictures):
        raise ValueError("its pictures are missing" if frames is None else "pictures that no observation has")
    if frames is not None:
        check_frames(frames, start, stop, episodes, schema)


def check_frames(
    frames: SegmentFrames, start: Counts, stop: Counts, episodes: Sequence[Counts], schema: Schema
) -> None:
    """Raise ValueError unless there is a picture for every observation of these transitions."""
    shape, counts = (int((frames.stop - frames.first).sum()), schema.frame_size), len(start)
    if frames.frames.shape != shape or frames.frames.dtype != np.uint8:
        raise ValueError(f"pictures of {frames.frames.dtype} {frames.frames.shape} instead of uint8 {shape}")
    if any(len(part) != counts for part in frames[1:]) or (frames.oldest > stop).any():
        raise ValueError("the pictures are of other shards")
    for shard in np.flatnonzero(stop > start).tolist():
        begun, number = episodes[shard], int(frames.numbers[shard])
        last = int(stop[shard]) + number + len(begun)
        continued = frames.first[shard] == start[shard] + number + 1 and begun[0] != start[shard]
        if not (frames.first[shard] <= start[shard] + number or continued) or frames.stop[shard] != last:
            raise ValueError("its pictures do not fit its transitions")


def check_episodes(start: Counts, stop: Counts, episodes: Sequence[Counts]) -> None:
    """Raise ValueError if these cannot be where the episodes of a segment's transitions begin."""
    if len(episodes) != len(stop):
        raise ValueError(f"the episodes of {len(episodes)} shards for rows of {len(stop)}")
    for first, end, begun in zip(start.tolist(), stop.tolist(), episodes, strict=True):
        fits = 0 <= begun[0] <= first and begun[-1] < end if len(begun) else first == end
        if not fits or (np.diff(begun) < 1).any() or (begun[1:] <= first).any():
            raise ValueError(f"the starts of episodes do not fit the transitions {first} … {end}")


class Dealt(NamedTuple):
    """What a shard gets."""

    rows: Rows
    begins: Counts  # which of the rows begin an episode
    frames: Frames | None  # where there are pictures, as Transitions'


def deal(segment: ReplaySegment, sizes: npt.ArrayLike) -> list[Dealt]:
    """The segment's episodes for shards of other sizes.

    Whole episodes, oldest first, go each to the shard with the fewest rows so far. Where a shard would have
    more than its size the oldest rows are left out: one of its episodes may lose its beginning.
    """
    limits = np.asarray(sizes).tolist()
    dealt: list[list[Stored]] = [[] for _ in limits]
    filled = [0] * len(limits)
    for episode in sorted(segment.stored(), key=lambda stored: -stored.age):
        shard = filled.index(min(filled))
        dealt[shard].append(episode)
        filled[shard] += len(episode.rows)
    result = []
    for episodes, total, limit in zip(dealt, filled, limits, strict=True):
        too_many, kept = max(total - limit, 0), []
        for episode in episodes:
            if (left := len(episode.rows) - too_many) > 0:
                kept.append(episode.newest(left))
            too_many = max(-left, 0)
        rows = np.concatenate([segment.rows[:0], *(episode.rows for episode in kept)])
        begins = np.cumsum([0, *(len(episode.rows) for episode in kept)])[:-1]
        frames = None
        if segment.frames is not None:
            shown = [episode.frames for episode in kept if episode.frames is not None]
            frames = np.concatenate([segment.frames.frames[:0], *shown])
        result.append(Dealt(rows, begins, frames))
    return result
