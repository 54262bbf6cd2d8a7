"""What a block may call beside the operators that tensors and numpy arrays share (``+ * @ …``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

Array = Any  # torch.Tensor or numpy.ndarray
Operations = Any  # TorchOperations or NumpyOperations

ZERO = np.zeros((), np.float32)  # a Python number would be converted at each call


class TorchOperations:
    """For training: batches (…, B, features)."""

    relu = staticmethod(torch.relu)
    exp = staticmethod(torch.exp)
    rsqrt = staticmethod(torch.rsqrt)

    @staticmethod
    def var_mean(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Variance (divided by n) and mean over the last axis, which stays with one entry."""
        return torch.var_mean(x, dim=-1, correction=0, keepdim=True)


class NumpyOperations:
    """For acting: one observation (features,)."""

    exp = staticmethod(np.exp)

    @staticmethod
    def relu(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, ZERO)

    @staticmethod
    def rsqrt(x: np.ndarray) -> np.ndarray:
        return 1 / np.sqrt(x)

    @staticmethod
    def var_mean(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = x.mean(axis=-1, keepdims=True)
        return np.square(x - mean).mean(axis=-1, keepdims=True), mean
