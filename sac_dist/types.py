"""The data that passes between the parts: one batch of transitions."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Batch(NamedTuple):
    """B transitions as float32 tensors on one device.

    ``terminated`` is 1.0 where the episode ended in a state of no further value (success, a fallen object): only it stops
    the bootstrap. A time limit (``truncated``) does not, so no field here carries it.
    """

    observation: torch.Tensor  # (B, observation_size)
    action: torch.Tensor  # (B, action_size), in [-1, 1]
    reward: torch.Tensor  # (B,)
    next_observation: torch.Tensor  # (B, observation_size), the true last one at an episode's end
    terminated: torch.Tensor  # (B,), 0.0 or 1.0
