"""The replay buffer: a ring of transitions in shared memory, written by many processes and sampled by all of
them, with no lock.

A row is laid out as the schema says. The rows are divided into shards, each a ring of its own with one
writer at a time, so that writers never meet. The i-th transition ever written to a shard lies in its row
``i % (size + 1)``; ``written``, the shard's count of transitions, is raised only after the row is whole.
Hence

- the transitions ``written - size … written - 1`` are whole, and the row of the next one is none of theirs
(the guard row);
- a writer killed at any instruction leaves at most a torn guard row, which nobody reads and its successor
overwrites;
- a reader has whole rows if, after it has copied them, none is older than ``written - size``.

Beside its rows each shard has a table of the transitions at which its episodes begin: a ring of the same
size under the same rule, ``episodes`` being its count. A start is entered before its transition is published,
so whoever sees a transition finds its episode. An episode has at least one transition, so while one of its
transitions is stored, its entry and the next episode's are not overwritten.

Pictures lie beside the rows, see pictures.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sac_dist.data.pictures import Frames, PictureRing, Seen, slots_for, slots_of_stack
from sac_dist.data.schema import Rows, Schema
from sac_dist.data.segment import (
    Counts,
    ReplaySegment,
    SegmentFrames,
    check_segment,
    deal,
    shard_sizes,
)
from sac_dist.system.shared import SharedArray, memory_fence

if TYPE_CHECKING:
    from sac_dist.data.batch import Batch

FLOAT32 = np.dtype(np.float32)
ONE = np.float32(1)  # numpy takes it quicker than 1


class EpisodesOf(NamedTuple):
    """What the ring knows of the episodes of n transitions."""

    number: Counts  # (n,) of the shard's episodes, counted from 0
    start: Counts  # (n,) the episode's first transition
    stop: Counts  # (n,) one past the last of its transitions that are written


class ReplayBuffer:
    """A handle on the shared transitions: writes to one shard, samples from all of them.

    Pickling it to another process (see SharedArray) gives a handle on the same memory. A handle is for one
    thread.

    Args:
        capacity: transitions it holds; its memory is ``capacity + shards`` rows, two counts per shard, and 8
            bytes per episode, so within 1 % of the raw bytes where a shard holds more than about 100
            transitions in episodes of some length.
        schema: what a transition consists of.
        shards: how many processes may write at the same time.

    Raises:
        ValueError: a size below 1, or more shards than capacity.
        ConfigError: not enough memory.
    """

    def __init__(self, capacity: int, schema: Schema, shards: int = 1) -> None:
        if shards < 1 or capacity < shards:
            raise ValueError(
                f"a replay buffer needs a shard, and a row per shard: capacity {capacity}, shards {shards}"
            )
        rows = SharedArray((capacity + shards, schema.row_width), np.float32)
        starts = SharedArray((capacity + shards,), np.int64)
        counts = SharedArray((2, shards), np.int64)
        pictures = PictureRing(shard_sizes(capacity, shards), schema).memory if schema.pictures else None
        self._open(schema, rows, starts, counts, pictures, shard=0)

    def _open(
        self,
        schema: Schema,
        rows: SharedArray,
        starts: SharedArray,
        counts: SharedArray,
        pictures: tuple[SharedArray, SharedArray] | None,
        shard: int | None,
    ) -> None:
        self._memory = (schema, rows, starts, counts, pictures)
        self.schema, self.shard = schema, shard
        self._rows: Rows = rows.array
        self._starts: Counts = starts.array
        self._written: Counts
        self._episodes: Counts
        self._written, self._episodes = counts.array
        shards = len(self._written)
        self.capacity = len(self._rows) - shards
        self._sizes: Counts = shard_sizes(self.capacity, shards)
        self._rings: Counts = self._sizes + 1
        self.pictures = None if pictures is None else PictureRing.opened(pictures, self._sizes, schema)
        self._first: Counts = np.cumsum(self._rings) - self._rings  # each shard's first row
        self._own_first, self._own_ring = (
            (0, 1) if shard is None else (self._first.item(shard), self._rings.item(shard))
        )
        self._columns = tuple(schema.columns.values())
        self._shapes = tuple(schema.shapes.values())
        self._begins = True  # whether the next transition begins an episode
        self._sampled: Rows = np.empty((0, schema.row_width), np.float32)
        self.seen: Seen | None = None  # what the rows of the last ``sample_rows`` show
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

    def begin_episode(self) -> None:
        """The next transition begins an episode. So does, without a word, a handle's first one and the one
        after a terminated or truncated one.
        """
        self._begins = True

    def continue_episode(self) -> None:
        """The next transition belongs to the episode of the shard's newest one: a resumed run goes on in its
        middle.
        """
        self._begins = False

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
            observation, next_observation: (observation_size,); the true last one at an episode's end. Its
                pictures are the next transition's, if there is one in the episode.
            action: (action_size,).
            reward, terminated, truncated: numbers.

        Raises:
            ValueError: a wrong shape, or an entry that is not a finite float32; nothing is stored.
        """
        shard = self.shard
        if shard is None:
            raise self._only_reads()
        written = self._written.item(shard)
        row = self._rows[self._own_first + written % self._own_ring]
        frames: tuple[Frames, Frames] | None = None
        if self.pictures is not None:
            observation, now = self._apart("observation", observation)
            next_observation, following = self._apart("next_observation", next_observation)
            frames = now, following
        if not self._fill_quickly(row, observation, action, reward, next_observation, terminated, truncated):
            self._fill(row, (observation, action, reward, next_observation, terminated, truncated))
            terminated, truncated = bool(self.schema.ended(row)), False
        if self._begins:
            self._begin(shard, written)
        self._begins = terminated or truncated  # type: ignore[assignment]  # bools, as _fill_quickly found
        if frames is not None:
            self._put(shard, written, *frames)
        memory_fence()
        self._written[shard] = written + 1
        memory_fence()

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
        if self.pictures is not None:
            parts: Any = (observations, actions, rewards, next_observations, terminated, truncated)
            for transition in zip(*parts, strict=True):
                self.push(*transition)
            return
        rows = np.empty((np.size(rewards), self.schema.row_width), np.float32)
        self._fill(rows, (observations, actions, rewards, next_observations, terminated, truncated))
        if len(rows):
            ended = self.schema.ended(rows)
            begins = np.flatnonzero(np.append(self._begins, ended[:-1]))
            self.append(rows, begins)
            self._begins = bool(ended[-1])

    def append(self, rows: Rows, begins: npt.NDArray[np.integer]) -> None:
        """Append rows (n, row_width) of this schema, which are not checked again. ``begins``: those of them
        that begin an episode.
        """
        if self.shard is None:
            raise self._only_reads()
        self._append(self.shard, rows, begins)

    def _apart(self, name: str, observation: npt.ArrayLike) -> tuple[npt.NDArray[np.float32], Frames]:
        """The numbers and the newest frame of an observation."""
        array = np.asarray(observation, np.float32)
        if array.shape != (self.schema.observation_size,):
            raise ValueError(
                f"{name} has the shape {array.shape} instead of ({self.schema.observation_size},)"
            )
        try:
            return self.schema.numbers_of(array), self.schema.newest_frames(array)
        except ValueError as error:
            raise ValueError(f"{name}: {error}; nothing was stored") from None

    def _put(self, shard: int, transition: int, now: Frames, following: Frames) -> None:
        assert self.pictures is not None
        first, ring = self._first.item(shard), self._rings.item(shard)
        starts, episodes = self._starts[first : first + ring], self._episodes.item(shard)
        self.pictures.put(shard, transition, starts, episodes, now, following)

    def _only_reads(self) -> ValueError:
        return ValueError("this handle of the replay buffer only reads: take one with for_shard")

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
        observations, actions, reward_column, followings, terminated_column, truncated_column = self._columns
        row[observations], row[actions], row[followings] = observation, action, following
        row[reward_column], row[terminated_column], row[truncated_column] = reward, terminated, truncated
        return math.isfinite(row.dot(row))

    def _fill(self, target: Rows, values: tuple[npt.ArrayLike, ...]) -> None:
        """Write the parts' values into ``target``, one row (width,) or (n, width), and check them."""
        lead = target.shape[:-1]
        columns = self.schema.columns
        for name, value, shape in zip(columns, values, self._shapes, strict=True):
            try:
                array = np.asarray(value, np.float32)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name} is no array of numbers: {error}") from None
            if array.shape != lead + shape:
                raise ValueError(f"{name} has the shape {array.shape} instead of {lead + shape}")
            target[..., columns[name]] = array
        if not math.isfinite(
            np.vdot(target, target)
        ):  # half the time of np.isfinite, but large numbers overflow: look closer
            parts = self.schema.views(target)
            bad = [name for name, part in parts.items() if not np.isfinite(part).all()]
            if bad:
                raise ValueError(f"{' and '.join(bad)} must be finite in float32; nothing was stored")

    def _append(
        self, shard: int, rows: Rows, begins: npt.NDArray[np.integer], frames: Frames | None = None
    ) -> None:
        """``frames``: as Transitions'."""
        first, ring = self._first.item(shard), self._rings.item(shard)
        written = self._written.item(shard)
        starts = (written + np.asarray(begins, np.int64)).tolist()[::-1]
        if len(rows) and not self._episodes[shard] and starts[-1:] != [written]:
            starts.append(written)
        # What no reader may be looking at: the rows never written to, later the guard row alone.
        while len(rows):
            n = 1 if frames is not None else max(min(len(rows), ring - written), 1)
            place = first + written % ring
            self._rows[place : place + n] = rows[:n]
            written += n
            while starts and starts[-1] < written:
                self._begin(shard, starts.pop())
            if frames is not None:
                self._put(shard, written - 1, *frames[:2])
                frames = frames[2 if starts and starts[-1] == written else 1 :]
            memory_fence()
            self._written[shard] = written
            memory_fence()
            rows = rows[n:]

    def _begin(self, shard: int, start: int) -> None:
        """Enter that the shard's transition ``start``, which is not published yet, begins an episode."""
        first, ring, count = self._first.item(shard), self._rings.item(shard), self._episodes.item(shard)
        if count and self._starts[first + (count - 1) % ring] >= start:
            return  # a writer entered it, and died before it published the transition
        self._starts[first + count % ring] = start
        memory_fence()
        self._episodes[shard] = count + 1

    # Reading

    def sample(self, batch_size: int, rng: np.random.Generator, discount: float = 1.0) -> Batch:
        """Draw transitions uniformly, with replacement, from all shards; ``discount`` is γ.

        The tensors are views of arrays that this handle's next ``sample`` overwrites. (An update takes the
        same time with views of rows as with contiguous copies, which cost as much as the sampling itself.)

        Raises:
            ValueError: the buffer is empty.
        """
        rows = self.sample_rows(batch_size, rng)
        if self._batch is None:
            from sac_dist.data.batch import Batch  # torch takes a second to import; the manager does without

            self._discounts = np.empty(batch_size, np.float32)
            self._batch = Batch.of_rows(rows, self.schema, self._discounts, seen=self.seen)
            self._terminated = self.schema.views(rows)["terminated"]
        np.subtract(ONE, self._terminated, self._discounts)
        if discount != 1:
            self._discounts *= discount
        return self._batch

    def sample_rows(self, batch_size: int, rng: np.random.Generator) -> Rows:
        """As ``sample``: the rows themselves, (batch_size, row_width); ``seen`` is what they show."""
        if len(self._sampled) != batch_size:
            self._sampled = np.empty((batch_size, self.schema.row_width), np.float32)
            self.seen = Seen.empty(batch_size, self.schema)
            self._batch = None
        self.sample_into(self._sampled, rng, self.seen)
        return self._sampled

    def sample_into(self, out: Rows, rng: np.random.Generator, seen: Seen | None = None) -> None:
        """As ``sample``, into contiguous rows of the caller's, (batch_size, row_width)."""
        shard, index = self.draw(len(out), rng)
        self.take(shard, index, out)
        if seen is not None:
            self.look(shard, index, index, seen)
        again = self.overwritten(shard, index)
        while again.size:  # a writer came by: draw those anew, from what is stored now
            shard, index = self.draw(again.size, rng)
            out[again] = self.take(shard, index, np.empty((again.size, self._rows.shape[1]), np.float32))
            if seen is not None:
                seen.put(again, self.look(shard, index, index))
            again = again[self.overwritten(shard, index)]

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Counts, Counts]:
        """n of the stored transitions, uniformly: each one's shard and how many were written to that shard
        before it. ValueError if nothing is stored.
        """
        written = self._written.copy()
        stored = np.minimum(written, self._sizes)
        if self.pictures is not None:
            stored = np.clip(written - self.pictures.oldest, 0, stored)
        ends = stored.cumsum()
        total = int(ends[-1])
        if total == 0:
            raise ValueError("the replay buffer is empty: push transitions before you sample")
        place = (rng.random(n) * total).astype(np.int64)  # rng.integers takes three times as long
        shard = ends.searchsorted(place, side="right")
        return shard, place + (written - ends).take(shard)

    def take(self, shard: Counts, index: Counts, out: Rows) -> Rows:
        """Copy the rows of transitions ``index`` (n,) of ``shard`` (n,) into ``out``. They are whole unless
        ``overwritten`` says afterwards that they are not.
        """
        row = self._first.take(shard) + index % self._rings.take(shard)
        return self._rows.take(
            row, axis=0, out=out, mode="clip"
        )  # the mode "raise" would gather into a copy first

    def take_columns(self, shard: Counts, index: Counts, columns: slice | int) -> Rows:
        """As ``take``, these columns alone; shard and index of any shapes that broadcast."""
        row = self._first[shard] + index % self._rings[shard]
        return self._rows[row, columns]

    def look(self, shard: Counts, index: Counts, last: Counts, out: Seen | None = None) -> Seen:
        """What the observations of transitions ``index`` (n,) of ``shard`` (n,) show, and the next ones of
        ``last`` (n,), which are of the same episodes; whole as ``take``'s rows are.
        """
        assert self.pictures is not None
        found = Seen.empty(len(index), self.schema) if out is None else out
        assert found is not None
        episodes = self.episodes_of(shard, index)
        first = episodes.start + episodes.number
        for of, into in ((index, found.now), (last + 1, found.following)):
            slots = slots_of_stack(of + episodes.number, first, self.schema.stack)
            self.pictures.take(shard, slots, into)
        return found

    def overwritten(self, shard: Counts, index: Counts) -> Counts:
        """Which of these transitions, copied or looked up just before, may have been overwritten meanwhile:
        positions in ``index``.
        """
        memory_fence()
        oldest = self._written - self._sizes
        if self.pictures is not None:
            oldest = np.maximum(oldest, self.pictures.oldest)
        return (index < oldest.take(shard)).nonzero()[0]

    def episodes_of(self, shard: Counts, index: Counts) -> EpisodesOf:
        """The episodes of stored transitions. Of one that is ``overwritten`` afterwards it means nothing."""
        number, start, stop = (np.empty(len(index), np.int64) for _ in range(3))
        for one in np.flatnonzero(np.bincount(shard, minlength=self.shards)).tolist():
            mine = (shard == one).nonzero()[0]
            number[mine], start[mine], stop[mine] = self._episodes_of(one, index[mine])
        return EpisodesOf(number, start, stop)

    def _episodes_of(self, shard: int, index: Counts) -> EpisodesOf:
        first, ring, size = self._first.item(shard), self._rings.item(shard), self._sizes.item(shard)
        table = self._starts[first : first + ring]
        while True:
            written = self._written.item(shard)
            memory_fence()  # so the table has the start of every transition below ``written``
            count = self._episodes.item(shard)
            newer, older = table[: count % ring], table[count % ring + 1 :] if count >= ring else table[:0]
            place = newer.searchsorted(index, side="right")
            number = np.where(
                place > 0,
                count - len(newer) + place - 1,
                count - ring + older.searchsorted(index, side="right"),
            )
            start = table[number % ring]
            stop = np.where(number + 1 < count, np.minimum(table[(number + 1) % ring], written), written)
            memory_fence()
            # An entry that the writer has overwritten meanwhile can lead the search astray, to older ones.
            astray = (number < self._episodes[shard] - size) & (index >= self._written[shard] - size)
            if not astray.any():
                return EpisodesOf(number, start, stop)

    @property
    def shards(self) -> int:
        return len(self._written)

    @property
    def written(self) -> Counts:
        """(shards,) how many transitions were ever written to each shard: a copy."""
        return self._written.copy()

    @property
    def nbytes(self) -> int:
        """The shared memory of the whole buffer once it is full, but for the 8 bytes of each episode."""
        pictures = 0 if self.pictures is None else self.pictures.nbytes
        return self._rows.nbytes + 2 * self._written.nbytes + pictures

    def get_length(self) -> int:
        """How many transitions are stored, over all shards."""
        stored = np.minimum(self._written, self._sizes)
        if self.pictures is not None:
            stored = np.clip(self._written - self.pictures.oldest, 0, stored)
        return int(stored.sum())

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
            "row_bytes": self._rows.strides[0] + self.schema.frame_size,
            "bytes": self.nbytes,
        }

    # Checkpoints

    def snapshot(self, since: npt.ArrayLike | None = None, pictures: bool = True) -> ReplaySegment:
        """Copy what was written after the counts ``since`` (a segment's ``stop``) and is still stored; None:
        all that is stored.

        Complete even while others write: each shard is copied from its oldest row on, faster than a writer
        can follow.

        Args:
            pictures: False leaves them out.

        Raises:
            ValueError: ``since`` is not of this buffer: other shards, or more than was written.
        """
        after = np.zeros(self.shards, np.int64) if since is None else np.asarray(since, np.int64)
        if after.shape != (self.shards,) or (after > self._written).any() or (after < 0).any():
            raise ValueError(f"since is {after.tolist()}: written are {self._written.tolist()} transitions")
        start, stop, oldest = (self._written.copy() for _ in range(3))
        parts, episodes, numbers, frames = [], [], [], []
        for shard in range(self.shards):
            while True:
                stop[shard] = self._written[shard]
                oldest[shard] = max(stop[shard] - self._sizes[shard], 0)
                if self.pictures is not None:
                    oldest[shard] = max(oldest[shard], self.pictures.oldest[shard])
                start[shard] = max(oldest[shard], after[shard])
                begun, number = self._begun(shard, start.item(shard), stop.item(shard))  # before its rows
                rows = self._copy(shard, start.item(shard), stop.item(shard))
                if rows is None:
                    continue
                if self.pictures is None or not pictures:
                    break
                goes_on = bool(after[shard]) and start[shard] == after[shard]
                whole = self._copy_frames(shard, start.item(shard), stop.item(shard), begun, number, goes_on)
                if start[shard] >= self.pictures.oldest[shard]:
                    frames.append(whole)
                    break
            parts.append(rows)
            episodes.append(begun)
            numbers.append(number)
        segment = ReplaySegment(self.capacity, start, stop, np.concatenate(parts), tuple(episodes))
        if not frames:
            return segment
        return segment._replace(frames=SegmentFrames.of(frames, numbers, oldest))

    def _copy_frames(
        self, shard: int, start: int, stop: int, begun: Counts, number: int, goes_on: bool
    ) -> tuple[int, Frames]:
        """First slot and frames of transitions start … stop - 1. ``goes_on``: after a snapshot that has those
        of the transition before.
        """
        assert self.pictures is not None
        if start == stop:
            return 0, self.pictures.frames[:0]
        if goes_on:
            first = start + number + (begun[0] != start)
        else:
            first = max(start + number - self.schema.stack + 1, begun.item(0) + number)
        last_number = number + len(begun) - 1
        frames = self.pictures.copy(shard, int(first), stop + last_number + 1)
        memory_fence()
        return int(first), frames

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

    def _begun(self, shard: int, start: int, stop: int) -> tuple[Counts, int]:
        """Where the episodes of the transitions start … stop - 1 begin, and the number of the first of them.
        Right if that is not overwritten afterwards.
        """
        memory_fence()
        count, ring = self._episodes.item(shard), self._rings.item(shard)
        number = max(count - ring + 1, 0)
        table = self._starts[self._first[shard] + np.arange(number, count) % ring]
        memory_fence()
        gone = max(self._episodes.item(shard) - ring + 1 - number, 0)
        table, number = table[gone:], number + gone
        if start == stop:
            return table[:0], number
        first = max(int(table.searchsorted(start, side="right")) - 1, 0)
        return table[first : table.searchsorted(stop)], number + first

    def restore(self, segment: ReplaySegment) -> bool:
        """Put back a snapshot, and then those taken ``since`` it in order, before anyone else reads or
        writes.

        Returns:
            True if the buffer has the snapshot's capacity and shards: every row and count is then as it was.
            False if not: the episodes were dealt out over the shards (see ``deal``), and the next snapshot
            has to be a whole one.

        Raises:
            ValueError: rows of another width or not finite, or a segment that does not go on where the buffer
                stands.
        """
        check_segment(segment, self.schema)
        start, stop = segment.start, segment.stop
        if segment.capacity != self.capacity or len(stop) != self.shards:
            for shard, dealt in enumerate(deal(segment, self._sizes)):
                self._append(shard, *dealt)
            return False
        expected = np.maximum(self._written, stop - self._sizes)
        if (start < expected).any() or ((start > expected).any() and segment.frames is None):
            raise ValueError(f"a replay segment from {start} to {stop} cannot follow {self._written}")
        for shard, (rows, begun) in enumerate(zip(segment.parts(), segment.episodes, strict=True)):
            self._rows[self._first[shard] + np.arange(start[shard], stop[shard]) % self._rings[shard]] = rows
            if segment.frames is not None and self.pictures is not None:
                if not self._episodes[shard]:
                    self._episodes[shard] = segment.frames.numbers[shard]
                self.pictures.restore(shard, *segment.frames.of_shard(shard))
            for number in begun.tolist():
                self._begin(shard, number)
        self._written[:] = stop
        return True


def buffer_bytes(capacity: int, schema: Schema, shards: int) -> int:
    """The memory of such a buffer once it is full, in episodes of some length."""
    rows = 4 * (capacity + shards) * schema.row_width + 16 * shards
    if not schema.pictures:
        return rows
    slots = sum(slots_for(size, schema.stack) for size in shard_sizes(capacity, shards).tolist())
    return rows + slots * schema.frame_size


def _open(
    schema: Schema,
    rows: SharedArray,
    starts: SharedArray,
    counts: SharedArray,
    pictures: tuple[SharedArray, SharedArray] | None,
    shard: int | None,
) -> ReplayBuffer:
    buffer = ReplayBuffer.__new__(ReplayBuffer)
    buffer._open(schema, rows, starts, counts, pictures, shard)
    return buffer
