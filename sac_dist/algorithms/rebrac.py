"""ReBRAC: TD3+BC that keeps critics, too, near the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sac_dist.algorithms.td3bc import TD3BC
from sac_dist.data.batch import Batch
from sac_dist.settings.algorithms import AlgorithmSettings, ReBRACSettings


@dataclass(frozen=True)
class ReBRAC(TD3BC):
    """ReBRAC: arXiv:2305.09836, equations 3 and 4. The critics' target loses β₂ ‖π(s′) − a′‖², the policy's
    loss has β₁ ‖π(s) − a‖²; a′ is the data's next action. Wants layer normalisation in the critics, larger
    batches and three hidden layers (the preset offline).
    """

    Settings: ClassVar[type[AlgorithmSettings]] = ReBRACSettings

    settings: ReBRACSettings  # type: ignore[assignment]

    def price(self, action: Tensor, batch: Batch) -> Tensor:
        assert batch.next_action is not None, "ReBRAC needs batches with next_action"
        distance = (action - batch.next_action).square().sum(dim=-1)
        # unknown behind a time limit
        return self.settings.rebrac_critic_bc * distance.nan_to_num(nan=0.0)

    def climbed(self, q: Tensor) -> Tensor:
        return q.min(dim=0).values

    def weigh(self, q: Tensor, distance: Tensor) -> Tensor:
        return self.settings.rebrac_actor_bc * distance.sum(dim=-1).mean() - q.mean()
