"""TD3+BC: a deterministic policy that climbs Q and stays near the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sac_dist.algorithms import losses
from sac_dist.algorithms.adam import Scale
from sac_dist.algorithms.base import Metrics, Tensors
from sac_dist.algorithms.sac import AVERAGE, CRITICS, POLICY, SAC
from sac_dist.data.batch import Batch
from sac_dist.networks.distribution import sample_action
from sac_dist.settings.algorithms import AlgorithmSettings, TD3BCSettings

TARGET_NOISE, TARGET_NOISE_LIMIT = 0.2, 0.5  # TD3, arXiv:1802.09477, section 6.1
POLICY_EVERY = 2  # the same
EXPLORATION = 0.1  # σ that a policy which has none of its own explores with, as TD3's


@dataclass(frozen=True)
class TD3BC(SAC):
    """TD3+BC: arXiv:2106.06860, equation 3. The policy is the tanh of the Gaussian's mean, with σ fixed at
    0.1 before the tanh: online it explores with that, offline nobody asks for it.

    The target policy is the policy's average, whose 0.005 is TD3's τ. The temperature stays as it is.
    """

    Settings: ClassVar[type[AlgorithmSettings]] = TD3BCSettings
    tunes_alpha: ClassVar[bool] = False

    settings: TD3BCSettings

    @property
    def policy_every(self) -> int:
        return max(POLICY_EVERY, self.config.policy_every)

    def target_action(self, tensors: Tensors, batch: Batch, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The target policy's action at s′ (B, action_size), smoothed, and its mean and log σ."""
        mean, log_std = self.policy(self.policy.unpack(tensors.copies[AVERAGE]), batch.next_observation)
        smoothing = (TARGET_NOISE * noise).clamp(-TARGET_NOISE_LIMIT, TARGET_NOISE_LIMIT)
        return (mean.tanh() + smoothing).clamp(-1, 1), mean, log_std

    def target(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        action, mean, log_std = self.target_action(tensors, batch, noise[1])
        value = self.target_q(tensors, batch, action, noise).min(dim=0).values
        return self.bellman(batch, value - self.price(action, batch)), mean, log_std

    def price(self, action: Tensor, batch: Batch) -> Tensor | float:
        """What the target loses for the target policy's ``action`` (B, action_size) at s′: (B,)."""
        return 0.0

    def policy_objective(
        self, policy: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Metrics]]:
        mean, log_std = self.policy(self.policy.unpack(policy), batch.observation)
        action = mean.tanh()
        critics = self.q.unpack(tensors.groups[CRITICS].parameters)
        q = self.climbed(self.q(critics, batch.observation, action))
        distance = (action - batch.action).square()
        loss = self.weigh(losses.normalised_q(q), distance)
        _, log_prob = sample_action(mean, log_std, noise)  # for the entropy that is logged
        return loss, (log_prob, {"actor_loss": loss.detach(), "bc_distance": distance.detach().mean()})

    def climbed(self, q: Tensor) -> Tensor:
        """What the policy climbs of the critics' values (E, B): (B,). TD3 takes the first critic."""
        return q[0]

    def weigh(self, q: Tensor, distance: Tensor) -> Tensor:
        """The policy's loss from Q (B,), divided by its mean size, and the squares (B, action_size) of how
        far the policy is from the data.
        """
        return distance.mean() - self.settings.td3bc_alpha * q.mean()

    def train_policy(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor, scales: dict[str, Scale]
    ) -> tuple[Tensor, Metrics]:
        result = super().train_policy(tensors, batch, noise, alpha, scales)
        for vector in (tensors.groups[POLICY].parameters, tensors.copies[AVERAGE]):
            self.fix_log_std(vector)
        return result

    def fix_log_std(self, policy: Tensor) -> None:
        """Have the policy's last layer give log ``EXPLORATION`` whatever it is shown."""
        last, actions = self.policy.blocks[-1][0], self.policy.action_size
        parameters = self.policy.unpack(policy)
        parameters[f"{last}.weight"][:, actions:].zero_()
        parameters[f"{last}.bias"][:, actions:].fill_(math.log(EXPLORATION))
