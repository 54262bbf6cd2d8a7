"""Soft Actor-Critic with automatic temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sac_dist.algorithms import losses
from sac_dist.algorithms.adam import Scale, Sight, adam_step, descend
from sac_dist.algorithms.base import Algorithm, Group, Metrics, Tensors
from sac_dist.data.batch import Batch
from sac_dist.networks.distribution import sample_action
from sac_dist.networks.encoder import Encoder

AVERAGING = 0.005  # share of the policy that flows into its average at each update, after the first ones
CRITICS, POLICY, LOG_ALPHA = "critics", "policy", "log_alpha"  # the groups of SAC
ENCODER = "encoder"  # … where observations have pictures
TARGETS, AVERAGE = "targets", "average"  # the copies of critics and policy
ENCODER_AVERAGE = "encoder_average"


def average_policy(tensors: Tensors) -> None:
    """Move the average towards the policy: Nikishin et al., Improving Stability in Deep Reinforcement
    Learning with Weight Averaging, 2018. It is what is evaluated, as each update moves the policy to and fro.

    The share falls as 2 / (t + 1) to ``AVERAGING``, so that after few updates the start does not count (at t
    = 1 it is all).
    """
    share = (2 / (tensors.steps_of(POLICY) + 1)).clamp(min=AVERAGING)
    tensors.copies[AVERAGE].lerp_(tensors.groups[POLICY].parameters, share)
    if ENCODER in tensors.groups:  # the policy's average sees by the encoder's
        tensors.copies[ENCODER_AVERAGE].lerp_(tensors.groups[ENCODER].parameters, share)


@dataclass(frozen=True)
class SAC(Algorithm):
    """SAC with automatic temperature: arXiv:1812.05905, algorithm 1, with one deviation: as usual since, each
    update trains the critics first and the policy against the new critics. A subclass changes the objectives.

    With ``target_critics`` M the target takes the minimum of M random critics and the policy the mean of all:
    REDQ, arXiv:2101.05982.

    Pictures are encoded once an update, both observations by the present encoder, and the critics' loss alone
    trains it, as in DrQ-v2, arXiv:2107.09645, algorithm 1; or the policy's, as in asymmetric actor-critic,
    arXiv:1710.06542.
    """

    @property
    def policy_trains_encoder(self) -> bool:
        """Whether its loss does in place of the critics', which see no pictures."""
        return self.q.unseen > 0

    @property
    def target_entropy(self) -> float:
        """What the temperature aims at, in nats."""
        given = self.config.target_entropy
        return -self.policy.action_size / 2 if given is None else given

    @property
    def tunes_alpha(self) -> bool:
        """Whether the temperature follows the target entropy."""
        return self.config.alpha is None

    @property
    def groups(self) -> tuple[Group, ...]:
        config = self.config
        alpha = config.initial_alpha if config.alpha is None else config.alpha
        groups = (
            Group(CRITICS, config.critic_lr, self.q, copy=TARGETS),
            Group(POLICY, config.actor_lr, self.policy, copy=AVERAGE, with_policy=True),
            Group(LOG_ALPHA, config.alpha_lr, initial=math.log(alpha), with_policy=True),
        )
        if self.encoder is None:
            return groups
        rate = config.actor_lr if self.q.unseen else config.critic_lr
        # at the policy's share of its step size, whatever trains it: a policy that is left alone would no
        # longer see what it learned from
        return (*groups, Group(ENCODER, rate, self.encoder, copy=ENCODER_AVERAGE, with_policy=True))

    @property
    def trains(self) -> frozenset[str]:
        with_policy = {POLICY} | ({LOG_ALPHA} if self.tunes_alpha else set())
        always = {CRITICS}
        if self.encoder is not None:
            (with_policy if self.policy_trains_encoder else always).add(ENCODER)
        return frozenset(always | (with_policy if self.trains_policy else set()))

    @property
    def draws(self) -> int:
        """For the actions at s, at s′, and for the subset of the critics."""
        return 2 if self.config.target_critics is None else 3

    @property
    def is_plain_sac(self) -> bool:
        return type(self) is SAC

    def __call__(self, tensors: Tensors, batch: Batch, noise: Tensor, lrs: Tensor) -> Metrics:
        scales = self.scales(tensors, lrs)
        alpha = tensors.groups[LOG_ALPHA].parameters.exp()
        if self.encoder is not None:
            batch = self.look(self.encoder, tensors, batch, noise, scales)
        of_critics = batch
        if batch.sight is not None:
            fixed = batch._replace(observation=batch.observation.detach(), sight=None)
            of_critics, batch = (fixed, batch) if self.policy_trains_encoder else (batch, fixed)
        metrics = self.train_critics(tensors, of_critics, noise, alpha, scales)
        if not self.trains_policy:
            return metrics | {"alpha": alpha}
        log_prob, policy_metrics = self.train_policy(tensors, batch, noise[0], alpha, scales)
        if self.tunes_alpha:
            # with α = exp(log α), dJ/dlog α is J itself
            log_alpha = tensors.groups[LOG_ALPHA]
            gradient = losses.temperature_loss(log_alpha.parameters, log_prob, self.target_entropy)
            adam_step(log_alpha, gradient, scales[LOG_ALPHA])
        return metrics | policy_metrics | {"alpha": alpha, "entropy": -log_prob.mean()}

    def look(
        self, encoder: Encoder, tensors: Tensors, batch: Batch, noise: Tensor, scales: dict[str, Scale]
    ) -> Batch:
        """``batch`` with observations of what the encoder makes of pictures, and the numbers."""
        seen, next_seen = batch.seen, batch.next_seen
        assert seen is not None and next_seen is not None
        if encoder.shift:
            chances = noise[-1, :, 0]
            seen, next_seen = encoder.shifted(seen, chances), encoder.shifted(next_seen, -chances)
        trained = tensors.groups[ENCODER]
        # a copy: an algorithm may make other steps in the memory that all groups share before it asks for
        # this gradient, and autograd would take them for changes of these numbers
        parameters = trained.parameters.clone().requires_grad_()
        features = encoder(encoder.unpack(parameters), seen)
        following = encoder(encoder.unpack(trained.parameters), next_seen).detach()
        return batch._replace(
            observation=torch.cat([features, batch.observation], dim=-1),
            next_observation=torch.cat([following, batch.next_observation], dim=-1),
            seen=None,
            next_seen=None,
            sight=Sight(parameters, trained, scales[ENCODER]),
        )

    def policy_at(self, tensors: Tensors, observation: Tensor) -> tuple[Tensor, Tensor]:
        """The present policy's mean and log σ, each (B, action_size)."""
        return self.policy(self.policy.unpack(tensors.groups[POLICY].parameters), observation)

    def target(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The soft Bellman target (B,), and the policy's mean and log σ at s′."""
        mean, log_std = self.policy_at(tensors, batch.next_observation)
        next_action, next_log_prob = sample_action(mean, log_std, noise[1])
        next_q = self.target_q(tensors, batch, next_action, noise)
        entropy_price = alpha if self.config.entropy_backup else 0.0
        value = losses.soft_value(next_q, next_log_prob, entropy_price)
        return self.bellman(batch, value), mean, log_std

    def target_q(self, tensors: Tensors, batch: Batch, action: Tensor, noise: Tensor) -> Tensor:
        """The target critics, or a random subset, on ``action`` (B, action_size) at s′: (E, B)."""
        critics = self.q.unpack(tensors.copies[TARGETS])
        if self.config.target_critics is not None:
            # the order of independent normal numbers is a uniformly random one
            order = noise[2].flatten()[: self.q.critics].argsort()
            critics = self.q.subset(critics, order[: self.config.target_critics])
        return self.q(critics, batch.next_observation, action)

    def bellman(self, batch: Batch, next_value: Tensor) -> Tensor:
        """The target (B,) of a value before the batch's transitions, from ``next_value`` (B,) after them."""
        return losses.td_target(self.reward(batch), batch.discount, next_value)

    def reward(self, batch: Batch) -> Tensor:
        """What is learned from, (B,)."""
        config = self.config
        return losses.scaled_reward(
            batch.reward, config.reward_scale, config.reward_bias, config.normalize_rewards
        )

    def critic_objective(
        self, critics: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Metrics]:
        """What the critics' parameter vector minimises, and its metrics."""
        target, _, _ = self.target(tensors, batch, noise, alpha)
        q = self.q(self.q.unpack(critics), batch.observation, batch.action)
        loss = losses.critic_loss(q, target)
        return loss, {"critic_loss": loss.detach(), "q_mean": q.detach().mean()}

    def policy_objective(
        self, policy: Tensor, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Metrics]]:
        """What the policy's parameter vector minimises; log π (B,) of sampled actions, and metrics."""
        mean, log_std = self.policy(self.policy.unpack(policy), batch.observation)
        action, log_prob = sample_action(mean, log_std, noise)
        q = self.q(self.q.unpack(tensors.groups[CRITICS].parameters), batch.observation, action)
        if self.config.target_critics is not None:
            q = q.mean(dim=0, keepdim=True)
        loss = losses.actor_loss(log_prob, q, alpha)
        return loss, (log_prob, {"actor_loss": loss.detach()})

    def train_critics(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor, scales: dict[str, Scale]
    ) -> Metrics:
        """One step of the critics and of their targets."""
        critics = tensors.groups[CRITICS]
        metrics, norm = descend(
            critics,
            lambda vector: self.critic_objective(vector, tensors, batch, noise, alpha),
            scales[CRITICS],
            self.config.grad_clip,
            batch.sight,
        )
        tensors.copies[TARGETS].lerp_(critics.parameters, self.config.tau)
        return metrics | {"critic_grad_norm": norm}

    def train_policy(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor, scales: dict[str, Scale]
    ) -> tuple[Tensor, Metrics]:
        """One step of the policy and of its average; returns log π (B,) of sampled actions, and metrics."""
        (log_prob, metrics), norm = descend(
            tensors.groups[POLICY],
            lambda vector: self.policy_objective(vector, tensors, batch, noise, alpha),
            scales[POLICY],
            self.config.grad_clip,
            batch.sight,
        )
        average_policy(tensors)
        return log_prob.detach(), metrics | {"actor_grad_norm": norm}
