"""Follows the discounted returns of a growing replay, in the member that leads."""

from __future__ import annotations

from collections.abc import Callable

from sac_dist.algorithms.agent import SACAgent
from sac_dist.data.returns import ReturnMoments, RunningReturns
from sac_dist.data.ring import ReplayBuffer


class ReturnsWatch(RunningReturns):
    """Keeps the scale of rewards that all members share up to date, and says once where the returns leave the
    values that the critics of C51 know.
    """

    def __init__(
        self,
        agent: SACAgent,
        replay: ReplayBuffer,
        running: list[float] | None,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(replay.shards, agent.config, replay.schema, running)
        self.scale, self.say = agent.reward_scale, say
        self.seen = ReturnMoments.none()
        # until returns have left it
        self.limit = agent.config.v_max if agent.config.distribution == "c51" else None

    @staticmethod
    def is_needed(agent: SACAgent) -> bool:
        return agent.reward_scale is not None or agent.config.distribution == "c51"

    def update(self) -> None:
        """Go by what was added."""
        new, factor, cure = self.take(), 1.0, "--normalize-returns, or "
        seen = self.seen = self.seen.merged(new)
        if self.scale is not None:
            self.scale.add(new)
            seen, factor, cure = self.scale.moments, self.scale.factor, ""
        if self.limit is not None and factor * seen.largest > self.limit * (1 + 1e-6):
            self.say(
                f"returns from {factor * seen.lowest:.3g} to {factor * seen.highest:.3g} leave the values "
                f"±{self.limit:g} that the critics of c51 know: give {cure}a larger --v-max"
            )
            self.limit = None
