"""Implicit Q-Learning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor

from sac_dist.algorithms import losses
from sac_dist.algorithms.adam import Scale, descend
from sac_dist.algorithms.base import Group, Metrics, Tensors
from sac_dist.algorithms.sac import SAC, TARGETS
from sac_dist.data.batch import Batch
from sac_dist.networks.blocks import Scalar
from sac_dist.networks.distribution import log_prob_of, sample_action
from sac_dist.networks.network import Network, perceptron
from sac_dist.settings.algorithms import IQLSettings

VALUE = "value"  # the group of V
LARGEST_WEIGHT = 100.0  # of an action in the policy's loss, as in the authors' code


@dataclass(frozen=True)
class IQL(SAC):
    """IQL: arXiv:2110.06169, algorithm 1. The critics are never asked about actions that the data does not
    hold: a network V(s) learns what the better ones of the data are worth, and the policy imitates those.

    Updates V, the critics and their targets, then the policy. The temperature stays as it is.
    """

    Settings: ClassVar[type[IQLSettings]] = IQLSettings
    tunes_alpha: ClassVar[bool] = False

    settings: IQLSettings

    @cached_property
    def value(self) -> Network:
        width, depth = self.config.hidden_width, self.config.hidden_depth
        return Network(perceptron(self.q.observation_size, width, depth, Scalar(width, 1)))

    @property
    def groups(self) -> tuple[Group, ...]:
        return (*super().groups, Group(VALUE, self.config.critic_lr, self.value))

    @property
    def trains(self) -> frozenset[str]:
        return super().trains | {VALUE}

    def advantage(self, value: Tensor, tensors: Tensors, batch: Batch) -> Tensor:
        """min_e Q_e(s, a) − V(s) of the data, by the target critics and V's parameters ``value``: (B,)."""
        q = self.q(self.q.unpack(tensors.copies[TARGETS]), batch.observation, batch.action).min(dim=0).values
        return q.detach() - self.value.forward(self.value.unpack(value), self.q.sees(batch.observation))

    def train_critics(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor, scales: dict[str, Scale]
    ) -> Metrics:
        value_loss, _ = descend(
            tensors.groups[VALUE],
            lambda vector: self.value_objective(vector, tensors, batch),
            scales[VALUE],
            self.config.grad_clip,
        )
        return super().train_critics(tensors, batch, noise, alpha, scales) | {"value_loss": value_loss}

    def value_objective(self, value: Tensor, tensors: Tensors, batch: Batch) -> tuple[Tensor, Tensor]:
        """What V's parameter vector minimises, twice."""
        loss = losses.expectile_loss(self.advantage(value, tensors, batch), self.settings.iql_expectile)
        return loss, loss.detach()

    def critic_objective(
        self, critics: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Metrics]:
        value = self.value.unpack(tensors.groups[VALUE].parameters)
        following = self.value.forward(value, self.q.sees(batch.next_observation))
        target = self.bellman(batch, following)  # equation 6
        q = self.q(self.q.unpack(critics), batch.observation, batch.action)
        loss = losses.critic_loss(q, target)
        return loss, {"critic_loss": loss.detach(), "q_mean": q.detach().mean()}

    def policy_objective(
        self, policy: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Metrics]]:
        advantage = self.advantage(tensors.groups[VALUE].parameters, tensors, batch)
        weight = (self.settings.iql_beta * advantage).exp().clamp(max=LARGEST_WEIGHT)
        mean, log_std = self.policy(self.policy.unpack(policy), batch.observation)
        data_log_prob = log_prob_of(mean, log_std.clamp(min=losses.LEAST_LOG_STD), batch.action)
        loss = losses.weighted_cloning_loss(data_log_prob, weight)  # equation 7
        _, log_prob = sample_action(mean, log_std, noise)  # for the entropy that is logged
        return loss, (log_prob, {"actor_loss": loss.detach(), "weight_max": weight.max()})
