"""The objectives of the algorithms as pure functions: no parameters, no random numbers, nothing changed in
place.

Equation numbers are those of Haarnoja et al., Soft Actor-Critic Algorithms and Applications,
arXiv:1812.05905, unless said otherwise.
Shapes: B transitions, E critics. Every function works in the dtype it is given.
"""

from __future__ import annotations

from torch import Tensor

# Of the Gaussian in a cloning loss, as in IQL's code: without, the likelihood of data that always does the
# same grows without end.
LEAST_LOG_STD = -5.0
LEAST_SIZE = 1e-6  # of Q in ``normalised_q``


def scaled_reward(reward: Tensor, scale: float, bias: float, standardise: bool) -> Tensor:
    """The reward (B,) that SAC learns from: scale · reward + bias.

    ``standardise`` first maps the batch to mean 0 and standard deviation 1, as the book does. Off by default
    in AgentConfig: it changes the task from batch to batch.
    """
    if standardise:
        reward = (reward - reward.mean()) / (reward.std() + 1e-6)
    return reward if (scale, bias) == (1, 0) else scale * reward + bias


def soft_value(next_q: Tensor, next_log_prob: Tensor, alpha: Tensor | float) -> Tensor:
    """V(s′) = min_e Q_e(s′, a′) − α log π(a′|s′), equation 3, at actions a′ of the policy: (E, B), (B,) →
    (B,).

    The minimum over the critics is section 4.2's answer to overestimation. ``alpha`` 0 leaves the entropy
    out: the deterministic backup that CQL's authors use too.
    """
    return next_q.min(dim=0).values - alpha * next_log_prob


def td_target(reward: Tensor, discount: Tensor, next_value: Tensor) -> Tensor:
    """The Bellman target y = r + discount V(s′), equations 2 and 5: (B,).

    No gradient passes. ``discount`` (B,) is the Batch's: γ, γⁿ, or 0 after a terminated step. A time limit is
    no termination: the value goes on there.
    """
    return reward.addcmul(discount, next_value).detach()


def critic_loss(q: Tensor, target: Tensor) -> Tensor:
    """J_Q = E[½ (Q(s, a) − y)²], equation 5, summed over the critics: ``q`` (E, B), ``target`` (B,) → ()."""
    return 0.5 * (q - target).square().mean(dim=1).sum()


def actor_loss(log_prob: Tensor, q: Tensor, alpha: Tensor) -> Tensor:
    """J_π = E[α log π(a|s) − min_e Q_e(s, a)] at a reparametrised action, equation 9: (B,), (E, B), () → ().

    α is a constant here: its own objective is ``temperature_loss``.
    """
    return (alpha.detach() * log_prob - q.min(dim=0).values).mean()


def temperature_loss(log_alpha: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """J(α) = E[−α (log π(a|s) + H̄)], equation 18, with α = exp(log_alpha): (), (B,) → ().

    log π is a constant here. α rises while the entropy −E[log π] is below the target H̄ (nats), and falls
    above it.
    """
    return -(log_alpha.exp() * (log_prob.detach() + target_entropy)).mean()


def cql_penalty(sampled_q: Tensor, log_density: Tensor, data_q: Tensor, temperature: float) -> Tensor:
    """CQL(H)'s gap T log Σ_a exp((Q_e(s, a) − log p(a)) / T) − Q_e(s, a_data), averaged over the states:
    (E,).

    Kumar et al., Conservative Q-Learning, arXiv:2006.04779, equation 4, with the log-sum-exp estimated by
    importance sampling as in appendix F. ``sampled_q`` (E, N, B) at N actions per state, ``log_density`` (N,
    B) of what each was drawn from (a constant; no gradient passes), ``data_q`` (E, B) at the data's actions.
    As in the authors' code the sum is not divided by N.
    """
    return (temperature * ((sampled_q - log_density.detach()) / temperature).logsumexp(dim=1) - data_q).mean(
        dim=1
    )


def lagrange_loss(log_weight: Tensor, penalty: Tensor, threshold: float) -> Tensor:
    """What the penalty's weight exp(log_weight) minimises: −E_e[weight (penalty_e − τ)], arXiv:2006.04779,
    equation 30: ().

    ``penalty`` (E,) is a constant here. The weight rises while the penalty is above the threshold τ, and
    falls below it.
    """
    return -(log_weight.exp() * (penalty.detach() - threshold)).mean()


def cloning_loss(log_prob: Tensor, data_log_prob: Tensor, alpha: Tensor) -> Tensor:
    """E[α log π(a|s) − log π(a_data|s)]: (B,), (B,), () → (). Maximum likelihood with SAC's entropy term, as
    CQL's authors warm up.
    """
    return (alpha.detach() * log_prob - data_log_prob).mean()


def weighted_cloning_loss(data_log_prob: Tensor, weight: Tensor) -> Tensor:
    """−E[w log π(a_data|s)], arXiv:2110.06169, equation 7; arXiv:2006.09359, equation 13: (B,), (B,) → ().

    The weights, exp(advantage) of some kind, are constants here.
    """
    return -(weight.detach() * data_log_prob).mean()


def softmax_weight(advantage: Tensor, temperature: float) -> Tensor:
    """exp(A / λ), divided by its mean over the batch: (B,) → (B,)."""
    return (advantage / temperature).softmax(dim=0) * len(advantage)


def expectile_loss(advantage: Tensor, expectile: float) -> Tensor:
    """E[|τ − 1(A < 0)| A²] of A = Q(s, a) − V(s), arXiv:2110.06169, equation 5: (B,) → ()."""
    return ((expectile - (advantage < 0).to(advantage.dtype)).abs() * advantage.square()).mean()


def normalised_q(q: Tensor) -> Tensor:
    """Q / E|Q|, by TD3+BC's λ, arXiv:2106.06860, equation 5: (B,) → (B,). The divisor is a constant."""
    return q / q.detach().abs().mean().clamp(min=LEAST_SIZE)
