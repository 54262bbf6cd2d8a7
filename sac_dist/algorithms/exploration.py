"""Noise of exploration that stays the same for some steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

EXPONENT = 2.0  # of the Zeta distribution, FlashSAC's


class RepeatedNoise:
    """Standard normal noise (size,) that is kept for n steps before it is drawn anew, n ≤ ``longest`` with a
    probability proportional to n⁻²: Dabney et al., Temporally-Extended ε-Greedy Exploration,
    arXiv:2006.01782, with the Gaussian noise of FlashSAC in place of random actions.
    """

    def __init__(self, size: int, longest: int) -> None:
        self.size = size
        chances = torch.arange(1, longest + 1, dtype=torch.float64) ** -EXPONENT
        self._cumulative = (chances / chances.sum()).cumsum(0)
        self.noise, self.left = torch.zeros(size), 0

    def next(self, generator: torch.Generator) -> Tensor:
        if self.left == 0:
            self.noise = torch.randn(self.size, generator=generator, dtype=torch.float32)
            chance = torch.rand((), generator=generator, dtype=torch.float64)
            self.left = int((self._cumulative < chance).sum()) + 1
        self.left -= 1
        return self.noise

    def state(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"noise": self.noise.tolist(), "left": self.left}

    def restore(self, state: dict[str, Any]) -> None:
        self.noise, self.left = torch.tensor(state["noise"], dtype=torch.float32), state["left"]
