"""Rewards brought to one size by the spread of the discounted return, which all processes of a run share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sac_dist.data.batch import Batch
from sac_dist.data.moments import Moments
from sac_dist.data.returns import ReturnMoments
from sac_dist.settings import ConfigError
from sac_dist.system.shared import DoubleBuffer

VARIANCE_FLOOR = 1e-8  # is added to a variance, as in gymnasium's NormalizeReward and FlashSAC
NAME = "returns"  # in a checkpoint
PARTS = 5  # number, mean, squares, lowest, highest


class RewardScale:
    """r / max(√(variance of G + 1e-8), largest |G| / ``largest``), where G_t = γ G_{t−1} + r_t is the
    discounted return of an episode so far: gymnasium's NormalizeReward, with the bound of SimbaV2
    (arXiv:2502.15280, section 4.3) and FlashSAC. Rewards are not centred. They stay as they are while each
    was 0.

    After :meth:`share_memory` it can be sent to other processes, one of which at a time calls ``add`` or
    ``set``.
    """

    def __init__(self, largest: float) -> None:
        self.largest = largest
        self._buffer = DoubleBuffer(PARTS, 1)
        self.set(ReturnMoments.none())

    def share_memory(self) -> None:
        self._buffer.share_memory()

    @property
    def known(self) -> bool:
        """Whether there is a reward to go by."""
        return self._buffer.first > 0

    @property
    def factor(self) -> float:
        """What rewards are multiplied by."""
        return self._buffer.numbers.item(0)

    @property
    def moments(self) -> ReturnMoments:
        return _moments(self._buffer.read().tolist())

    def add(self, new: ReturnMoments) -> None:
        """Go by these returns too from now on."""
        self.set(self.moments.merged(new))

    def set(self, returns: ReturnMoments) -> None:
        number, mean, squares = returns.moments
        deviation = math.sqrt(returns.moments.variance.item() + VARIANCE_FLOOR)
        seen = returns.largest > 0
        factor = 1 / max(deviation, returns.largest / self.largest) if seen else 1.0
        self._buffer.write([number, mean[0], squares[0], returns.lowest, returns.highest], factor)

    def state(self) -> dict[str, Tensor]:
        """A copy (5,), float64, for a checkpoint."""
        return {NAME: torch.from_numpy(self._buffer.read())}

    def returns_in(self, state: Mapping[str, Any]) -> ReturnMoments:
        """What ``state`` gave. Raise ConfigError if it is missing or not of this kind."""
        tensor = state.get(NAME)
        if tensor is None:
            raise ConfigError(f"missing tensor {NAME}")
        good = isinstance(tensor, Tensor) and tensor.dtype == torch.float64 and tensor.shape == (PARTS,)
        if not good or not bool(tensor.isfinite().all()) or bool((tensor[[0, 2]] < 0).any()):
            raise ConfigError(f"{NAME} is no finite float64 tensor ({PARTS},) of a count and moments")
        return _moments(tensor.tolist())

    def batch(self, batch: Batch) -> Batch:
        """``batch`` with scaled rewards and returns, in memory of its own that has the same strides."""
        returns = batch.return_to_go
        return batch._replace(
            reward=self._scaled(batch.reward),
            return_to_go=None if returns is None else self._scaled(returns),
        )

    def _scaled(self, rewards: Tensor) -> Tensor:
        out = torch.empty_strided(rewards.shape, rewards.stride(), dtype=torch.float32)
        return torch.mul(rewards, torch.from_numpy(self._buffer.numbers), out=out)


def _moments(parts: Sequence[float]) -> ReturnMoments:
    number, mean, squares, lowest, highest = parts
    return ReturnMoments(Moments(number, np.array([mean]), np.array([squares])), lowest, highest)
