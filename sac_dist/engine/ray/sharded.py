"""The replay of a cluster as the driver and its files see it: one buffer whose shards are actors."""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from sac_dist.data.ring import ReplayBuffer, ReplaySegment, Rows, deal, shard_sizes
from sac_dist.data.transitions import Demonstrations
from sac_dist.engine.outcome import TrainingFailed
from sac_dist.engine.ray.cluster import BEAT_INTERVAL, Heartbeat
from sac_dist.engine.ray.replay import Shard, ShardLost, Shards, Writer
from sac_dist.settings import ConfigError

PLACING = 60.0  # s for a shard to find a place in the cluster and to take its memory
ANSWER = 5.0  # s for a shard's answer, before the run goes on without
LOOK_INTERVAL = 0.2  # s between looks whether the shards are there
PIECE = 2**24  # bytes of transitions in one message
MAX_FAILURES = 5  # deaths of shards in a run that it bears
# s for which a dead shard is tried to start anew: a cluster takes its time to notice that a node is gone
NO_PLACE = 180.0


class WatchedShards(Shards):
    """The driver's way to the shards: to wait for a cluster that is gone would end the process without a
    word.
    """

    def __init__(self, handles: list[Any], heart: Heartbeat) -> None:
        super().__init__(handles)
        self.heart = heart

    def result(self, call: Any, within: float = math.inf) -> Any:
        """As there; after ``within`` seconds, or when the cluster is gone, the shard counts as lost."""
        deadline = time.monotonic() + within
        while not self.ready(call, BEAT_INTERVAL):
            self.heart.look()
            if self.heart.stopped or time.monotonic() > deadline:
                raise ShardLost
        return super().result(call)


class ShardedReplay:
    """``shards`` actors that together hold ``capacity`` transitions. Raises ConfigError where the cluster has
    no room for them.
    """

    def __init__(
        self, capacity: int, observation_size: int, action_size: int, shards: int, heart: Heartbeat
    ) -> None:
        self.capacity, self._sizes = capacity, (observation_size, action_size)
        self.capacities = shard_sizes(capacity, shards)
        self.width = 2 * observation_size + action_size + 3
        self._class = ray.remote(num_cpus=0)(Shard).options(scheduling_strategy="SPREAD")
        self.shards = WatchedShards([self._start(shard) for shard in range(shards)], heart)
        self.written = np.zeros(shards, np.int64)  # as last heard
        self._failures = 0
        self._dead: dict[int, float] = {}  # since when
        self._looks: list[Any] = [None] * shards
        self._looked = time.monotonic()
        try:
            self._all("written")
        except ShardLost as error:
            reason = (str(error.__cause__).strip().splitlines() or ["?"])[-1]
            raise ConfigError(f"the cluster has no room for the replay buffer: {reason}") from None

    def _start(self, shard: int) -> Any:
        return self._class.remote(int(self.capacities[shard]), *self._sizes)

    def _all(self, method: str, *arguments: Any) -> list[Any]:
        """The method's result on each shard. Raises ShardLost."""
        calls = [self.shards.call(shard, method, *arguments) for shard in range(len(self.capacities))]
        try:
            return list(ray.get(calls, timeout=PLACING))
        except RayTaskError as error:
            if isinstance(error.cause, ConfigError):
                raise error.cause from None
            raise
        except RayError as error:
            raise ShardLost from error

    def count(self) -> int:
        """Transitions ever written, over all shards; of one that does not answer what was last heard."""
        calls = [self.shards.call(shard, "written") for shard in range(len(self.capacities))]
        for shard, call in enumerate(calls):
            with contextlib.suppress(RayError):
                self.written[shard] = ray.get(call, timeout=ANSWER)
        return int(self.written.sum())

    # What the files need

    def snapshot(self, since: npt.ArrayLike | None = None) -> ReplaySegment:
        """As ReplayBuffer.snapshot. A shard that dies meanwhile counts as empty of anything new."""
        after = np.zeros(len(self.capacities), np.int64) if since is None else np.asarray(since, np.int64)
        start, stop, parts = after.copy(), after.copy(), []
        for shard in range(len(after)):
            try:
                first, end, rows = self._copy(shard, int(after[shard]))
            except ShardLost:
                self._dead.setdefault(shard, time.monotonic())
                continue
            start[shard], stop[shard] = first, end
            parts.append(rows)
        return ReplaySegment(
            self.capacity, start, stop, np.concatenate([*parts, np.empty((0, self.width), np.float32)])
        )

    def _copy(self, shard: int, since: int) -> tuple[int, int, Rows]:
        first, end = self.shards.result(self.shards.call(shard, "snapshot", since))
        self.written[shard] = end
        size = max(PIECE // (4 * self.width), 1)
        pieces = [
            self.shards.result(
                self.shards.call(shard, "piece", at, at + size)
            ).copy()  # out of the object store
            for at in range(0, end - first, size)
        ]
        return first, end, np.concatenate([*pieces, np.empty((0, self.width), np.float32)])

    def restore(self, segment: ReplaySegment) -> bool:
        """As ReplayBuffer.restore."""
        exact = segment.capacity == self.capacity and len(segment.stop) == len(self.capacities)
        if exact:
            parts = np.split(segment.rows, (segment.stop - segment.start).cumsum()[:-1])
            for shard, rows in enumerate(parts):
                self._fill(shard, int(segment.start[shard]), int(segment.stop[shard]), rows)
        else:
            for shard, rows in enumerate(deal(segment, len(self.capacities))):
                rows = rows[-int(self.capacities[shard]) :]
                self._fill(shard, 0, len(rows), rows)
        return exact

    def _fill(self, shard: int, start: int, stop: int, rows: Rows) -> None:
        size = max(PIECE // (4 * self.width), 1)
        for at in range(0, len(rows), size):
            self.shards.result(self.shards.call(shard, "take", rows[at : at + size]))
        self.shards.result(self.shards.call(shard, "restore", start, stop))
        self.written[shard] = stop

    def prefill(self, demos: Demonstrations) -> None:
        """Demonstrations into the empty shards, an equal part into each."""
        fields = (
            demos.observation,
            demos.action,
            demos.reward,
            demos.next_observation,
            demos.terminated,
            demos.truncated,
        )
        buffer = ReplayBuffer(len(demos), *self._sizes)
        buffer.extend(*fields)
        self.restore(buffer.snapshot())

    # Deaths

    def stored_by(self, writer: Writer) -> int:
        """Transitions of a worker that are stored, over all shards; those of a lost shard are not."""
        try:
            return sum(
                ray.get(
                    [self.shards.call(shard, "stored_by", writer) for shard in range(len(self.capacities))],
                    timeout=ANSWER,
                )
            )
        except (RayError, GetTimeoutError):
            return 0

    def dead(self) -> set[int]:
        """Shards that have died; asks them now and then."""
        if time.monotonic() > self._looked + LOOK_INTERVAL:
            self._looked = time.monotonic()
            for shard, call in enumerate(self._looks):
                if call is None:
                    self._looks[shard] = self.shards.call(shard, "written")
                elif self.shards.ready(call):
                    self._looks[shard] = None
                    try:
                        self.written[shard] = self.shards.result(call)
                    except ShardLost:
                        self._dead.setdefault(shard, time.monotonic())
        return set(self._dead)

    def revive(self, shard: int, segment: ReplaySegment | None) -> int | None:
        """Start a dead shard anew with what ``segment``, the files' content, holds of it.

        Returns how many transitions that are; None: it has to be tried again. Raises TrainingFailed where
        that has no end.
        """
        if time.monotonic() > self._dead[shard] + NO_PLACE:
            raise TrainingFailed(
                f"replay-{shard} finds no place in the cluster; go on from the last checkpoint with --resume"
            )
        with contextlib.suppress(RayError):
            ray.kill(self.shards.handles[shard])
        handle = self._start(shard)
        self.shards.handles[shard] = handle
        self._looks[shard] = None
        back = 0
        try:
            self.shards.result(handle.written.remote(), PLACING)
            self.written[shard] = 0
            back = 0 if segment is None else self._refill(shard, segment)
        except (RayError, ShardLost):
            return None
        del self._dead[shard]
        self._failures += 1
        if self._failures > MAX_FAILURES:
            raise TrainingFailed(
                f"replay shards died {self._failures} times; go on from the last checkpoint with --resume"
            )
        return back

    def _refill(self, shard: int, segment: ReplaySegment) -> int:
        counts = segment.stop - segment.start
        ends = counts.cumsum()
        rows = segment.rows[int(ends[shard] - counts[shard]) : int(ends[shard])]
        self._fill(shard, int(segment.start[shard]), int(segment.stop[shard]), rows)
        return len(rows)

    def close(self) -> None:
        for handle in self.shards.handles:
            with contextlib.suppress(RayError):
                ray.kill(handle)
