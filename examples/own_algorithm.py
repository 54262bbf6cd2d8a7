"""An algorithm of one's own in one file: Sparse Q-Learning (Xu et al., arXiv:2303.15810).

    python -m sac_dist --offline demons_data/SawyerGrasp-v0-expert.npz --algo examples.own_algorithm:SparseQ

docs/algorithms.md walks through it. As in IQL a network V(s) learns what the better actions of the data are
worth, and the policy imitates those; here actions that are worse than that by 2α do not count at all.
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

STATE_VALUE = "state_value"  # the group of V


@dataclass(frozen=True)
class SparseQSettings(AlgorithmSettings):
    sparse_alpha: float = option(0.5, "SparseQ: α, how much worse than V an action may be and still count")

    def __post_init__(self) -> None:
        positive(self, "sparse_alpha")


@dataclass(frozen=True)
class SparseQ(SAC):
    Settings: ClassVar[type[SparseQSettings]] = SparseQSettings
    tunes_alpha: ClassVar[bool] = False

    settings: SparseQSettings

    @cached_property
    def value(self) -> Network:
        width, depth = self.config.hidden_width, self.config.hidden_depth
        return Network(perceptron(self.q.observation_size, width, depth, Scalar(width, 1)))

    @property
    def groups(self) -> tuple[Group, ...]:
        return (*super().groups, Group(STATE_VALUE, self.config.critic_lr, self.value))

    @property
    def trains(self) -> frozenset[str]:
        return super().trains | {STATE_VALUE}

    def weight(self, value: Tensor, tensors: Tensors, batch: Batch) -> Tensor:
        """max(0, 1 + (min_e Q_e(s, a) − V(s)) / 2α) of the data, by V's parameters ``value``: (B,)."""
        q = self.q(self.q.unpack(tensors.copies[TARGETS]), batch.observation, batch.action).min(dim=0).values
        v = self.value.forward(self.value.unpack(value), self.q.sees(batch.observation))
        return (1 + (q.detach() - v) / (2 * self.settings.sparse_alpha)).relu()

    def train_critics(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor, scales: dict[str, Scale]
    ) -> Metrics:
        def objective(value: Tensor) -> tuple[Tensor, Tensor]:
            v = self.value.forward(self.value.unpack(value), self.q.sees(batch.observation))
            loss = (self.weight(value, tensors, batch).square() + v / self.settings.sparse_alpha).mean()
            return loss, loss.detach()

        value_loss, _ = descend(tensors.groups[STATE_VALUE], objective, scales[STATE_VALUE])
        return super().train_critics(tensors, batch, noise, alpha, scales) | {"value_loss": value_loss}

    def critic_objective(
        self, critics: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Metrics]:
        value = self.value.unpack(tensors.groups[STATE_VALUE].parameters)
        following = self.value.forward(value, self.q.sees(batch.next_observation))
        target = self.bellman(batch, following)
        q = self.q(self.q.unpack(critics), batch.observation, batch.action)
        loss = losses.critic_loss(q, target)
        return loss, {"critic_loss": loss.detach(), "q_mean": q.detach().mean()}

    def policy_objective(
        self, policy: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Metrics]]:
        mean, log_std = self.policy(self.policy.unpack(policy), batch.observation)
        weight = self.weight(tensors.groups[STATE_VALUE].parameters, tensors, batch)
        loss = losses.weighted_cloning_loss(log_prob_of(mean, log_std, batch.action), weight)
        _, log_prob = sample_action(mean, log_std, noise)  # for the entropy that is logged
        return loss, (log_prob, {"actor_loss": loss.detach()})


register("sparseq", f"{__name__}:SparseQ", SparseQSettings, "Sparse Q-Learning")
