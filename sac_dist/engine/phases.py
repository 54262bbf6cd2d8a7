"""What a run trains with and when: behaviour cloning, offline phases, and the online phase between them."""

from __future__ import annotations

import math
from typing import NamedTuple

from sac_dist.settings import Config, DataConfig
from sac_dist.settings.algorithms import BEHAVIOUR_CLONING
from sac_dist.settings.training import ACTOR_WARMUP

CLONING, OFFLINE, ONLINE = "cloning", "offline", "online"


class Phase(NamedTuple):
    algorithm: str  # as SACAgent.use takes it
    batch_size: int


def phases(config: Config, data_size: int) -> dict[str, Phase]:
    """The phases that the run has, by name; ``data_size`` transitions of demonstrations."""
    data, batch_size = config.data, config.train.batch_size
    found = {}
    if data.bc_steps:
        found[CLONING] = Phase(BEHAVIOUR_CLONING, batch_size)
    if data.offline_steps:
        found[OFFLINE] = Phase(data.algo, batch_size)
    if not data.offline:
        found[ONLINE] = Phase(data.online_algo, batch_size + (data_size if data.demo_mode == "append" else 0))
    return found


def policy_share(config: Config, steps: int) -> float:
    """The share of its step sizes that the policy is trained with after so many environment steps of the
    online phase.

    The critics have yet to learn what a policy from data meets: it is left alone until half of
    ``actor_warmup_steps``.
    """
    end, data = config.train.actor_warmup_steps, config.data
    if end is None:
        end = ACTOR_WARMUP if data.bc_steps or data.offline_steps else 0
    begin = max(config.train.warmup_steps, end / 2)
    if steps >= end:
        return 1.0
    return (steps - begin) / (end - begin) if steps > begin else 0.0


def step_size_share(config: Config, clock: int) -> float:
    """The share of all step sizes that is left after so many environment steps and offline updates."""
    agent, steps = config.agent, config.train.steps or 0
    if agent.lr_decay is None:
        return 1.0
    budget = (
        config.data.offline_updates(0) if config.data.offline else steps + config.data.offline_updates(steps)
    )
    progress = min(clock / budget, 1.0)
    if agent.lr_decay == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return 1 - (1 - agent.lr_end) * progress


def due(data: DataConfig, steps: int, offline_updates: int) -> str | None:
    """The phase after so many environment steps and offline updates; None: a run without an online phase is
    done.
    """
    if offline_updates < data.bc_steps:
        return CLONING
    if offline_updates < data.offline_updates(steps):
        return OFFLINE
    return None if data.offline else ONLINE
