"""What a run trains with and when: behaviour cloning, offline phases, and the online phase between them."""

from __future__ import annotations

from typing import NamedTuple

from sac_dist.config import Config, DataConfig

CLONING, OFFLINE, ONLINE = "cloning", "offline", "online"
# Environment steps in which the policy's step sizes rise, as the critics have yet to learn what a policy from data meets. Without, the
# grasp's success fell by 20 to 60 points within 60 updates and was back after 500 (README).
ACTOR_WARMUP = 5000


class Phase(NamedTuple):
    algorithm: str  # as SACAgent.use takes it
    batch_size: int


def phases(config: Config, data_size: int) -> dict[str, Phase]:
    """The phases that the run has, by name; ``data_size`` transitions of demonstrations."""
    data, batch_size = config.data, config.train.batch_size
    found = {}
    if data.bc_steps:
        found[CLONING] = Phase("bc", batch_size)
    if data.offline_steps:
        found[OFFLINE] = Phase(data.algo, batch_size)
    if not data.offline:
        found[ONLINE] = Phase(data.online_algo, batch_size + (data_size if data.demo_mode == "append" else 0))
    return found


def actor_warmup(config: Config) -> int:
    """Environment steps until the online phase trains the policy with its full step sizes."""
    given, data = config.train.actor_warmup_steps, config.data
    if given is not None:
        return given
    return ACTOR_WARMUP if data.bc_steps or data.offline_steps else 0


def due(data: DataConfig, steps: int, offline_updates: int) -> str | None:
    """The phase after so many environment steps and offline updates; None: a run without an online phase is done."""
    if offline_updates < data.bc_steps:
        return CLONING
    if offline_updates < data.offline_updates(steps):
        return OFFLINE
    return None if data.offline else ONLINE
