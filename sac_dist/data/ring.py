"""The replay buffer: a ring of transitions in shared memory, written by many processes and sampled by all of
them, with no lock.

A row is float32 ``[observation | action | reward | next_observation | terminated | truncated]``. The rows are
divided into shards, each a ring of its own with one writer at a time, so that writers never meet. The i-th
transition ever written to a shard lies in its row ``i % (size + 1)``; ``written``, the shard's count of
transitions, is raised only after the row is whole. Hence

- the transitions ``written - size … written - 1`` are whole, and the row of the next one is none of theirs
(the guard row);
- a writer killed at any instruction leaves at most a torn guard row, which nobody reads and its successor
overwrites;
- a reader has whole rows if, after it has copied them, none is older than ``written - size``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sac_dist.system.shared import SharedArray, memory_fence

if TYPE_CHECKING:
    from sac_dist.data.batch import Batch

FIELDS = ("observation", "action", "reward", "next_observation", "terminated", "truncated")
FLOAT32 = np.dtype(np.float32)
Rows = npt.NDArray[np.float32]
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
    rows: Rows  # (sum(stop - start), row width)


class Replay(Protocol):
    """A replay as its files see it, wherever its shards lie."""

    def snapshot(self, since: npt.ArrayLike | None = None) -> ReplaySegment: ...

    def restore(self, segment: ReplaySegment) -> bool: ...


class ReplayBuffer:
    """A handle on the shared transitions: writes to one shard, samples from all of them.

    Pickling it to another process (see SharedArray) gives a handle on the same memory. A handle is for one
    thread.

    Args:
        capacity: transitions it holds; its memory is ``capacity + shards`` rows and a count per shard, so
            within 1 % of the raw bytes where a shard holds more than about 100 transitions.
        observation_size, action_size: entries of an observation and of an action.
        shards: how many processes may write at the same time.

    Raises:
        ValueError: a size below 1, or more shards than capacity.
        ConfigError: not enough memory.
    """

    def __init__(self, capacity: int, observation_size: int, action_size: int, shards: int = 1) -> None:
        if min(observation_size, action_size, shards) < 1 or capacity < shards:
            raise ValueError(
                f"a replay buffer needs sizes above 0 and a row per shard: capacity {capacity}, "
                f"observation_size {observation_size}, "
                f"action_size {action_size}, shards {shards}"
            )
        rows = SharedArray(rows_shape(capacity, observation_size, action_size, shards), np.float32)
        written = SharedArray((shards,), np.int64)
        self._open(observation_size, action_size, rows, written, shard=0)

    def _open(
        self,
        observation_size: int,
        action_size: int,
        rows: SharedArray,
        written: SharedArray,
        shard: int | None,
    ) -> None:
        self._memory = (observation_size, action_size, rows, written)
        self.shard = shard
        self._rows: Rows = rows.array
        self._written: Counts = written.array
        shards = len(self._written)
        self.capacity = len(self._rows) - shards
        self._sizes: Counts = shard_sizes(self.capacity, shards)
        self._rings: Counts = self._sizes + 1
        self._first: Counts = np.cumsum(self._rings) - self._rings  # each shard's first row
        self._own_first, self._own_ring = (
            (0, 1) if shard is None else (self._first.item(shard), self._rings.item(shard))
        )
        action, reward = observation_size, observation_size + action_size
        following, end = reward + 1, reward + 1 + observation_size
        self.columns: tuple[slice | int, ...] = (
            slice(0, action),
            slice(action, reward),
            reward,
            slice(following, end),
            end,
            end + 1,
        )
        self._shapes = ((observation_size,), (action_size,), (), (observation_size,), (), ())
        self._sampled: Rows = np.empty((0, self._rows.shape[1]), np.float32)
        self._batch: Batch | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (*self._memory, self.shard)

    def for_shard(self, shard: int | None) -> ReplayBuffer:
        """A handle on the same memory that writes to ``shard``, or only reads where that is None. IndexError
        if there is none.
        """
        if shard is not None and not 0 <= shard < self.shards:
            raise IndexError(f"shard {shard} of a replay buffer of {self.shards}")
        return _open(*self._memory, shard)

    # Writing

    def push(
        self,
        observation: npt.ArrayLike,
        action: npt.ArrayLike,
        reward: npt.ArrayLike,
        next_observation: npt.ArrayLike,
        terminated: npt.ArrayLike,
        truncated: npt.ArrayLike = False,
    ) -> None:
        """Append one transition, over the shard's oldest one where it is full. Only this handle may write to
        the shard.

        Args:
            observation, next_observation: (observation_size,); the true last one at an episode's end.
            action: (action_size,).
            reward, terminated, truncated: numbers.

        Raises:
            ValueError: a wrong shape, or an entry that is not a finite float32; nothing is stored.
        """
        shard = self._own_shard()
        written = self._written.item(shard)
        row = self._rows[self._own_first + written % self._own_ring]
        if not self._fill_quickly(row, observation, action, reward, next_observation, terminated, truncated):
            self._fill(row, (observation, action, reward, next_observation, terminated, truncated))
        self._publish(shard, written + 1)

    def extend(
        self,
        observations: npt.ArrayLike,
        actions: npt.ArrayLike,
        rewards: npt.ArrayLike,
        next_observations: npt.ArrayLike,
        terminated: npt.ArrayLike,
        truncated: npt.ArrayLike,
    ) -> None:
        """Append n transitions, oldest first: as ``push``, every argument with a leading n, and all of them
        are checked first.
        """
        rows = np.empty((np.size(rewards), self._rows.shape[1]), np.float32)
        self._fill(rows, (observations, actions, rewards, next_observations, terminated, truncated))
        self.append(rows)

    def append(self, rows: Rows) -> None:
        """Append rows (n, row width) as a snapshot of another buffer of these sizes holds them: they are not
        checked again.
        """
        self._append(self._own_shard(), rows)

    def _own_shard(self) -> int:
        if self.shard is None:
            raise ValueError("this handle of the replay buffer only reads: take one with for_shard")
        return self.shard

    def _fill_quickly(
        self,
        row: Rows,
        observation: Any,
        action: Any,
        reward: Any,
        following: Any,
        terminated: Any,
        truncated: Any,
    ) -> bool:
        """Write what a worker gives, float32 arrays and plain numbers, in a third of ``_fill``'s time; False:
        that has to look closer.
        """
        if not (
            type(observation) is type(action) is type(following) is np.ndarray
            and observation.dtype is action.dtype is following.dtype is FLOAT32  # numpy has one object for it
            and observation.shape == following.shape == self._shapes[0]
            and action.shape == self._shapes[1]
            and type(reward) is float
            and type(terminated) is type(truncated) is bool
        ):
            return False
        observations, actions, reward_column, followings, terminated_column, truncated_column = self.columns
        row[observations], row[actions], row[followings] = observation, action, following
        row[reward_column], row[terminated_column], row[truncated_column] = reward, terminated, truncated
        return math.isfinite(row.dot(row))

    def _fill(self, target: Rows, values: tuple[npt.ArrayLike, ...]) -> None:
        """Write the fields' values into ``target``, one row (width,) or (n, width), and check them."""
        lead = target.shape[:-1]
        for name, value, columns, shape in zip(FIELDS, values, self.columns, self._shapes, strict=True):
            try:
                array = np.asarray(value, np.float32)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name} is no array of numbers: {error}") from None
            if array.shape != lead + shape:
                raise ValueError(f"{name} has the shape {array.shape} instead of {lead + shape}")
            target[..., columns] = array
        if not math.isfinite(
            np.vdot(target, target)
        ):  # half the time of np.isfinite, but large numbers overflow: look closer
            bad = [
                name
                for name, columns in zip(FIELDS, self.columns, strict=True)
                if not np.isfinite(target[..., columns]).all()
            ]
            if bad:
                raise ValueError(f"{' and '.join(bad)} must be finite in float32; nothing was stored")

    def _append(self, shard: int, rows: Rows) -> None:
        first, ring = self._first[shard], self._rings[shard]
        written = self._written[shard]
        # What no reader may be looking at: the rows never written to, later the guard row alone.
        while len(rows):
            n = max(min(len(rows), ring - written), 1)
            start = first + written % ring
            self._rows[start : start + n] = rows[:n]
            written += n
            self._publish(shard, written)
            rows = rows[n:]

    def _publish(self, shard: int, written: int) -> None:
        memory_fence()
        self._written[shard] = written
        memory_fence()

    # Reading

    def sample(self, batch_size: int, rng: np.random.Generator) -> Batch:
        """Draw transitions uniformly, with replacement, from all shards.

        The tensors are views of one (batch_size, row width) array that this handle's next ``sample``
        overwrites. (An update takes the same time with them as with contiguous copies, which cost as much as
        the sampling itself.)

        Raises:
            ValueError: the buffer is empty.
        """
        rows = self.sample_rows(batch_size, rng)
        if self._batch is None:
            from sac_dist.data.batch import (
                Batch,  # torch takes a second to import; the manager's process does without
            )

            self._batch = Batch.of_rows(rows, *self._memory[:2])
        return self._batch

    def sample_rows(self, batch_size: int, rng: np.random.Generator) -> Rows:
        """As ``sample``: the rows themselves, (batch_size, row width)."""
        if len(self._sampled) != batch_size:
            self._sampled = np.empty((batch_size, self._rows.shape[1]), np.float32)
            self._batch = None
        self.sample_into(self._sampled, rng)
        return self._sampled

    def sample_into(self, out: Rows, rng: np.random.Generator) -> None:
        """As ``sample``, into contiguous rows of the caller's, (batch_size, row width)."""
        shard, index = self._draw(len(out), rng)
        self._take(shard, index, out)
        again = self._overwritten(shard, index)
        while again.size:  # a writer came by: draw those anew, from what is stored now
            shard, index = self._draw(again.size, rng)
            out[again] = self._take(shard, index, np.empty((again.size, self._rows.shape[1]), np.float32))
            again = again[self._overwritten(shard, index)]

    def _draw(self, n: int, rng: np.random.Generator) -> tuple[Counts, Counts]:
        """n of the stored transitions: each one's shard and how many were written to that shard before it."""
        written = self._written.copy()
        stored = np.minimum(written, self._sizes)
        ends = stored.cumsum()
        total = int(ends[-1])
        if total == 0:
            raise ValueError("the replay buffer is empty: push transitions before you sample")
        place = (rng.random(n) * total).astype(np.int64)  # rng.integers takes three times as long
        shard = ends.searchsorted(place, side="right")
        return shard, place + (written - ends).take(shard)

    def _take(self, shard: Counts, index: Counts, out: Rows) -> Rows:
        row = self._first.take(shard) + index % self._rings.take(shard)
        return self._rows.take(
            row, axis=0, out=out, mode="clip"
        )  # the mode "raise" would gather into a copy first

    def _overwritten(self, shard: Counts, index: Counts) -> Counts:
        """Which of these transitions, copied just before, may have been overwritten meanwhile: positions in
        ``index``.
        """
        memory_fence()
        return (index < (self._written - self._sizes).take(shard)).nonzero()[0]

    @property
    def observation_size(self) -> int:
        return self._memory[0]

    @property
    def action_size(self) -> int:
        return self._memory[1]

    @property
    def row_width(self) -> int:
        return int(self._rows.shape[1])

    @property
    def shards(self) -> int:
        return len(self._written)

    @property
    def nbytes(self) -> int:
        """The shared memory of the whole buffer."""
        return self._memory[2].nbytes + self._memory[3].nbytes

    def get_length(self) -> int:
        """How many transitions are stored, over all shards."""
        return int(np.minimum(self._written, self._sizes).sum())

    __len__ = get_length

    def state(self) -> dict[str, Any]:
        """Plain numbers for logs and status displays."""
        written = self._written.tolist()
        return {
            "capacity": self.capacity,
            "size": self.get_length(),
            "shards": self.shards,
            "written": written,  # ever, per shard
            "total": sum(written),
            "row_bytes": self._rows.strides[0],
            "bytes": self.nbytes,
        }

    # Checkpoints

    def snapshot(self, since: npt.ArrayLike | None = None) -> ReplaySegment:
        """Copy what was written after the counts ``since`` (a segment's ``stop``) and is still stored; None:
        all that is stored.

        Complete even while others write: each shard is copied from its oldest row on, faster than a writer
            can follow.

        Raises:
            ValueError: ``since`` is not of this buffer: other shards, or more than was written.
        """
        after = np.zeros(self.shards, np.int64) if since is None else np.asarray(since, np.int64)
        if after.shape != (self.shards,) or (after > self._written).any() or (after < 0).any():
            raise ValueError(f"since is {after.tolist()}: written are {self._written.tolist()} transitions")
        start, stop, parts = self._written.copy(), self._written.copy(), []
        for shard in range(self.shards):
            while True:
                stop[shard] = self._written[shard]
                start[shard] = max(stop[shard] - self._sizes[shard], after[shard])
                rows = self._copy(shard, int(start[shard]), int(stop[shard]))
                if rows is not None:
                    break
            parts.append(rows)
        return ReplaySegment(self.capacity, start, stop, np.concatenate(parts))

    def _copy(self, shard: int, start: int, stop: int) -> Rows | None:
        """Transitions start … stop - 1 of the shard, or None if its writer overtook the copying."""
        copy = np.empty((stop - start, self._rows.shape[1]), np.float32)
        begin = start
        while begin < stop:
            end = min(start + max(2 * (begin - start), 64), stop)  # first the rows that are in danger
            row = self._first[shard] + np.arange(begin, end) % self._rings[shard]
            self._rows.take(row, axis=0, out=copy[begin - start : end - start], mode="clip")
            memory_fence()
            if begin < self._written[shard] - self._sizes[shard]:
                return None
            begin = end
        return copy

    def restore(self, segment: ReplaySegment) -> bool:
        """Put back a snapshot, and then those taken ``since`` it in order, before anyone else reads or
        writes.

        Returns:
            True if the buffer has the snapshot's capacity and shards: every row and count is then as it was.
            False if not: the rows were dealt out over the shards, oldest first, and the next snapshot has to
            be a whole one.

        Raises:
            ValueError: rows of another width or not finite, or a segment that does not go on where the buffer
                stands.
        """
        capacity, rows = segment.capacity, segment.rows
        start, stop = np.asarray(segment.start, np.int64), np.asarray(segment.stop, np.int64)
        if rows.ndim != 2 or rows.shape[1] != self._rows.shape[1] or rows.dtype != np.float32:
            raise ValueError(
                f"replay rows are {rows.dtype} {rows.shape} instead of float32 (…, {self._rows.shape[1]})"
            )
        if not np.isfinite(rows).all():
            raise ValueError("replay rows must be finite")
        if len(start) != len(stop) or (start > stop).any() or (stop - start).sum() != len(rows):
            raise ValueError(f"{len(rows)} replay rows do not fit the counts {start} … {stop}")
        if capacity != self.capacity or len(stop) != self.shards:
            for shard, dealt in enumerate(deal(segment, self.shards)):
                self._append(shard, dealt)
            return False
        if (start != np.maximum(self._written, stop - self._sizes)).any():
            raise ValueError(f"a replay segment from {start} to {stop} cannot follow {self._written}")
        for shard, part in enumerate(np.split(rows, (stop - start).cumsum()[:-1])):
            self._rows[self._first[shard] + np.arange(start[shard], stop[shard]) % self._rings[shard]] = part
        self._written[:] = stop
        return True


def deal(segment: ReplaySegment, shards: int) -> list[Rows]:
    """The segment's rows for another number of shards, oldest first in each."""
    age = np.concatenate(
        [np.arange(n, 0, -1) for n in segment.stop - segment.start]
    )  # 1: the newest of its shard
    oldest_first = np.argsort(-age, kind="stable")
    return [segment.rows[oldest_first[shard::shards]] for shard in range(shards)]


def rows_shape(capacity: int, observation_size: int, action_size: int, shards: int) -> tuple[int, int]:
    return capacity + shards, 2 * observation_size + action_size + 3


def buffer_bytes(capacity: int, observation_size: int, action_size: int, shards: int) -> int:
    """The memory of such a buffer once it is full."""
    return 4 * math.prod(rows_shape(capacity, observation_size, action_size, shards)) + 8 * shards


def _open(
    observation_size: int, action_size: int, rows: SharedArray, written: SharedArray, shard: int | None
) -> ReplayBuffer:
    buffer = ReplayBuffer.__new__(ReplayBuffer)
    buffer._open(observation_size, action_size, rows, written, shard)
    return buffer
