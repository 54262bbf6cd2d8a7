"""What an update learns from: one batch of transitions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from sac_dist.data.pictures import Seen
from sac_dist.data.schema import Rows, Schema


class Batch(NamedTuple):
    """B transitions as float32 tensors on one device.

    ``discount`` says how the value goes on: the target is reward + discount · value(next_observation). It is
    γ, or γⁿ where the reward is that of n steps, and 0 after a step that ended the episode in a state of no
    further value (success, a fallen object). A time limit does not change it.
    """

    observation: torch.Tensor  # (B, vector_size)
    action: torch.Tensor  # (B, action_size), in [-1, 1]
    reward: torch.Tensor  # (B,)
    next_observation: torch.Tensor  # (B, vector_size), the true last one at an episode's end
    discount: torch.Tensor  # (B,)
    # (B,), only for Cal-QL: discounted return from here on, -inf where unknown
    return_to_go: torch.Tensor | None = None
    # (B, action_size), only for ReBRAC: what the data does at next_observation, NaN where unknown
    next_action: torch.Tensor | None = None
    # (B, stack, frame_size) uint8, only where observations have pictures: what both show (see Schema); the
    # vectors above are then the rest of them
    seen: torch.Tensor | None = None
    next_seen: torch.Tensor | None = None
    # within an update: the encoder that made the observations, where a loss of them is to train it
    sight: Any = None

    @classmethod
    def of_rows(
        cls,
        rows: Rows,
        schema: Schema,
        discount: npt.NDArray[np.float32],
        return_to_go: npt.NDArray[np.float32] | None = None,
        next_action: npt.NDArray[np.float32] | None = None,
        seen: Seen | None = None,
    ) -> Batch:
        """Views of ``rows`` (B, row_width), ``discount`` (B,), ``return_to_go`` (B,) and ``next_action``."""
        tensor, columns = torch.from_numpy(rows), schema.columns
        return cls(
            tensor[:, columns["observation"]],
            tensor[:, columns["action"]],
            tensor[:, columns["reward"]],
            tensor[:, columns["next_observation"]],
            torch.from_numpy(discount),
            None if return_to_go is None else torch.from_numpy(return_to_go),
            None if next_action is None else torch.from_numpy(next_action),
            None if seen is None else torch.from_numpy(seen.now),
            None if seen is None else torch.from_numpy(seen.following),
        )
