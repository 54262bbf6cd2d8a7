"""An algorithm of one's own in one file: Implicit Q-Learning (Kostrikov et al., arXiv:2110.06169).

    python -m sac_dist --offline demons_data/SawyerGrasp-v0-expert.npz --algo examples.own_algorithm:IQL

docs/algorithms.md walks through it. IQL never asks the critics about actions that the data does not hold: a
third network V(s) learns what the better actions of the data are worth, and the policy imitates those.
"""

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
from sac_dist.settings.algorithms import AlgorithmSettings, register
from sac_dist.settings.option import option, positive

VALUE = "value"  # the group of V
LARGEST_WEIGHT = 100.0  # of an action in the policy's loss, as in the authors' code


@dataclass(frozen=True)
class IQLSettings(AlgorithmSettings):
    expectile: float = option(0.8, "IQL: which expectile of Q over the data's actions V learns, in (0, 1)")
    advantage_scale: float = option(3.0, "IQL: β in the weight exp(β · advantage) of an action")

    def __post_init__(self) -> None:
        positive(self, "expectile", "advantage_scale")


@dataclass(frozen=True)
class IQL(SAC):
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
        return q.detach() - self.value.forward(self.value.unpack(value), batch.observation)

    def train_critics(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor, scales: dict[str, Scale]
    ) -> Metrics:
        def expectile_loss(value: Tensor) -> tuple[Tensor, Tensor]:  # equation 5
            advantage = self.advantage(value, tensors, batch)
            loss = ((self.settings.expectile - (advantage < 0).float()).abs() * advantage.square()).mean()
            return loss, loss.detach()

        value_loss, _ = descend(tensors.groups[VALUE], expectile_loss, scales[VALUE])
        return super().train_critics(tensors, batch, noise, alpha, scales) | {"value_loss": value_loss}

    def critic_objective(
        self, critics: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Metrics]:
        value = self.value.unpack(tensors.groups[VALUE].parameters)
        target = self.bellman(batch, self.value.forward(value, batch.next_observation))  # equation 6
        q = self.q(self.q.unpack(critics), batch.observation, batch.action)
        loss = losses.critic_loss(q, target)
        return loss, {"critic_loss": loss.detach(), "q_mean": q.detach().mean()}

    def policy_objective(
        self, policy: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Metrics]]:
        advantage = self.advantage(tensors.groups[VALUE].parameters, tensors, batch)
        weight = (self.settings.advantage_scale * advantage).exp().clamp(max=LARGEST_WEIGHT)
        mean, log_std = self.policy(self.policy.unpack(policy), batch.observation)
        loss = -(weight * log_prob_of(mean, log_std, batch.action)).mean()  # equation 7
        _, log_prob = sample_action(mean, log_std, noise)  # for the entropy that is logged
        return loss, (log_prob, {"actor_loss": loss.detach()})


register("iql", f"{__name__}:IQL", IQLSettings, "Implicit Q-Learning")
