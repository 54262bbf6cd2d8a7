"""Rewards brought to one size by the spread of the discounted return, which all processes of a run share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sac_dist.data.batch import Batch
from sac_dist.data.moments import Moments
from sac_dist.data.returns import ReturnMoments
from sac_dist.settings import ConfigError
from sac_dist.system.shared import SharedArray, memory_fence

VARIANCE_FLOOR = 1e-8  # is added to a variance, as in gymnasium's NormalizeReward and FlashSAC
NAME = "returns"  # in a checkpoint
PARTS = 5  # number, mean, squares, lowest, highest


class RewardScale:
    """r / max(√(variance of G + 1e-8), largest |G| / ``largest``), where G_t = γ G_{t−1} + r_t is the
    discounted return of an episode so far: gymnasium's NormalizeReward, with the bound of SimbaV2
    (arXiv:2502.15280, section 4.3) and FlashSAC. Rewards are not centred. They stay as they are while each
    was 0.

    Shared and written as algorithms/normalization.py's statistics are: one process at a time calls ``add`` or
    ``set``, and may be killed anywhere.
    """

    def __init__(self, largest: float) -> None:
        self.largest = largest
        self._shared: SharedArray | None = None
        self._bind(np.zeros(2 * PARTS + 2))
        self.set(ReturnMoments.none())

    def _bind(self, memory: np.ndarray) -> None:
        self._memory = memory
        self._slots, self._turn = memory[: 2 * PARTS].reshape(2, PARTS), memory[-2:-1].view(np.int64)
        self._factor = memory[-1:].view(np.float32)[:1]
        self._tensor = torch.from_numpy(self._factor)

    def share_memory(self) -> None:
        if self._shared is None:
            self._shared = SharedArray(self._memory.shape, np.float64)
            self._shared.array[:] = self._memory
            self._bind(self._shared.array)

    def __getstate__(self) -> dict[str, Any]:
        memory = self._memory if self._shared is None else None
        return {"largest": self.largest, "_shared": self._shared, "memory": memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        memory = state.pop("memory")
        self.__dict__.update(state)
        self._bind(memory.copy() if self._shared is None else self._shared.array)

    @property
    def known(self) -> bool:
        """Whether there is a reward to go by."""
        return self._slots.item(self._turn.item(0) % 2, 0) > 0

    @property
    def factor(self) -> float:
        """What rewards are multiplied by."""
        return self._factor.item(0)

    @property
    def moments(self) -> ReturnMoments:
        while True:
            turn = self._turn.item(0)
            memory_fence()
            number, mean, squares, lowest, highest = self._slots[turn % 2].tolist()
            memory_fence()
            if self._turn.item(0) == turn:
                return ReturnMoments(Moments(number, np.array([mean]), np.array([squares])), lowest, highest)

    def add(self, new: ReturnMoments) -> None:
        """Go by these returns too from now on."""
        self.set(self.moments.merged(new))

    def set(self, returns: ReturnMoments) -> None:
        number, mean, squares = returns.moments
        turn = self._turn.item(0) + 1
        self._slots[turn % 2] = number, mean[0], squares[0], returns.lowest, returns.highest
        deviation = math.sqrt(returns.moments.variance.item() + VARIANCE_FLOOR)
        seen = returns.largest > 0
        self._factor[:] = 1 / max(deviation, returns.largest / self.largest) if seen else 1.0
        memory_fence()
        self._turn[0] = turn
        memory_fence()

    def state(self) -> dict[str, Tensor]:
        """A copy (5,), float64, for a checkpoint."""
        number, mean, squares = self.moments.moments
        parts = [number, mean.item(), squares.item(), self.moments.lowest, self.moments.highest]
        return {NAME: torch.tensor(parts, dtype=torch.float64)}

    def returns_in(self, state: Mapping[str, Any]) -> ReturnMoments:
        """What ``state`` gave. Raise ConfigError if it is missing or not of this kind."""
        tensor = state.get(NAME)
        if tensor is None:
            raise ConfigError(f"missing tensor {NAME}")
        good = isinstance(tensor, Tensor) and tensor.dtype == torch.float64 and tensor.shape == (PARTS,)
        if not good or not bool(tensor.isfinite().all()) or bool((tensor[[0, 2]] < 0).any()):
            raise ConfigError(f"{NAME} is no finite float64 tensor ({PARTS},) of a count and moments")
        number, mean, squares, lowest, highest = tensor.tolist()
        return ReturnMoments(Moments(number, np.array([mean]), np.array([squares])), lowest, highest)

    def batch(self, batch: Batch) -> Batch:
        """``batch`` with scaled rewards and returns, in memory of its own that has the same strides."""
        returns = batch.return_to_go
        return batch._replace(
            reward=self._scaled(batch.reward),
            return_to_go=None if returns is None else self._scaled(returns),
        )

    def _scaled(self, rewards: Tensor) -> Tensor:
        out = torch.empty_strided(rewards.shape, rewards.stride(), dtype=torch.float32)
        return torch.mul(rewards, self._tensor, out=out)
