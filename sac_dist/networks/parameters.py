"""The named parameters of a network, and whether a file's are those of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sac_dist.settings import ConfigError

Parameters = dict[str, Tensor]


def check_parameters(state: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ConfigError unless ``state`` has exactly the names of ``shapes``, with finite float32 tensors of
    those shapes.
    """
    for word, names in (("missing", shapes.keys() - state.keys()), ("unknown", state.keys() - shapes.keys())):
        if names:
            shown = ", ".join(sorted(map(str, names))[:3])
            raise ConfigError(
                f"{word} tensor{'s' if len(names) > 1 else ''} {shown}{' …' if len(names) > 3 else ''}"
            )
    for name, shape in shapes.items():
        tensor = state[name]
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32:
            raise ConfigError(
                f"{name} is {tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__}, "
                "not a float32 tensor"
            )
        if tuple(tensor.shape) != shape:
            raise ConfigError(f"{name} has shape {tuple(tensor.shape)} where {shape} is needed")
        if not bool(tensor.isfinite().all()):
            raise ConfigError(f"{name} holds NaN or infinite values")
