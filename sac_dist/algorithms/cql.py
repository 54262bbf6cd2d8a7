"""Conservative Q-Learning and Cal-QL."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sac_dist.algorithms import losses
from sac_dist.algorithms.adam import Scale, adam_step
from sac_dist.algorithms.base import Group, Metrics, Tensors
from sac_dist.algorithms.sac import SAC
from sac_dist.data.batch import Batch
from sac_dist.networks.distribution import sample_action
from sac_dist.settings.algorithms import CQLSettings

LARGEST_WEIGHT = 1e6  # of the tuned penalty, as in the authors' code
LOG_WEIGHT = "log_weight"  # the group of the tuned penalty


@dataclass(frozen=True)
class CQL(SAC):
    """CQL(H): SAC whose critics also minimise weight · Σ_e penalty_e (arXiv:2006.04779, equation 4, which has
    ½ before the squared TD error too; code that leaves the ½ out needs twice the weight for the same).

    Weight 0 is SAC, bit for bit. ``cql_lagrange`` τ tunes the weight (equation 30): weight · (penalty − τ).
    ``cal_ql`` is Cal-QL (arXiv:2303.05479, equation 5): Q at the policy's actions counts as no less than the
    data's return-to-go.
    """

    Settings: ClassVar[type[CQLSettings]] = CQLSettings

    settings: CQLSettings

    @property
    def is_plain_sac(self) -> bool:
        return type(self) is CQL and self.settings.cql_weight == 0

    @property
    def groups(self) -> tuple[Group, ...]:
        if self.settings.cql_lagrange is None:
            return super().groups
        initial = math.log(self.settings.cql_weight)
        return (*super().groups, Group(LOG_WEIGHT, self.config.critic_lr, initial=initial))

    @property
    def trains(self) -> frozenset[str]:
        return super().trains | (set() if self.settings.cql_lagrange is None else {LOG_WEIGHT})

    @property
    def draws(self) -> int:
        """Those of SAC, then ``cql_samples`` each for uniform actions, actions at s and actions at s′."""
        return super().draws + (0 if self.settings.cql_weight == 0 else 3 * self.settings.cql_samples)

    def critic_objective(
        self, critics: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Metrics]:
        settings = self.settings
        if settings.cql_weight == 0:
            return super().critic_objective(critics, tensors, batch, noise, alpha)
        target, next_mean, next_log_std = self.target(tensors, batch, noise, alpha)
        actions, log_density = self.sampled_actions(
            tensors, batch, noise[-3 * settings.cql_samples :], next_mean, next_log_std
        )
        # the data's actions in the same pass
        q = self.q.at_actions(
            self.q.unpack(critics), batch.observation, torch.cat([actions, batch.action.unsqueeze(0)])
        )
        sampled_q, data_q = q[:, :-1], q[:, -1]
        if settings.cal_ql:
            assert batch.return_to_go is not None, "Cal-QL needs batches with return_to_go"
            n = settings.cql_samples
            sampled_q = torch.cat([sampled_q[:, :n], sampled_q[:, n:].maximum(batch.return_to_go)], dim=1)
        penalty = losses.cql_penalty(sampled_q, log_density, data_q, settings.cql_temperature)
        loss = losses.critic_loss(data_q, target)
        metrics = {
            "critic_loss": loss.detach(),
            "q_mean": data_q.detach().mean(),
            "cql_penalty": penalty.detach().mean(),
        }
        if settings.cql_lagrange is None:
            return loss + settings.cql_weight * penalty.sum(), metrics
        log_weight = tensors.groups[LOG_WEIGHT].parameters
        metrics["cql_weight"] = log_weight.exp()
        # the weight's own gradient goes with the metrics: dJ/dlog weight is J itself
        metrics["cql_weight_loss"] = losses.lagrange_loss(log_weight, penalty, settings.cql_lagrange)
        return loss + metrics["cql_weight"] * (penalty - settings.cql_lagrange).sum(), metrics

    def sampled_actions(
        self, tensors: Tensors, batch: Batch, noise: Tensor, next_mean: Tensor, next_log_std: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Uniform actions, the policy's at s and the policy's at s′: (3n, B, action_size), and the log
        density of each: (3n, B).
        """
        uniform_noise, noise_here, noise_next = noise.chunk(3)
        # 2 Φ(z) − 1 of a standard normal z is uniform in (-1, 1)
        uniform = torch.erf(uniform_noise / math.sqrt(2))
        mean, log_std = self.policy_at(tensors, batch.observation)
        here, here_log_prob = sample_action(mean, log_std, noise_here)
        following, next_log_prob = sample_action(next_mean, next_log_std, noise_next)
        # log 0.5^|A|
        uniform_density = torch.full_like(here_log_prob, -self.policy.action_size * math.log(2))
        actions = torch.cat([uniform, here, following])
        return actions, torch.cat([uniform_density, here_log_prob, next_log_prob])

    def train_critics(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor, scales: dict[str, Scale]
    ) -> Metrics:
        metrics = super().train_critics(tensors, batch, noise, alpha, scales)
        if self.settings.cql_lagrange is not None:
            log_weight = tensors.groups[LOG_WEIGHT]
            adam_step(log_weight, metrics["cql_weight_loss"], scales[LOG_WEIGHT])
            log_weight.parameters.clamp_(max=math.log(LARGEST_WEIGHT))
        return metrics
