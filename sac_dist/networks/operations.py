"""What a block may call beside the operators that tensors and numpy arrays share (``+ * @ …``).

An encoder's blocks, which act in torch too, may besides call ``convolve`` and ``float32``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

Array = Any  # torch.Tensor or numpy.ndarray
Operations = Any  # TorchOperations or NumpyOperations

ZERO = np.zeros((), np.float32)  # a Python number would be converted at each call


class TorchOperations:
    """For batches (…, B, features) in torch; an instance is of one pass that trains.

    Args:
        statistics: batch normalisation goes by the batch, and writes its mean and variance here by the
            block's name; None, and in the class: by the running ones.
        seed: () int32, of the units that dropout leaves out; None, and in the class: none.
    """

    statistics: dict[str, tuple[torch.Tensor, torch.Tensor]] | None = None
    seed: torch.Tensor | None = None

    def __init__(
        self,
        statistics: dict[str, tuple[torch.Tensor, torch.Tensor]] | None = None,
        seed: torch.Tensor | None = None,
    ) -> None:
        self.statistics, self.seed = statistics, seed

    concatenate = staticmethod(torch.cat)
    relu = staticmethod(torch.relu)
    exp = staticmethod(torch.exp)
    tanh = staticmethod(torch.tanh)
    rsqrt = staticmethod(torch.rsqrt)
    minimum = staticmethod(torch.minimum)
    maximum = staticmethod(torch.maximum)
    convolve = staticmethod(torch.conv2d)  # (B, C, H, W), weight, bias, stride

    @staticmethod
    def float32(x: torch.Tensor) -> torch.Tensor:
        return x.to(torch.float32)

    @staticmethod
    def mean_square(x: torch.Tensor) -> torch.Tensor:
        """Over the last axis, which stays with one entry."""
        return x.square().mean(dim=-1, keepdim=True)

    @staticmethod
    def var_mean(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Variance (divided by n) and mean over the last axis, which stays with one entry."""
        return torch.var_mean(x, dim=-1, correction=0, keepdim=True)


class NumpyOperations:
    """For acting: one observation (features,)."""

    concatenate = staticmethod(np.concatenate)
    exp = staticmethod(np.exp)
    tanh = staticmethod(np.tanh)
    minimum = staticmethod(np.minimum)
    maximum = staticmethod(np.maximum)
    statistics = seed = None

    @staticmethod
    def relu(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, ZERO)

    @staticmethod
    def rsqrt(x: np.ndarray) -> np.ndarray:
        return 1 / np.sqrt(x)

    @staticmethod
    def mean_square(x: np.ndarray) -> np.ndarray:
        return np.square(x).mean(axis=-1, keepdims=True)

    @staticmethod
    def var_mean(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = x.mean(axis=-1, keepdims=True)
        return np.square(x - mean).mean(axis=-1, keepdims=True), mean
