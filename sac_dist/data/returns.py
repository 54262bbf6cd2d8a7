"""Discounted returns so far, G_t = γ G_{t−1} + r_t, of a growing replay: how large rewards add up to be."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sac_dist.data.moments import Moments
from sac_dist.data.schema import Schema
from sac_dist.data.segment import ReplaySegment
from sac_dist.data.transitions import Transitions
from sac_dist.settings import AgentConfig


class ReturnMoments(NamedTuple):
    """Of some discounted returns: their moments, and the lowest and the highest of them."""

    moments: Moments  # of vectors (1,)
    lowest: float
    highest: float

    @classmethod
    def none(cls) -> ReturnMoments:
        return cls(Moments.none(1), 0.0, 0.0)

    @property
    def largest(self) -> float:
        return max(-self.lowest, self.highest)

    def merged(self, other: ReturnMoments) -> ReturnMoments:
        moments = self.moments.merged(other.moments)
        return ReturnMoments(moments, min(self.lowest, other.lowest), max(self.highest, other.highest))


class RunningReturns:
    """The returns of each shard's newest episode go on from one segment to the next.

    Args:
        agent: γ, and what is made of each reward.
        running: (shards,) where they stood; None, or those of another number of shards: at 0.
    """

    def __init__(
        self, shards: int, agent: AgentConfig, schema: Schema, running: list[float] | None = None
    ) -> None:
        self.agent, self.schema = agent, schema
        fits = running is not None and len(running) == shards
        self.running = list(running) if running is not None and fits else [0.0] * shards
        self._new = ReturnMoments.none()

    def add(self, segment: ReplaySegment) -> None:
        """Take up the rewards of the segment after the last one."""
        found = []
        shards = zip(segment.parts(), segment.start.tolist(), segment.episodes, strict=True)
        for shard, (rows, start, begun) in enumerate(shards):
            g, begins = self.running[shard], set((begun - start).tolist())
            rewards = (
                self.agent.reward_scale * rows[:, self.schema.columns["reward"]] + self.agent.reward_bias
            )
            for index, reward in enumerate(rewards.tolist()):
                g = reward if index in begins else self.agent.discount * g + reward
                found.append(g)
            self.running[shard] = g
        if found:
            moments = Moments.of(np.array(found, np.float32)[:, None])
            self._new = self._new.merged(ReturnMoments(moments, min(found), max(found)))

    def take(self) -> ReturnMoments:
        """Of what came since the last call."""
        new, self._new = self._new, ReturnMoments.none()
        return new


def returns_of(data: Transitions, agent: AgentConfig) -> ReturnMoments:
    """Of whole episodes."""
    returns = RunningReturns(1, agent, data.schema)
    returns.add(ReplaySegment.of(data))
    return returns.take()
