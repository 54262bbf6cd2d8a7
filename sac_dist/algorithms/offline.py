"""The updates for phases that learn from data alone: Conservative Q-Learning and behaviour cloning."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sac_dist.algorithms import losses
from sac_dist.algorithms.sac import Metrics, SACUpdate, Tensors, adam_step
from sac_dist.data.batch import Batch
from sac_dist.networks.mlp import log_prob_of, sample_action

LARGEST_WEIGHT = 1e6  # of the tuned penalty, as in the authors' code


@dataclass(frozen=True)
class CQLUpdate(SACUpdate):
    """CQL(H): SAC whose critics also minimise weight · Σ_e penalty_e (arXiv:2006.04779, equation 4, which has
    ½ before the squared TD error too; code that leaves the ½ out needs twice the weight for the same).

    Weight 0 is SAC, bit for bit. ``cql_lagrange`` τ tunes the weight (equation 30): weight · (penalty − τ).
    ``cal_ql`` is Cal-QL (arXiv:2303.05479, equation 5): Q at the policy's actions counts as no less than the
    data's return-to-go.
    """

    @property
    def is_sac(self) -> bool:
        return self.config.cql_weight == 0

    @property
    def draws(self) -> int:
        """Those of SAC, then ``cql_samples`` each for uniform actions, actions at s and actions at s′."""
        return super().draws + (0 if self.is_sac else 3 * self.config.cql_samples)

    @property
    def trains(self) -> tuple[bool, ...]:
        return True, True, self.config.alpha is None, self.config.cql_lagrange is not None

    def critic_objective(
        self, critics: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Metrics]:
        if self.is_sac:
            return super().critic_objective(critics, tensors, batch, noise, alpha)
        target, next_mean, next_log_std = self.target(tensors, batch, noise, alpha)
        actions, log_density = self.sampled_actions(
            tensors, batch, noise[-3 * self.config.cql_samples :], next_mean, next_log_std
        )
        # the data's actions in the same pass
        q = self.q.at_actions(
            self.q.unpack(critics), batch.observation, torch.cat([actions, batch.action.unsqueeze(0)])
        )
        sampled_q, data_q = q[:, :-1], q[:, -1]
        if self.config.cal_ql:
            assert batch.return_to_go is not None, "Cal-QL needs batches with return_to_go"
            n = self.config.cql_samples
            sampled_q = torch.cat([sampled_q[:, :n], sampled_q[:, n:].maximum(batch.return_to_go)], dim=1)
        penalty = losses.cql_penalty(sampled_q, log_density, data_q, self.config.cql_temperature)
        loss = losses.critic_loss(data_q, target)
        metrics = {
            "critic_loss": loss.detach(),
            "q_mean": data_q.detach().mean(),
            "cql_penalty": penalty.detach().mean(),
        }
        if tensors.log_weight is None:
            return loss + self.config.cql_weight * penalty.sum(), metrics
        assert self.config.cql_lagrange is not None
        log_weight = tensors.log_weight.parameters
        metrics["cql_weight"] = log_weight.exp()
        # the weight's own gradient goes with the metrics: dJ/dlog weight is J itself
        metrics["cql_weight_loss"] = losses.lagrange_loss(log_weight, penalty, self.config.cql_lagrange)
        return loss + metrics["cql_weight"] * (penalty - self.config.cql_lagrange).sum(), metrics

    def sampled_actions(
        self, tensors: Tensors, batch: Batch, noise: Tensor, next_mean: Tensor, next_log_std: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Uniform actions, the policy's at s and the policy's at s′: (3n, B, action_size), and the log
        density of each: (3n, B).
        """
        uniform_noise, noise_here, noise_next = noise.chunk(3)
        uniform = torch.erf(
            uniform_noise / math.sqrt(2)
        )  # 2 Φ(z) − 1 of a standard normal z is uniform in (-1, 1)
        mean, log_std = self.policy(self.policy.unpack(tensors.policy.parameters), batch.observation)
        here, here_log_prob = sample_action(mean, log_std, noise_here)
        following, next_log_prob = sample_action(next_mean, next_log_std, noise_next)
        uniform_density = torch.full_like(
            here_log_prob, -self.policy.action_size * math.log(2)
        )  # log 0.5^|A|
        return torch.cat([uniform, here, following]), torch.cat(
            [uniform_density, here_log_prob, next_log_prob]
        )

    def _train_critics(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor, scales: Tensor
    ) -> Metrics:
        metrics = super()._train_critics(tensors, batch, noise, alpha, scales)
        if tensors.log_weight is not None:
            adam_step(tensors.log_weight, metrics["cql_weight_loss"], scales[3])
            tensors.log_weight.parameters.clamp_(max=math.log(LARGEST_WEIGHT))
        return metrics


@dataclass(frozen=True)
class BCUpdate(SACUpdate):
    """Behaviour cloning: maximum likelihood of the data's actions, with SAC's tuned entropy term. The critics
    stay as they are.
    """

    @property
    def trains(self) -> tuple[bool, ...]:
        return False, True, self.config.alpha is None, False

    def _train_critics(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor, scales: Tensor
    ) -> Metrics:
        return {}

    def policy_objective(
        self, policy: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Tensor, Metrics]:
        mean, log_std = self.policy(self.policy.unpack(policy), batch.observation)
        _, log_prob = sample_action(mean, log_std, noise)
        data_log_prob = log_prob_of(mean, log_std, batch.action)
        loss = losses.cloning_loss(log_prob, data_log_prob, alpha)
        return loss, log_prob, {"actor_loss": loss.detach(), "data_log_prob": data_log_prob.detach().mean()}
