"""The replay of a cluster: shards in actors, the worker's end that sends chunks, the learner's end that
samples ahead.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from ray.exceptions import RayError, RayTaskError

from sac_dist.data.ring import ReplayBuffer, ReplaySegment, Rows

UNSETTLED = 4  # chunks of a worker that may be on their way before it waits
SUCCESSOR = 0.05  # s between tries while a dead shard has no successor yet
FAREWELL = 3.0  # s for which a worker that is told to stop waits for what is on its way
LENGTHS_AGE = 0.5  # s between questions whether an empty replay is still empty

Writer = tuple[int, int]  # a worker's rank and generation


class ShardLost(Exception):
    """The shard that was asked has died; another one takes its place soon."""


class NoBatch(Exception):
    """There is nothing to sample, or no time to wait for it: the learner has been told to park or stop."""


class Shard:
    """Actor: one shard of the replay, a plain ReplayBuffer in its memory. Large transfers go in pieces of the
    caller's size.
    """

    def __init__(self, capacity: int, observation_size: int, action_size: int) -> None:
        """Raises ConfigError where the memory is not there."""
        self.buffer = ReplayBuffer(capacity, observation_size, action_size)
        self._stored: dict[Writer, int] = {}
        self._pieces: list[Rows] = []

    def extend(self, writer: Writer, rows: Rows) -> None:
        """Append a worker's transitions (n, row width), which it has checked."""
        self.buffer.append(rows)
        self._stored[writer] = self._stored.get(writer, 0) + len(rows)

    def stored_by(self, writer: Writer) -> int:
        """Transitions that this worker has stored here."""
        return self._stored.get(writer, 0)

    def sample(self, count: int, seed: int) -> tuple[Rows, int]:
        """``count`` transitions drawn uniformly, with replacement, and how many there are."""
        return self.buffer.sample_rows(count, np.random.default_rng(seed)), len(self.buffer)

    def length(self) -> int:
        return len(self.buffer)

    def written(self) -> int:
        """Transitions ever written."""
        return int(self.buffer.state()["total"])

    def snapshot(self, since: int) -> tuple[int, int]:
        """Copy what is stored of the transitions from the ``since``-th on; returns the first and the end.
        ``piece`` hands it over.
        """
        segment = self.buffer.snapshot([since])
        self._pieces = [segment.rows]
        return int(segment.start[0]), int(segment.stop[0])

    def piece(self, start: int, stop: int) -> Rows:
        """Rows of the copy."""
        return self._pieces[0][start:stop]

    def take(self, rows: Rows) -> None:
        """Rows of a snapshot that ``restore`` puts in, oldest first."""
        self._pieces.append(rows.copy())  # out of the object store

    def restore(self, start: int, stop: int) -> None:
        """Fill the empty shard with the rows taken, which are the transitions ``start`` … ``stop`` - 1."""
        rows = np.concatenate([*self._pieces, np.empty((0, self.buffer.row_width), np.float32)])
        self.buffer.restore(ReplaySegment(self.buffer.capacity, np.array([start]), np.array([stop]), rows))
        self._pieces = []


class Shards:
    """How an actor calls the shards. ``handles`` changes when a dead one was replaced; Ray's errors become
    ShardLost.
    """

    def __init__(self, handles: Sequence[Any]) -> None:
        self.handles = list(handles)

    def call(self, shard: int, method: str, *arguments: Any) -> Any:
        """Begin a call; returns what ``ready`` and ``result`` take."""
        return getattr(self.handles[shard], method).remote(*arguments)

    def ready(self, call: Any, timeout: float = 0) -> bool:
        return bool(ray.wait([call], timeout=timeout)[0])

    def result(self, call: Any) -> Any:
        """Waits for it. Raises ShardLost, or what the method raised."""
        try:
            return ray.get(call)
        except RayTaskError:
            raise
        except RayError as error:
            raise ShardLost from error


class ChunkSender:
    """A worker's replay: checks and stages its transitions like a ReplayBuffer and sends them to a shard in
    chunks.

    Args:
        writer, shard: who sends, and where.
        chunk: transitions that are sent together; fewer by ``flush``.
        pause: called again and again while it waits.
        stopped: whether waiting has no purpose any more.
    """

    def __init__(
        self,
        shards: Shards,
        shard: int,
        writer: Writer,
        sizes: tuple[int, int],
        chunk: int,
        pause: Callable[[], None],
        stopped: Callable[[], bool],
    ) -> None:
        self.observation_size, self.action_size = sizes
        self.settled = 0  # transitions that the shard has confirmed
        self._shards, self._shard, self._writer, self._chunk = shards, shard, writer, chunk
        self._pause, self._stopped = pause, stopped
        self._staged = ReplayBuffer(chunk, *sizes)
        self._pushed = self._sent = 0
        self._under_way: deque[tuple[Rows, Any]] = deque()

    @property
    def row_width(self) -> int:
        return self._staged.row_width

    def __len__(self) -> int:
        return self.settled

    def push(self, *transition: npt.ArrayLike) -> None:
        """As ReplayBuffer.push."""
        self._staged.push(*transition)
        self._pushed += 1
        if self._pushed - self._sent == self._chunk:
            self.flush()

    def flush(self) -> None:
        """Send what is staged, then ``confirm``."""
        if self._pushed > self._sent:
            rows = self._staged.snapshot([self._sent]).rows
            self._sent = self._pushed
            self._under_way.append((rows, self._send(rows)))
        self.confirm()

    def confirm(self) -> None:
        """Book what has arrived; waits only where too much is on its way."""
        self._confirm(UNSETTLED)

    def settle(self) -> None:
        """Return once the shard has everything, or waiting has no purpose any more."""
        self.flush()
        self._confirm(0)

    def _send(self, rows: Rows) -> Any:
        return self._shards.call(self._shard, "extend", self._writer, rows)

    def _confirm(self, allowed: int) -> None:
        """Book what has arrived, and wait until at most ``allowed`` chunks are on their way."""
        give_up = time.monotonic() + FAREWELL
        while self._under_way:
            rows, call = self._under_way[0]
            if not self._shards.ready(call):
                if len(self._under_way) <= allowed or (self._stopped() and time.monotonic() > give_up):
                    return
                self._pause()
                continue
            try:
                self._shards.result(call)
            except ShardLost:
                if self._stopped():
                    return
                self._pause()
                time.sleep(SUCCESSOR)
                self._under_way[0] = rows, self._send(rows)
                continue
            self._under_way.popleft()
            self.settled += len(rows)


class ShardSampler:
    """The learner's replay: draws uniformly over all shards, a block ahead of what is used.

    Args:
        ahead: rows of a block. While one is used up the next one is on its way, so a batch is at most two
            blocks old.
        pause: called again and again while it waits; raises NoBatch where waiting has no purpose.
    """

    def __init__(self, shards: Shards, sizes: tuple[int, int], ahead: int, pause: Callable[[], None]) -> None:
        self.observation_size, self.action_size = sizes
        self.row_width = 2 * sizes[0] + sizes[1] + 3
        self._shards, self._pause = shards, pause
        self._lengths = np.zeros(len(shards.handles), np.int64)
        self._asked = -np.inf
        self._block = np.empty((ahead, self.row_width), np.float32)
        self._used = ahead
        self._next: tuple[npt.NDArray[np.int64], list[Any]] | None = None

    def __len__(self) -> int:
        """Transitions that the shards held when they were last asked."""
        if not self._lengths.any() and time.monotonic() > self._asked + LENGTHS_AGE:
            self._asked = time.monotonic()
            calls = [self._shards.call(shard, "length") for shard in range(len(self._lengths))]
            try:
                self._lengths[:] = [self._shards.result(call) for call in calls]
            except ShardLost:
                self._pause()
        return int(self._lengths.sum())

    def sample_into(self, out: Rows, rng: np.random.Generator) -> None:
        """Fill ``out`` (B, row width). Raises NoBatch where the replay is empty."""
        filled = 0
        while filled < len(out):
            if self._used == len(self._block):
                self._turn(rng)
            rows = self._block[self._used : self._used + len(out) - filled]
            out[filled : filled + len(rows)] = rows
            filled += len(rows)
            self._used += len(rows)

    def _turn(self, rng: np.random.Generator) -> None:
        """Take the block that is on its way and ask for the next one."""
        while True:
            if self._next is None:
                self._next = self._ask(rng)
            try:
                self._fetch(*self._next)
                break
            except ShardLost:
                self._next = None
                self._lengths[:], self._asked = 0, -np.inf
                self._pause()
                time.sleep(SUCCESSOR)
        self._used = 0
        self._next = self._ask(rng)

    def _ask(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], list[Any]]:
        """Have a block drawn: each row's shard, with a chance proportional to what it holds, and the shards'
        calls.
        """
        if not len(self):
            raise NoBatch
        shard = self._lengths.cumsum().searchsorted(
            rng.random(len(self._block)) * self._lengths.sum(), side="right"
        )
        counts = np.bincount(shard, minlength=len(self._lengths))
        seeds = rng.integers(2**62, size=len(counts)).tolist()
        calls = [
            self._shards.call(k, "sample", int(n), seeds[k]) if n else None for k, n in enumerate(counts)
        ]
        return shard, calls

    def _fetch(self, shard: npt.NDArray[np.int64], calls: list[Any]) -> None:
        for k, call in enumerate(calls):
            if call is None:
                continue
            while not self._shards.ready(call, timeout=0.02):
                self._pause()
            rows, self._lengths[k] = self._shards.result(call)
            self._block[shard == k] = rows
