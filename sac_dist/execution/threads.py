"""How many threads of torch an update runs on: one, but for a central learner's large ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from sac_dist.algorithms.agent import SACAgent
from sac_dist.settings.allowance import usable_processors
from sac_dist.settings.training import TrainConfig

MOST = 4
# Parameters times transitions of a batch from which on an update is worth more threads: 2x128 units with
# batches of 256 are below, 2x256 above.
LARGE = 20_000_000


def update_threads(agent: SACAgent, train: TrainConfig) -> int:
    """The threads of each process of the run that makes updates.

    Workers make theirs on a processor each. A central learner's workers leave much of theirs idle while an
    update takes long.
    """
    parameters = sum(group.parameters.numel() for group in agent.tensors.groups.values())
    alone = train.learner == "central" and train.engine == "local" and train.device == "cpu"
    return min(usable_processors(), MOST) if alone and parameters * train.batch_size >= LARGE else 1


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """While entered, torch has ``count`` threads. What is compiled holds for a number of them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
