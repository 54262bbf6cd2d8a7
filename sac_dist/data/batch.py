"""The data that passes between the parts: one batch of transitions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch


class Batch(NamedTuple):
    """B transitions as float32 tensors on one device.

    ``terminated`` is 1.0 where the episode ended in a state of no further value (success, a fallen object):
    only it stops the bootstrap. A time limit (``truncated``) does not, so no field here carries it.
    """

    observation: torch.Tensor  # (B, observation_size)
    action: torch.Tensor  # (B, action_size), in [-1, 1]
    reward: torch.Tensor  # (B,)
    next_observation: torch.Tensor  # (B, observation_size), the true last one at an episode's end
    terminated: torch.Tensor  # (B,), 0.0 or 1.0
    return_to_go: torch.Tensor | None = (
        None  # (B,), only for Cal-QL: discounted return from here on, -inf where unknown
    )

    @classmethod
    def of_rows(
        cls, rows: npt.NDArray[np.float32], observation_size: int, action_size: int, returns: bool = False
    ) -> Batch:
        """Views of ``rows`` (B, row width), laid out as replay.py says; ``returns``: the last column holds
        the returns-to-go.
        """
        action, reward = observation_size, observation_size + action_size
        tensor = torch.from_numpy(rows)
        observation, actions, rewards, following = (
            tensor[:, :action],
            tensor[:, action:reward],
            tensor[:, reward],
            tensor[:, reward + 1 : -2],
        )
        return cls(
            observation, actions, rewards, following, tensor[:, -2], tensor[:, -1] if returns else None
        )
