"""The replay of a cluster: stores, which are actors that hold shards; the worker's end that sends chunks, the
learner's end that samples ahead.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import ray
from ray.exceptions import RayError, RayTaskError

from sac_dist.data.hindsight import Hindsight, Later
from sac_dist.data.moments import Moments
from sac_dist.data.pictures import Seen
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.schema import Rows, Schema
from sac_dist.data.segment import Counts, ReplaySegment

UNSETTLED = 4  # chunks of a worker that may be on their way before it waits
SUCCESSOR = 0.05  # s between tries while a dead store has no successor yet
FAREWELL = 3.0  # s for which a worker that is told to stop waits for what is on its way
LENGTHS_AGE = 0.5  # s between questions whether an empty store is still empty

Writer = tuple[int, int]  # a worker's rank and generation


class StoreLost(Exception):
    """The store that was asked has died; another one takes its place soon."""


class NoBatch(Exception):
    """There is nothing to sample, or no time to wait for it: the learner has been told to park or stop."""


class Chunk(NamedTuple):
    """Transitions on their way from a worker to its shard."""

    writer: Writer
    first: int  # how many the writer has sent before
    rows: Rows  # (n, row_width)
    begins: Counts  # those of them that begin an episode


class Sample(NamedTuple):
    """What a store gives to the learner."""

    rows: Rows  # (n, row_width)
    goals: Rows  # (n, size) what their episodes achieved later on; of size 0 where nobody asks
    length: int  # transitions that it holds
    new: Moments | None  # of the observations that have come since the last sample, if it observes


class Store:
    """Actor: a part of the replay's shards, as a ReplayBuffer in its memory. Large transfers go in pieces of
    the caller's size. ``observes``: it keeps the moments of what the workers' observations are, for the
    learner. ``later``: it finds goals in hindsight for what it gives to the learner.
    """

    def __init__(
        self,
        capacity: int,
        schema: Schema,
        shards: int,
        observes: bool = False,
        later: Later | None = None,
    ) -> None:
        """Raises ConfigError where the memory is not there."""
        self._later = later
        self._new = Moments.none(schema.observation_size) if observes else None
        self.buffer = ReplayBuffer(capacity, schema, shards)
        self._shards = [self.buffer.for_shard(shard) for shard in range(shards)]
        self._stored: dict[Writer, int] = {}
        self._expected: list[tuple[Writer, int] | None] = [
            None
        ] * shards  # what goes on where the last chunk ended
        self._pieces: list[Rows] = []

    def extend(self, shard: int, chunk: Chunk) -> None:
        """Append a worker's transitions, which it has checked."""
        writer, first, rows, begins = chunk
        if self._expected[shard] != (writer, first):  # another writer, or chunks were lost with a store
            begins = np.union1d([0], begins)
        self._shards[shard].append(rows, begins)
        if self._new is not None:
            observations = rows[:, self.buffer.schema.columns["observation"]]
            self._new = self._new.merged(Moments.of(observations))
        self._expected[shard] = writer, first + len(rows)
        self._stored[writer] = self._stored.get(writer, 0) + len(rows)

    def stored_by(self, writer: Writer) -> int:
        """Transitions that this worker has stored here."""
        return self._stored.get(writer, 0)

    def sample(self, count: int, seed: int) -> Sample:
        """``count`` transitions drawn uniformly, with replacement."""
        new = self._new
        if new is not None:
            self._new = Moments.none(len(new.mean))
        rng = np.random.default_rng(seed)
        rows, goals = (
            np.empty((count, self.buffer.schema.row_width), np.float32),
            np.empty((count, 0), np.float32),
        )
        if self._later is None:
            self.buffer.sample_into(rows, rng)
        else:
            goals = self._later.sample(self.buffer, rows, slice(None), rng)
        return Sample(rows, goals, len(self.buffer), new)

    def length(self) -> int:
        return len(self.buffer)

    def written(self) -> int:
        """Transitions ever written, to all shards here."""
        return int(self.buffer.state()["total"])

    def snapshot(self, since: Counts) -> ReplaySegment:
        """ReplayBuffer's, but for the rows, which ``piece`` hands over."""
        segment = self.buffer.snapshot(since)
        self._pieces = [segment.rows]
        return segment._replace(rows=segment.rows[:0])

    def piece(self, start: int, stop: int) -> Rows:
        """Rows of the copy."""
        return self._pieces[0][start:stop]

    def take(self, rows: Rows) -> None:
        """Rows of a segment that ``restore`` puts in, oldest first."""
        self._pieces.append(rows.copy())  # out of the object store

    def restore(self, segment: ReplaySegment) -> None:
        """Fill the empty shards with a segment, whose rows have been taken."""
        rows = np.concatenate([*self._pieces, segment.rows])
        self.buffer.restore(segment._replace(rows=rows))
        self._pieces = []


class Stores:
    """How an actor calls the stores. ``handles`` changes when a dead one was replaced; Ray's errors become
    StoreLost.
    """

    def __init__(self, handles: Sequence[Any]) -> None:
        self.handles = list(handles)

    def call(self, store: int, method: str, *arguments: Any) -> Any:
        """Begin a call; returns what ``ready`` and ``result`` take."""
        return getattr(self.handles[store], method).remote(*arguments)

    def ready(self, call: Any, timeout: float = 0) -> bool:
        return bool(ray.wait([call], timeout=timeout)[0])

    def result(self, call: Any) -> Any:
        """Waits for it. Raises StoreLost, or what the method raised."""
        try:
            return ray.get(call)
        except RayTaskError:
            raise
        except RayError as error:
            raise StoreLost from error


class ChunkSender:
    """A worker's replay: checks and stages its transitions like a ReplayBuffer and sends them in chunks to
    its shard, which is number rank // stores of store rank % stores.

    Args:
        writer: who sends.
        chunk: transitions that are sent together; fewer by ``flush``.
        pause: called again and again while it waits.
        stopped: whether waiting has no purpose any more.
    """

    def __init__(
        self,
        stores: Stores,
        writer: Writer,
        schema: Schema,
        chunk: int,
        pause: Callable[[], None],
        stopped: Callable[[], bool],
    ) -> None:
        self.schema = schema
        self.settled = 0  # transitions that its store has confirmed
        self._stores, self._writer, self._chunk = stores, writer, chunk
        self._shard, self._store = divmod(writer[0], len(stores.handles))
        self._pause, self._stopped = pause, stopped
        self._staged = ReplayBuffer(chunk, schema)
        self._pushed = self._sent = 0
        self._under_way: deque[tuple[Chunk, Any]] = deque()

    def __len__(self) -> int:
        return self.settled

    def begin_episode(self) -> None:
        """As ReplayBuffer.begin_episode."""
        self._staged.begin_episode()

    def push(self, *transition: npt.ArrayLike) -> None:
        """As ReplayBuffer.push."""
        self._staged.push(*transition)
        self._pushed += 1
        if self._pushed - self._sent == self._chunk:
            self.flush()

    def flush(self) -> None:
        """Send what is staged, then ``confirm``."""
        if self._pushed > self._sent:
            segment = self._staged.snapshot([self._sent])
            begun = segment.episodes[0]
            chunk = Chunk(self._writer, self._sent, segment.rows, begun[begun >= self._sent] - self._sent)
            self._sent = self._pushed
            self._under_way.append((chunk, self._send(chunk)))
        self.confirm()

    def confirm(self) -> None:
        """Book what has arrived; waits only where too much is on its way."""
        self._confirm(UNSETTLED)

    def settle(self) -> None:
        """Return once the store has everything, or waiting has no purpose any more."""
        self.flush()
        self._confirm(0)

    def _send(self, chunk: Chunk) -> Any:
        return self._stores.call(self._store, "extend", self._shard, chunk)

    def _confirm(self, allowed: int) -> None:
        """Book what has arrived, and wait until at most ``allowed`` chunks are on their way."""
        give_up = time.monotonic() + FAREWELL
        while self._under_way:
            chunk, call = self._under_way[0]
            if not self._stores.ready(call):
                if len(self._under_way) <= allowed or (self._stopped() and time.monotonic() > give_up):
                    return
                self._pause()
                continue
            try:
                self._stores.result(call)
            except StoreLost:
                if self._stopped():
                    return
                self._pause()
                time.sleep(SUCCESSOR)
                self._under_way[0] = chunk, self._send(chunk)
                continue
            self._under_way.popleft()
            self.settled += len(chunk.rows)


class StoreSampler:
    """The learner's replay: draws uniformly over all stores, a block ahead of what is used.

    Args:
        ahead: rows of a block. While one is used up the next one is on its way, so a batch is at most two
            blocks old.
        pause: called again and again while it waits; raises NoBatch where waiting has no purpose.
        later: the stores'.
    """

    def __init__(
        self,
        stores: Stores,
        schema: Schema,
        ahead: int,
        pause: Callable[[], None],
        later: Later | None = None,
    ) -> None:
        self.schema = schema
        self._stores, self._pause = stores, pause
        self._lengths = np.zeros(len(stores.handles), np.int64)
        self._asked = -np.inf
        self._block = np.empty((ahead, schema.row_width), np.float32)
        self._goals = np.empty((ahead, 0 if later is None else later.size), np.float32)
        self._used = ahead
        self._next: tuple[npt.NDArray[np.int64], list[Any]] | None = None
        self._new = Moments.none(schema.observation_size)

    def __len__(self) -> int:
        """Transitions that the stores held when they were last asked."""
        # of one that counts as empty nothing is drawn, and so nothing heard
        if not self._lengths.all() and time.monotonic() > self._asked + LENGTHS_AGE:
            self._asked = time.monotonic()
            calls = [self._stores.call(store, "length") for store in range(len(self._lengths))]
            try:
                self._lengths[:] = [self._stores.result(call) for call in calls]
            except StoreLost:
                self._pause()
        return int(self._lengths.sum())

    def sample_into(self, out: Rows, rng: np.random.Generator, seen: Seen | None = None) -> None:
        """Fill ``out`` (B, row width). Raises NoBatch where the replay is empty."""
        self.sample_with_goals(out, rng)

    def sample_with_goals(self, out: Rows, rng: np.random.Generator) -> Rows:
        """As ``sample_into``; returns (B, size) what the transitions' episodes achieved later on."""
        goals = np.empty((len(out), self._goals.shape[1]), np.float32)
        filled = 0
        while filled < len(out):
            if self._used == len(self._block):
                self._turn(rng)
            taken = slice(self._used, self._used + len(out) - filled)
            rows = self._block[taken]
            into = slice(filled, filled + len(rows))
            out[into], goals[into] = rows, self._goals[taken]
            filled += len(rows)
            self._used += len(rows)
        return goals

    def moments(self) -> Moments | None:
        """Of the observations that the stores have told of since the last call; None: of none."""
        new, self._new = self._new, Moments.none(self.schema.observation_size)
        return new if new.number else None

    def _turn(self, rng: np.random.Generator) -> None:
        """Take the block that is on its way and ask for the next one."""
        while True:
            if self._next is None:
                self._next = self._ask(rng)
            try:
                self._fetch(*self._next)
                break
            except StoreLost:
                self._next = None
                self._lengths[:], self._asked = 0, -np.inf
                self._pause()
                time.sleep(SUCCESSOR)
        self._used = 0
        self._next = self._ask(rng)

    def _ask(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], list[Any]]:
        """Have a block drawn: each row's store, with a chance proportional to what it holds, and the stores'
        calls.
        """
        if not len(self):
            raise NoBatch
        store = self._lengths.cumsum().searchsorted(
            rng.random(len(self._block)) * self._lengths.sum(), side="right"
        )
        counts = np.bincount(store, minlength=len(self._lengths))
        seeds = rng.integers(2**62, size=len(counts)).tolist()
        calls = [
            self._stores.call(k, "sample", int(n), seeds[k]) if n else None for k, n in enumerate(counts)
        ]
        return store, calls

    def _fetch(self, store: npt.NDArray[np.int64], calls: list[Any]) -> None:
        for k, call in enumerate(calls):
            if call is None:
                continue
            while not self._stores.ready(call, timeout=0.02):
                self._pause()
            sample: Sample = self._stores.result(call)
            self._block[store == k], self._lengths[k] = sample.rows, sample.length
            self._goals[store == k] = sample.goals
            if sample.new is not None:
                self._new = self._new.merged(sample.new)


class StoreHindsight(Hindsight):
    """The stores find the goals, as they know the episodes; the learner's environment judges them."""

    def _draw(
        self, replay: Any, rows: Rows, which: Counts | slice, rng: np.random.Generator, seen: Seen | None
    ) -> Rows:
        goals: Rows = replay.sample_with_goals(rows, rng)
        return goals[which]
