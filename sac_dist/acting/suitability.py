"""Lines about settings that hardly suit an environment, of which a run could be told before it is wasted."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from sac_dist.acting.environment import ClippedRescaleAction
from sac_dist.acting.episode import Episode
from sac_dist.settings import AgentConfig

SHORT = 20.01  # an episode's steps by those that the discount looks ahead
LARGE_REWARD = 100.0  # mean size of an episode's rewards
WIDE, NARROW = 20.0, 0.01  # half an action's range


def about_discount(discount: float, horizon: int | None) -> list[str]:
    """A line where an episode of ``horizon`` steps is much longer than what ``discount`` looks ahead."""
    if horizon is None or horizon * (1 - discount) <= SHORT:
        return []
    return [
        f"discount {discount:g} looks about {1 / (1 - discount):.0f} steps ahead, and an episode lasts up to "
        f"{horizon:,}: give --discount 0.99 unless rewards come soon"
    ]


def about_actions(env: gymnasium.Env) -> list[str]:
    """A line where the actions of ``env``, as ``make_env`` makes it, are scaled by so much that their space
    may be a mistake.
    """
    layer = env
    while isinstance(layer, gymnasium.Wrapper) and not isinstance(layer, ClippedRescaleAction):
        layer = layer.env
    if not isinstance(layer, ClippedRescaleAction) or not isinstance(layer.env.action_space, Box):
        return []
    space = layer.env.action_space
    half = (space.high.astype(np.float64) - space.low) / 2
    strange = half.argmax() if half.max() > WIDE else half.argmin()
    if NARROW <= half[strange] <= WIDE:
        return []
    return [
        f"action {strange} lies in [{space.low[strange]:g}, {space.high[strange]:g}], to which the policy's "
        "[-1, 1] is scaled: if the task is meant to be driven by others, mend its action_space"
    ]


class RewardWatch:
    """Looks at a run's episodes until one has rewards that are large for critics which learn them as they
    are.
    """

    def __init__(self, agent: AgentConfig) -> None:
        self.agent = agent
        self.told = agent.normalize_returns or agent.normalize_rewards

    def take(self, episode: Episode) -> str | None:
        """What to tell the user, once."""
        scaled = self.agent.reward_scale * episode.total_reward / episode.length + self.agent.reward_bias
        if self.told or abs(scaled) <= LARGE_REWARD:
            return None
        self.told = True
        return (
            f"rewards of about {scaled:,.4g} a step are learned as they are, and returns are many times "
            "that: give --normalize-returns, or a smaller --reward-scale"
        )
