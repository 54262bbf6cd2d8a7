"""Advantage Weighted Actor Critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sac_dist.algorithms import losses
from sac_dist.algorithms.base import Metrics, Tensors
from sac_dist.algorithms.sac import CRITICS, SAC
from sac_dist.data.batch import Batch
from sac_dist.networks.distribution import log_prob_of, sample_action
from sac_dist.settings.algorithms import AWACSettings


@dataclass(frozen=True)
class AWAC(SAC):
    """AWAC: arXiv:2006.09359, algorithm 1. SAC's critics without entropy; the policy imitates the batch's
    actions, each by exp(advantage / λ), as the authors' code divided by the sum over the batch. The
    temperature stays as it is.
    """

    Settings: ClassVar[type[AWACSettings]] = AWACSettings
    tunes_alpha: ClassVar[bool] = False

    settings: AWACSettings

    def critic_objective(
        self, critics: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Metrics]:
        return super().critic_objective(critics, tensors, batch, noise, torch.zeros_like(alpha))

    def policy_objective(
        self, policy: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Metrics]]:
        mean, log_std = self.policy(self.policy.unpack(policy), batch.observation)
        action, log_prob = sample_action(mean, log_std, noise)
        critics = self.q.unpack(tensors.groups[CRITICS].parameters)
        actions = torch.stack([batch.action, action.detach()])
        data_q, own_q = self.q.at_actions(critics, batch.observation, actions).min(dim=0).values.unbind()
        weight = losses.softmax_weight(data_q - own_q, self.settings.awac_lambda)
        data_log_prob = log_prob_of(mean, log_std.clamp(min=losses.LEAST_LOG_STD), batch.action)
        loss = losses.weighted_cloning_loss(data_log_prob, weight)  # equation 13
        return loss, (log_prob, {"actor_loss": loss.detach(), "weight_max": weight.max()})
