"""What the tests of agents share."""

from __future__ import annotations

import torch
from torch import Tensor

from sac_dist.algorithms.agent import SACAgent
from sac_dist.data.batch import Batch
from sac_dist.data.schema import Schema
from sac_dist.settings import AgentConfig

OBS, ACT = 5, 3
SCHEMA = Schema.vector(OBS, ACT)
SMALL = AgentConfig(hidden_width=16, layer_norm=False)


def flat(agent: SACAgent) -> list[Tensor]:
    """Every vector an update changes."""
    tensors = agent.tensors
    groups = [vector for trained in tensors.groups.values() for vector in trained]
    return [*tensors.copies.values(), *groups]


def make_batch(size: int = 32, seed: int = 0, **replaced: Tensor) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    batch = Batch(
        draw(size, OBS), draw(size, ACT).tanh(), draw(size), draw(size, OBS), 0.98 * (draw(size) <= 1).float()
    )
    return batch._replace(**replaced)


def train(agent: SACAgent, updates: int, seed: int = 100) -> SACAgent:
    for i in range(updates):
        agent.update(make_batch(seed=seed + i))
    return agent


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
