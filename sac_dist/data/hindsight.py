"""Hindsight experience replay (Andrychowicz et al. 2017, arXiv:1707.01495): a share of the transitions that
are drawn gets as its goal what its episode has achieved later on, and the reward and end that go with it.

Nothing of it is stored: ring and data set know the episode of each transition, and goals are chosen anew at
each draw.

A goal that was there before the transition began says nothing of its action, and while nothing moves the
object there are hardly any others: such draws from the replay are drawn again, as in Filtered-HER (Manela and
Biess 2019, arXiv:1905.05498).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sac_dist.data.dataset import DataSet
from sac_dist.data.pictures import Seen
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.schema import Rows, Schema
from sac_dist.data.segment import Counts
from sac_dist.settings import DataConfig

Numbers = npt.NDArray[np.float32]
REDRAWS = 4  # so that a replay of nothing else still gives a batch


class Goals(Protocol):
    """What an environment says of n pairs of goals, each (n, size)."""

    def rewards(self, achieved: Rows, desired: Rows) -> Numbers:
        """(n,) of steps that achieved this where that was desired."""

    def terminated(self, achieved: Rows, desired: Rows) -> Numbers | None:
        """(n,) 1 where such a step ends the episode, else 0; None: it does not say."""


class Later:
    """Finds for transitions of ``schema``, which has achieved and desired goals of one size, what their
    episodes achieved later on: by the transition itself or one after it, drawn uniformly, or with ``final``
    by the last one that is written.
    """

    def __init__(self, schema: Schema, final: bool) -> None:
        self.final = final
        self.achieved = _moved(schema.places["achieved_goal"], schema.columns["next_observation"])

    @classmethod
    def of(cls, schema: Schema, config: DataConfig) -> Later | None:
        """None: ``config`` relabels nothing."""
        return cls(schema, config.her == "final") if config.relabels else None

    @property
    def size(self) -> int:
        """Numbers of a goal."""
        return self.achieved.stop - self.achieved.start

    def sample(
        self,
        replay: ReplayBuffer,
        rows: Rows,
        which: Counts | slice,
        rng: np.random.Generator,
        seen: Seen | None = None,
    ) -> Rows:
        """Fill ``rows`` as ``ReplayBuffer.sample_into``; returns (n, size) what was achieved later on, for
        ``which`` of them.
        """
        shard, index = replay.draw(len(rows), rng)
        replay.take(shard, index, rows)
        if seen is not None:
            replay.look(shard, index, index, seen)
        goals = self._in_ring(replay, shard[which], index[which], rng)
        # what an episode achieves later on is newer, so it is whole where the transition is
        while (again := replay.overwritten(shard, index)).size:
            shard[again], index[again] = replay.draw(again.size, rng)
            rows[again] = replay.take(shard[again], index[again], np.empty_like(rows[again]))
            if seen is not None:
                seen.put(again, replay.look(shard[again], index[again], index[again]))
            goals = self._in_ring(replay, shard[which], index[which], rng)
        return goals

    def in_data(self, data: DataSet, index: Counts, rng: np.random.Generator) -> Rows:
        """(n, size) what was achieved later on, for transitions ``index`` (n,)."""
        return data.rows[self._transition(index, data.stops_of(index), rng), self.achieved]

    def _in_ring(self, replay: ReplayBuffer, shard: Counts, index: Counts, rng: np.random.Generator) -> Rows:
        stop = replay.episodes_of(shard, index).stop
        return replay.take_columns(shard, self._transition(index, stop, rng), self.achieved)

    def _transition(self, index: Counts, stop: Counts, rng: np.random.Generator) -> Counts:
        if self.final:
            return stop - 1
        chosen: Counts = index + (rng.random(len(index)) * (stop - index)).astype(np.int64)
        return chosen


class Hindsight:
    """Relabels a share of the transitions that are drawn.

    Args:
        goals: gives what judges goals, once: when the first transitions are relabelled.
    """

    def __init__(self, schema: Schema, config: DataConfig, goals: Callable[[], Goals]) -> None:
        self.schema, self.ratio, self._goals = schema, config.her_ratio, goals
        self.later = Later(schema, config.her == "final")
        observations = [schema.columns[name] for name in ("observation", "next_observation")]
        self._before = _moved(schema.places["achieved_goal"], observations[0])
        self._desired = [_moved(schema.places["desired_goal"], part) for part in observations]
        self._reward, self._terminated = schema.columns["reward"], schema.columns["terminated"]

    @cached_property
    def goals(self) -> Goals:
        return self._goals()

    def sample_into(
        self, replay: ReplayBuffer, rows: Rows, rng: np.random.Generator, seen: Seen | None = None
    ) -> None:
        """As ``ReplayBuffer.sample_into``."""
        which = spread(len(rows), self.ratio)
        goals = self._draw(replay, rows, which, rng, seen)
        again = self._reached(rows[which, self._before], goals)
        for _ in range(REDRAWS):
            if not again.size:
                break
            fresh = np.empty((again.size, rows.shape[1]), np.float32)
            pictures = None if seen is None else Seen.empty(again.size, self.schema)
            goals[again] = self._draw(replay, fresh, slice(None), rng, pictures)
            rows[which[again]] = fresh
            if seen is not None and pictures is not None:
                seen.put(which[again], pictures)
            again = again[self._reached(fresh[:, self._before], goals[again])]
        self.relabel(rows, which, goals)

    def _draw(
        self,
        replay: ReplayBuffer,
        rows: Rows,
        which: Counts | slice,
        rng: np.random.Generator,
        seen: Seen | None,
    ) -> Rows:
        return self.later.sample(replay, rows, which, rng, seen)

    def _reached(self, achieved: Rows, goals: Rows) -> Counts:
        """Which of n pairs (n, size) have the reward of a goal that is reached."""
        if not len(goals):
            return np.empty(0, np.int64)
        return np.flatnonzero(self.goals.rewards(achieved, goals) >= self.goals.rewards(goals, goals))

    def take_data(self, data: DataSet, index: Counts, rows: Rows, rng: np.random.Generator) -> Counts:
        """Fill ``rows`` with transitions ``index`` (n,) of ``data``; returns which have another goal now."""
        which = spread(len(rows), self.ratio)
        data.rows.take(index, axis=0, out=rows, mode="clip")
        self.relabel(rows, which, self.later.in_data(data, index[which], rng))
        return which

    def relabel(self, rows: Rows, which: Counts, desired: Rows) -> None:
        """Let ``desired`` (n, size) be the goals of rows ``which`` (n,)."""
        if not len(which):
            return
        achieved = rows[which, self.later.achieved]
        for columns in self._desired:
            rows[which, columns] = desired
        rows[which, self._reward] = self.goals.rewards(achieved, desired)
        terminated = self.goals.terminated(achieved, desired)
        if terminated is not None:
            rows[which, self._terminated] = terminated


@lru_cache(maxsize=64)
def spread(n: int, ratio: float) -> Counts:
    """``ratio`` of 0 … n - 1, evenly spread: every stretch of them has its share, give or take one."""
    return np.flatnonzero(np.diff(np.floor(np.arange(n + 1) * ratio + 1e-9)))


def _moved(part: slice, into: slice | int) -> slice:
    assert isinstance(into, slice)
    return slice(into.start + part.start, into.start + part.stop)
