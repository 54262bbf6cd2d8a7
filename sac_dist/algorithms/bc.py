"""Behaviour cloning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sac_dist.algorithms import losses
from sac_dist.algorithms.adam import Scale
from sac_dist.algorithms.base import Metrics, Tensors
from sac_dist.algorithms.sac import CRITICS, SAC
from sac_dist.data.batch import Batch
from sac_dist.networks.distribution import log_prob_of, sample_action


@dataclass(frozen=True)
class BC(SAC):
    """Behaviour cloning: maximum likelihood of the data's actions, with SAC's tuned entropy term. The critics
    stay as they are.
    """

    compiles: ClassVar[bool] = False

    @property
    def policy_trains_encoder(self) -> bool:
        return True

    @property
    def policy_every(self) -> int:
        return 1

    @property
    def trains(self) -> frozenset[str]:
        return super().trains - {CRITICS}

    def train_critics(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor, scales: dict[str, Scale]
    ) -> Metrics:
        return {}

    def policy_objective(
        self, policy: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Metrics]]:
        mean, log_std = self.policy(self.policy.unpack(policy), batch.observation)
        _, log_prob = sample_action(mean, log_std, noise)
        data_log_prob = log_prob_of(mean, log_std, batch.action)
        loss = losses.cloning_loss(log_prob, data_log_prob, alpha)
        return loss, (log_prob, {"actor_loss": loss.detach(), "data_log_prob": data_log_prob.detach().mean()})
