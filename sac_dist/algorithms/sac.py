"""One SAC update as a function of the tensors it changes, so that it can run eagerly or compiled, in any
process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sac_dist.algorithms import losses
from sac_dist.data.batch import Batch
from sac_dist.networks.mlp import GaussianPolicy, QEnsemble, sample_action
from sac_dist.settings import AgentConfig

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # Adam's, as in torch.optim.Adam
AVERAGING = 0.005  # share of the policy that flows into its average at each update, after the first ones
# |m| / √v is never more than this in Adam, whatever the gradients (Cauchy-Schwarz over the two running sums).
LARGEST_RATIO = (1 - BETA1) / math.sqrt((1 - BETA2) * (1 - BETA1**2 / BETA2))

Metrics = dict[str, Tensor]


class Trained(NamedTuple):
    """A parameter vector and its Adam moments, changed in place."""

    parameters: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


class Tensors(NamedTuple):
    """Everything an update changes: flat float32 vectors, and 0-d ones for log α and, where it is tuned,
    CQL's log weight.

    ``average`` is the policy's, over its last some hundred updates: what is evaluated, as each update moves
    the policy to and fro.

    ``steps`` counts the Adam steps of each that is trained, the one that is being made included; it stays at
    2²⁴, where both bias corrections have long been 1. The caller counts: compiled code would store a count at
    its end, over what other processes counted.
    """

    steps: Tensor
    targets: Tensor
    average: Tensor
    critics: Trained
    policy: Trained
    log_alpha: Trained
    log_weight: Trained | None = None


def adam_scales(steps: Tensor, lrs: Tensor) -> Tensor:
    """Step sizes and ε with Adam's bias corrections in them, for ``steps`` t (n,) and step sizes ``lrs``
    (n,): (n, 2).

    lr √(1 − β₂ᵗ) / (1 − β₁ᵗ) and ε √(1 − β₂ᵗ), by expm1 as 1 − βᵗ cancels in float32 while t is small. (t =
    0: not trained yet, not used.)
    """
    steps = steps.clamp(min=1)
    correction1, root = -torch.expm1(math.log(BETA1) * steps), (-torch.expm1(math.log(BETA2) * steps)).sqrt()
    return torch.stack([lrs * root / correction1, EPS * root], dim=1)


def adam_step(trained: Trained, gradient: Tensor, scales: Tensor) -> None:
    """One step of Adam (arXiv:1412.6980, algorithm 1 as reordered in section 2) in place; equals
    torch.optim.Adam.

    ``scales`` (2,) is this network's row of ``adam_scales``. Inductor drops ``alpha`` from ``add(x, matmul,
    alpha=…)`` (torch 2.13, pytorch issue 167313): none is used here.

    Two processes that train at once can lose a write to v and keep the one to m. Where v is then 0 the step
    would be 1e8 times too long, so |m| / √v counts as no more than it can be. That changes nothing where both
    are whole.
    """
    step_size, eps = scales.unbind()
    trained.exp_avg.lerp_(gradient, 1 - BETA1)
    trained.exp_avg_sq.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    direction = trained.exp_avg / trained.exp_avg_sq.sqrt().add_(eps)
    trained.parameters.addcmul_(direction.clamp_(-LARGEST_RATIO, LARGEST_RATIO), step_size, value=-1)


def average_policy(tensors: Tensors) -> None:
    """Move the average towards the policy: Nikishin et al., Improving Stability in Deep Reinforcement
    Learning with Weight Averaging, 2018.

    The share falls as 2 / (t + 1) to ``AVERAGING``, so that after few updates the start does not count (at t
    = 1 it is all).
    """
    share = (2 / (tensors.steps[1] + 1)).clamp(min=AVERAGING)
    tensors.average.lerp_(tensors.policy.parameters, share)


def clip_by_norm(gradient: Tensor, largest: float | None) -> tuple[Tensor, Tensor]:
    """The gradient scaled to a norm of at most ``largest`` (as clip_grad_norm_ does), and its norm before
    that.
    """
    norm = torch.linalg.vector_norm(gradient)
    if largest is not None:
        gradient = gradient * (largest / (norm + 1e-6)).clamp(max=1.0)
    return gradient, norm


@dataclass(frozen=True)
class SACUpdate:
    """SAC with automatic temperature: arXiv:1812.05905, algorithm 1, with one deviation: as usual since, each
    update trains the critics first and the policy against the new critics. Holds only what is fixed; a
    subclass changes the objectives.

    With ``target_critics`` M the target takes the minimum of M random critics and the policy the mean of all:
        REDQ, arXiv:2101.05982.
    """

    policy: GaussianPolicy
    q: QEnsemble
    config: AgentConfig
    target_entropy: float

    @property
    def draws(self) -> int:
        """Slabs (B, action_size) of standard normal noise that an update takes: for the actions at s, at s′,
        and for the subset.
        """
        return 2 if self.config.target_critics is None else 3

    @property
    def trains(self) -> tuple[bool, ...]:
        """Which of critics, policy, temperature and CQL's weight an update trains."""
        return True, True, self.config.alpha is None, False

    def __call__(self, tensors: Tensors, batch: Batch, noise: Tensor, lrs: Tensor) -> Metrics:
        """Train everything once on ``batch``, with standard normal ``noise`` (draws, B, action_size) and step
        sizes ``lrs``.
        """
        scales = adam_scales(tensors.steps, lrs)
        alpha = tensors.log_alpha.parameters.exp()
        metrics = self._train_critics(tensors, batch, noise, alpha, scales)
        log_prob, policy_metrics = self._train_policy(tensors, batch, noise[0], alpha, scales[1])
        if self.config.alpha is None:
            # with α = exp(log α), dJ/dlog α is J itself
            gradient = losses.temperature_loss(tensors.log_alpha.parameters, log_prob, self.target_entropy)
            adam_step(tensors.log_alpha, gradient, scales[2])
        return metrics | policy_metrics | {"alpha": alpha, "entropy": -log_prob.mean()}

    def target(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The soft Bellman target (B,), and the policy's mean and log σ at s′."""
        config = self.config
        mean, log_std = self.policy(self.policy.unpack(tensors.policy.parameters), batch.next_observation)
        next_action, next_log_prob = sample_action(mean, log_std, noise[1])
        critics = self.q.unpack(tensors.targets)
        if config.target_critics is not None:
            # the order of independent normal numbers is a uniformly random one
            order = noise[2].flatten()[: self.q.critics].argsort()
            critics = self.q.subset(critics, order[: config.target_critics])
        next_q = self.q(critics, batch.next_observation, next_action)
        reward = losses.scaled_reward(
            batch.reward, config.reward_scale, config.reward_bias, config.normalize_rewards
        )
        entropy_price = alpha if config.entropy_backup else 0.0
        return (
            losses.td_target(reward, batch.discount, next_q, next_log_prob, entropy_price),
            mean,
            log_std,
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
    ) -> tuple[Tensor, Tensor, Metrics]:
        """What the policy's parameter vector minimises, log π (B,) of sampled actions, and metrics."""
        mean, log_std = self.policy(self.policy.unpack(policy), batch.observation)
        action, log_prob = sample_action(mean, log_std, noise)
        q = self.q(self.q.unpack(tensors.critics.parameters), batch.observation, action)
        if self.config.target_critics is not None:
            q = q.mean(dim=0, keepdim=True)
        loss = losses.actor_loss(log_prob, q, alpha)
        return loss, log_prob, {"actor_loss": loss.detach()}

    def _train_critics(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor, scales: Tensor
    ) -> Metrics:
        critics = (
            tensors.critics.parameters.detach().requires_grad_()
        )  # the same memory, with gradients for this step only
        loss, metrics = self.critic_objective(critics, tensors, batch, noise, alpha)
        gradient, norm = clip_by_norm(torch.autograd.grad(loss, [critics])[0], self.config.grad_clip)
        adam_step(tensors.critics, gradient, scales[0])
        tensors.targets.lerp_(tensors.critics.parameters, self.config.tau)
        return metrics | {"critic_grad_norm": norm}

    def _train_policy(
        self, tensors: Tensors, batch: Batch, noise: Tensor, alpha: Tensor, scales: Tensor
    ) -> tuple[Tensor, Metrics]:
        policy = tensors.policy.parameters.detach().requires_grad_()
        loss, log_prob, metrics = self.policy_objective(policy, tensors, batch, noise, alpha)
        gradient, norm = clip_by_norm(torch.autograd.grad(loss, [policy])[0], self.config.grad_clip)
        adam_step(tensors.policy, gradient, scales)
        average_policy(tensors)
        return log_prob.detach(), metrics | {"actor_grad_norm": norm}
