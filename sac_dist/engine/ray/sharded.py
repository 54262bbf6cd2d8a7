"""The replay of a cluster as the driver and its files see it: one buffer whose shards lie in actors."""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from sac_dist.data.hindsight import Later
from sac_dist.data.schema import Schema
from sac_dist.data.segment import Counts, ReplaySegment, deal, shard_sizes
from sac_dist.data.transitions import Transitions
from sac_dist.engine.outcome import TrainingFailed
from sac_dist.engine.ray.cluster import BEAT_INTERVAL, Heartbeat
from sac_dist.engine.ray.replay import Store, StoreLost, Stores, Writer
from sac_dist.settings import ConfigError

PLACING = 60.0  # s for a store to find a place in the cluster and to take its memory
ANSWER = 5.0  # s for a store's answer, before the run goes on without
LOOK_INTERVAL = 0.2  # s between looks whether the stores are there
PIECE = 2**24  # bytes of transitions in one message
MAX_FAILURES = 5  # deaths of stores in a run that it bears
# s for which a dead store is tried to start anew: a cluster takes its time to notice that a node is gone
NO_PLACE = 180.0


class WatchedStores(Stores):
    """The driver's way to the stores: to wait for a cluster that is gone would end the process without a
    word.
    """

    def __init__(self, handles: list[Any], heart: Heartbeat) -> None:
        super().__init__(handles)
        self.heart = heart

    def result(self, call: Any, within: float = math.inf) -> Any:
        """As there; after ``within`` seconds, or when the cluster is gone, the store counts as lost."""
        deadline = time.monotonic() + within
        while not self.ready(call, BEAT_INTERVAL):
            self.heart.look()
            if self.heart.stopped or time.monotonic() > deadline:
                raise StoreLost
        return super().result(call)


class ShardedReplay:
    """A buffer of ``capacity`` transitions with a shard for each worker, divided over stores: that of worker
    ``rank`` lies in store ``rank % stores``. ``observes``, ``later``: see Store. Raises
    ConfigError where the cluster has no room for them.
    """

    def __init__(
        self,
        capacity: int,
        schema: Schema,
        workers: int,
        stores: int,
        heart: Heartbeat,
        observes: bool = False,
        later: Later | None = None,
    ) -> None:
        self.capacity, self.schema = capacity, schema
        self.of_store = observes, later
        self.sizes = shard_sizes(capacity, workers)
        # of each store; one beyond the number of workers would stay empty
        self.ranks = [np.arange(store, workers, stores) for store in range(min(stores, workers))]
        self._class = ray.remote(num_cpus=0)(Store).options(scheduling_strategy="SPREAD")
        self.stores = WatchedStores([self._start(store) for store in range(len(self.ranks))], heart)
        self.written = np.zeros(len(self.ranks), np.int64)  # as last heard
        self._failures = 0
        self._dead: dict[int, float] = {}  # since when
        self._looks: list[Any] = [None] * len(self.ranks)
        self._looked = time.monotonic()
        try:
            self._all("written")
        except StoreLost as error:
            reason = (str(error.__cause__).strip().splitlines() or ["?"])[-1]
            raise ConfigError(f"the cluster has no room for the replay buffer: {reason}") from None

    def _start(self, store: int) -> Any:
        ranks = self.ranks[store]
        return self._class.remote(int(self.sizes[ranks].sum()), self.schema, len(ranks), *self.of_store)

    def _all(self, method: str, *arguments: Any) -> list[Any]:
        """The method's result on each store. Raises StoreLost."""
        calls = [self.stores.call(store, method, *arguments) for store in range(len(self.ranks))]
        try:
            return list(ray.get(calls, timeout=PLACING))
        except RayTaskError as error:
            if isinstance(error.cause, ConfigError):
                raise error.cause from None
            raise
        except RayError as error:
            raise StoreLost from error

    def count(self) -> int:
        """Transitions ever written, over all stores; of one that does not answer what was last heard."""
        calls = [self.stores.call(store, "written") for store in range(len(self.ranks))]
        for store, call in enumerate(calls):
            with contextlib.suppress(RayError):
                self.written[store] = ray.get(call, timeout=ANSWER)
        return int(self.written.sum())

    # What the files need

    def snapshot(self, since: npt.ArrayLike | None = None) -> ReplaySegment:
        """As ReplayBuffer.snapshot. A store that dies meanwhile counts as empty of anything new."""
        after = np.zeros(len(self.sizes), np.int64) if since is None else np.asarray(since, np.int64)
        start, stop = after.copy(), after.copy()
        rows = [np.empty((0, self.schema.row_width), np.float32)] * len(after)
        episodes = [np.empty(0, np.int64)] * len(after)
        for store, ranks in enumerate(self.ranks):
            try:
                segment = self._copy(store, after[ranks])
            except StoreLost:
                self._dead.setdefault(store, time.monotonic())
                continue
            start[ranks], stop[ranks] = segment.start, segment.stop
            for rank, part, begun in zip(ranks.tolist(), segment.parts(), segment.episodes, strict=True):
                rows[rank], episodes[rank] = part, begun
        return ReplaySegment(self.capacity, start, stop, np.concatenate(rows), tuple(episodes))

    def _copy(self, store: int, since: Counts) -> ReplaySegment:
        segment: ReplaySegment = self.stores.result(self.stores.call(store, "snapshot", since))
        self.written[store] = segment.stop.sum()
        pieces = [
            self.stores.result(self.stores.call(store, "piece", at, at + self._piece)).copy()  # to own memory
            for at in range(0, int((segment.stop - segment.start).sum()), self._piece)
        ]
        return segment._replace(rows=np.concatenate([segment.rows, *pieces]))

    @property
    def _piece(self) -> int:
        """Rows in one message."""
        return max(PIECE // (4 * self.schema.row_width), 1)

    def restore(self, segment: ReplaySegment) -> bool:
        """As ReplayBuffer.restore."""
        exact = segment.capacity == self.capacity and len(segment.stop) == len(self.sizes)
        if not exact:
            dealt = deal(segment, self.sizes)
            counts = np.array([len(part.rows) for part in dealt])
            rows, begins = np.concatenate([part.rows for part in dealt]), tuple(part.begins for part in dealt)
            segment = ReplaySegment(self.capacity, np.zeros_like(counts), counts, rows, begins)
        for store in range(len(self.ranks)):
            self._fill(store, segment)
        return exact

    def _fill(self, store: int, segment: ReplaySegment) -> int:
        """Put into a store what ``segment``, of the whole buffer, holds of it: so many transitions."""
        ranks, parts = self.ranks[store], segment.parts()
        rows = np.concatenate([parts[rank] for rank in ranks])
        for at in range(0, len(rows), self._piece):
            self.stores.result(self.stores.call(store, "take", rows[at : at + self._piece]))
        start, stop = segment.start[ranks], segment.stop[ranks]
        episodes = tuple(segment.episodes[rank] for rank in ranks)
        mine = ReplaySegment(int(self.sizes[ranks].sum()), start, stop, rows[:0], episodes)
        self.stores.result(self.stores.call(store, "restore", mine))
        self.written[store] = stop.sum()
        return len(rows)

    def prefill(self, demos: Transitions) -> None:
        """Transitions into the empty shards, whole episodes, as ``deal`` does."""
        self.restore(ReplaySegment.of(demos))

    # Deaths

    def stored_by(self, writer: Writer) -> int:
        """Transitions of a worker that are stored, over all stores; those of a lost store are not."""
        try:
            return sum(
                ray.get(
                    [self.stores.call(store, "stored_by", writer) for store in range(len(self.ranks))],
                    timeout=ANSWER,
                )
            )
        except (RayError, GetTimeoutError):
            return 0

    def dead(self) -> set[int]:
        """Stores that have died; asks them now and then."""
        if time.monotonic() > self._looked + LOOK_INTERVAL:
            self._looked = time.monotonic()
            for store, call in enumerate(self._looks):
                if call is None:
                    self._looks[store] = self.stores.call(store, "written")
                elif self.stores.ready(call):
                    self._looks[store] = None
                    try:
                        self.written[store] = self.stores.result(call)
                    except StoreLost:
                        self._dead.setdefault(store, time.monotonic())
        return set(self._dead)

    def revive(self, store: int, segment: ReplaySegment | None) -> int | None:
        """Start a dead store anew with what ``segment``, the files' content, holds of it.

        Returns how many transitions that are; None: it has to be tried again. Raises TrainingFailed where
        that has no end.
        """
        if time.monotonic() > self._dead[store] + NO_PLACE:
            raise TrainingFailed(
                f"replay-{store} finds no place in the cluster; go on from the last checkpoint with --resume"
            )
        with contextlib.suppress(RayError):
            ray.kill(self.stores.handles[store])
        handle = self._start(store)
        self.stores.handles[store] = handle
        self._looks[store] = None
        back = 0
        try:
            self.stores.result(handle.written.remote(), PLACING)
            self.written[store] = 0
            back = 0 if segment is None else self._fill(store, segment)
        except (RayError, StoreLost):
            return None
        del self._dead[store]
        self._failures += 1
        if self._failures > MAX_FAILURES:
            raise TrainingFailed(
                f"replay stores died {self._failures} times; go on from the last checkpoint with --resume"
            )
        return back

    def close(self) -> None:
        for handle in self.stores.handles:
            with contextlib.suppress(RayError):
                ray.kill(handle)
