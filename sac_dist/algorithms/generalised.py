"""SAC with critics of other kinds: distributions, batch normalisation, dropout, no target network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sac_dist.algorithms import losses
from sac_dist.algorithms.adam import Scale, descend
from sac_dist.algorithms.base import Group, Metrics, Tensors
from sac_dist.algorithms.distributions import (
    cross_entropy,
    of_least_mean,
    projected,
    quantile_huber_loss,
    truncated,
)
from sac_dist.algorithms.sac import CRITICS, POLICY, SAC, TARGETS, average_policy
from sac_dist.data.batch import Batch
from sac_dist.networks.critics import CategoricalEnsemble, QuantileEnsemble
from sac_dist.networks.distribution import sample_action
from sac_dist.networks.operations import TorchOperations
from sac_dist.networks.parameters import Parameters

OF_TARGETS, OF_POLICY = 1, 2  # keep the units that dropout leaves out in these passes apart from the critics'


@dataclass(frozen=True)
class GeneralisedSAC(SAC):
    """SAC where AgentConfig.generalised: what "sac" means there.

    Networks with batch normalisation see s and s′ in one batch (CrossQ, arXiv:1902.05605), and the policy
    goes by the critics' running statistics. Without a target network what follows is valued by the critics
    themselves, in the same pass.
    """

    @property
    def groups(self) -> tuple[Group, ...]:
        groups = super().groups
        if self.config.target_network:
            return groups
        return tuple(replace(group, copy=None) if group.name == CRITICS else group for group in groups)

    def seed(self, noise: Tensor, of: int = 0) -> Tensor | None:
        """Of the units that dropout leaves out in one pass of an update: its noise's last number, as bits."""
        return noise.flatten()[-1].view(torch.int32) + of if self.config.dropout else None

    def critics_outputs(
        self, critics: Parameters, tensors: Tensors, batch: Batch, next_action: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, TorchOperations]:
        """What the critics give (E, B, …) at s and a, what their targets give at s′ and a′, without a
        gradient, and the operations of the critics' pass.
        """
        size, normalises = len(batch.reward), self.config.normalises_batches
        training = TorchOperations({} if normalises else None, self.seed(noise))
        later = TorchOperations({} if normalises else None, self.seed(noise, OF_TARGETS))
        target_network = self.config.target_network
        targets = self.q.unpack(tensors.copies[TARGETS]) if target_network else critics
        if normalises:
            states = torch.cat([batch.observation, batch.next_observation])
            actions = torch.cat([batch.action, next_action])
            both = self.q.outputs(critics, states, actions, training)
            ahead = self.q.outputs(targets, states, actions, later) if target_network else both
            return both[:, :size], ahead[:, size:].detach(), training
        here = self.q.outputs(critics, batch.observation, batch.action, training)
        following = self.q.outputs(targets, batch.next_observation, next_action, later)
        return here, following.detach(), training

    def critic_loss(self, here: Tensor, following: Tensor, batch: Batch, entropy_cost: Tensor) -> Tensor:
        """Of the critics' outputs ``here`` (E, B, …), by those ``following`` and α log π(a′|s′) (B,)."""
        q = self.q
        if isinstance(q, CategoricalEnsemble):
            chosen = of_least_mean(following, q.values(following)).softmax(dim=-1)
            values = q.support(chosen) - entropy_cost[:, None]
            after = self.bellman_of(batch, values)
            return cross_entropy(here, projected(chosen, after, q.limit))
        if isinstance(q, QuantileEnsemble):
            samples = truncated(following, self.config.dropped_quantiles) - entropy_cost[:, None]
            return quantile_huber_loss(here, self.bellman_of(batch, samples))
        return losses.critic_loss(here, self.bellman(batch, following.min(dim=0).values - entropy_cost))

    def bellman_of(self, batch: Batch, values: Tensor) -> Tensor:
        """r + discount · value for each of ``values`` (B, N) after the transitions: (B, N)."""
        reward = self.reward(batch)
        return (reward[:, None] + batch.discount[:, None] * values).detach()

    def critic_objective(
        self, critics: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Metrics]:
        loss, (metrics, _) = self.critic_objective_of(critics, tensors, batch, noise, alpha)
        return loss, metrics

    def critic_objective_of(
        self, critics: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, tuple[Metrics, TorchOperations]]:
        """The loss, its metrics, and the operations of the critics' pass."""
        mean, log_std = self.policy_at(tensors, batch.next_observation)
        next_action, next_log_prob = sample_action(mean, log_std, noise[1])
        here, following, training = self.critics_outputs(
            self.q.unpack(critics), tensors, batch, next_action, noise
        )
        if self.config.target_critics is not None:
            order = noise[2].flatten()[: self.q.critics].argsort()
            following = following.index_select(0, order[: self.config.target_critics])
        entropy_cost = (alpha if self.config.entropy_backup else 0.0) * next_log_prob
        loss = self.critic_loss(here, following, batch, entropy_cost)
        metrics = {"critic_loss": loss.detach(), "q_mean": self.q.values(here.detach()).mean()}
        return loss, (metrics, training)

    def train_critics(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor, scales: dict[str, Scale]
    ) -> Metrics:
        critics = tensors.groups[CRITICS]
        (metrics, training), norm = descend(
            critics,
            lambda vector: self.critic_objective_of(vector, tensors, batch, noise, alpha),
            scales[CRITICS],
            self.config.grad_clip,
            batch.sight,
        )
        self.q.take(critics.parameters, training.statistics or {})
        self.q.project(critics.parameters)
        if self.config.target_network:
            tensors.copies[TARGETS].lerp_(critics.parameters, self.config.tau)
        return metrics | {"critic_grad_norm": norm}

    def policy_objective(
        self, policy: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Metrics]]:
        loss, (log_prob, metrics, _) = self.policy_objective_of(policy, tensors, batch, noise, alpha)
        return loss, (log_prob, metrics)

    def policy_objective_of(
        self, policy: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Metrics, TorchOperations]]:
        """The loss, log π (B,) of sampled actions, metrics, and the operations of the policy's pass."""
        training = TorchOperations({} if self.config.normalises_batches else None)
        output = self.policy.forward(self.policy.unpack(policy), batch.observation, ops=training)
        mean, log_std = self.policy.gaussian(output)
        action, log_prob = sample_action(mean, log_std, noise)
        critics = self.q.unpack(tensors.groups[CRITICS].parameters)
        ops = TorchOperations(seed=self.seed(noise, OF_POLICY))
        q = self.q.values(self.q.outputs(critics, batch.observation, action, ops))
        if self.config.target_critics is not None or isinstance(self.q, QuantileEnsemble):
            q = q.mean(dim=0, keepdim=True)
        loss = losses.actor_loss(log_prob, q, alpha)
        return loss, (log_prob, {"actor_loss": loss.detach()}, training)

    def train_policy(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor, scales: dict[str, Scale]
    ) -> tuple[Tensor, Metrics]:
        policy = tensors.groups[POLICY]
        (log_prob, metrics, training), norm = descend(
            policy,
            lambda vector: self.policy_objective_of(vector, tensors, batch, noise, alpha),
            scales[POLICY],
            self.config.grad_clip,
        )
        self.policy.take(policy.parameters, training.statistics or {})
        self.policy.project(policy.parameters)
        average_policy(tensors)
        return log_prob.detach(), metrics | {"actor_grad_norm": norm}
