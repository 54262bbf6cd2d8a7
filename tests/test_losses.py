"""Every objective against values worked out by hand, and its gradients against numerical differentiation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sac_dist.algorithms import losses
from sac_dist.networks.critics import QEnsemble
from sac_dist.networks.distribution import sample_action
from sac_dist.networks.policy import GaussianPolicy


def tensor(*values: object) -> torch.Tensor:
    return torch.tensor(values[0] if len(values) == 1 else values, dtype=torch.float64)


def test_target_bootstraps_from_the_smallest_critic_less_the_entropy_term() -> None:
    value = losses.soft_value(
        next_q=tensor([[10.0, 4.0], [8.0, 6.0]]), next_log_prob=tensor(3.0, -1.0), alpha=tensor(0.5)
    )
    target = losses.td_target(tensor(1.0, 2.0), tensor(0.9, 0.9), value)
    # 1 + 0.9 (8 - 0.5·3) = 6.85; 2 + 0.9 (4 + 0.5) = 6.05
    torch.testing.assert_close(target, tensor(6.85, 6.05))


def test_termination_stops_the_bootstrap() -> None:
    target = losses.td_target(tensor(1.0, 1.0), tensor(0.0, 0.98), tensor(9.5, 9.5))
    torch.testing.assert_close(target, tensor(1.0, 1 + 0.98 * 9.5))


def test_target_carries_no_gradient() -> None:
    value = torch.ones(3, requires_grad=True)
    assert not losses.td_target(torch.zeros(3), torch.full((3,), 0.9), value).requires_grad


def test_critic_loss_halves_the_mean_square_and_sums_the_critics() -> None:
    # critic 1: ½ (1 + 9)/2 = 2.5; critic 2: ½ (4 + 0)/2 = 1
    assert losses.critic_loss(tensor([[1.0, 5.0], [2.0, 2.0]]), tensor(0.0, 2.0)).item() == 3.5


def test_actor_loss_is_alpha_log_prob_less_the_smallest_q() -> None:
    # (0.2·1 - 3, 0.2·2 - 1) → mean of -2.8 and -0.6
    loss = losses.actor_loss(tensor(1.0, 2.0), tensor([[3.0, 4.0], [5.0, 1.0]]), tensor(0.2))
    assert loss.item() == pytest.approx(-1.7)


def test_actor_loss_does_not_train_alpha() -> None:
    alpha, log_prob = tensor(0.2).requires_grad_(), tensor(1.0, 2.0).requires_grad_()
    losses.actor_loss(log_prob, tensor([[3.0, 4.0]]), alpha).backward()
    assert alpha.grad is None and log_prob.grad is not None


def test_temperature_loss_by_hand_does_not_train_the_policy() -> None:
    log_alpha, log_prob = tensor(math.log(0.3)).requires_grad_(), tensor(1.0, 4.0).requires_grad_()
    loss = losses.temperature_loss(log_alpha, log_prob, target_entropy=-2.0)
    loss.backward()
    assert loss.item() == pytest.approx(-0.3 * (2.5 - 2.0))
    assert log_prob.grad is None
    assert log_alpha.grad is not None and log_alpha.grad.item() == pytest.approx(-0.15)


@given(st.floats(-5, 5), st.floats(-10, 10), st.floats(-10, 10))
def test_temperature_moves_towards_the_target_entropy(
    log_alpha: float, entropy: float, target_entropy: float
) -> None:
    parameter = tensor(log_alpha).requires_grad_()
    losses.temperature_loss(parameter, tensor([-entropy]), target_entropy).backward()
    assert parameter.grad is not None
    # gradient descent: α falls where the entropy exceeds its target, rises where it is short of it
    assert torch.sign(parameter.grad).item() == math.copysign(1, entropy - target_entropy) * (
        entropy != target_entropy
    )


def test_rewards_are_scaled_then_shifted() -> None:
    torch.testing.assert_close(
        losses.scaled_reward(tensor(1.0, -2.0), 10.0, 0.5, standardise=False), tensor(10.5, -19.5)
    )


def test_standardised_rewards_have_mean_bias_and_deviation_scale() -> None:
    # the book: scale · (r − mean) / (std + 1e-6), with the sample's standard deviation
    reward = losses.scaled_reward(tensor(1.0, 2.0, 3.0), 10.0, 0.5, standardise=True)
    torch.testing.assert_close(reward, tensor(-9.5, 0.5, 10.5), rtol=1e-5, atol=1e-5)


@pytest.fixture
def problem() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {"observation": draw(6, 3), "action": draw(6, 2).tanh(), "noise": draw(6, 2), "target": draw(6)}


POLICY, Q = (
    GaussianPolicy.perceptron(3, 2, width=4, depth=2),
    QEnsemble.perceptron(3, 2, width=4, depth=2, critics=3),
)


def parameters(network: GaussianPolicy | QEnsemble, seed: int) -> torch.Tensor:
    return torch.randn(
        network.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).requires_grad_()


def test_critic_gradients_equal_numerical_ones(problem: dict[str, torch.Tensor]) -> None:
    def loss(vector: torch.Tensor) -> torch.Tensor:
        return losses.critic_loss(
            Q(Q.unpack(vector), problem["observation"], problem["action"]), problem["target"]
        )

    assert torch.autograd.gradcheck(loss, (parameters(Q, 0),))


def test_actor_gradients_equal_numerical_ones_and_none_reach_the_critics(
    problem: dict[str, torch.Tensor],
) -> None:
    critics = parameters(Q, 1).detach()

    def loss(vector: torch.Tensor) -> torch.Tensor:
        action, log_prob = sample_action(
            *POLICY(POLICY.unpack(vector), problem["observation"]), problem["noise"]
        )
        q = Q(Q.unpack(critics), problem["observation"], action)
        return losses.actor_loss(log_prob, q, torch.tensor(0.2, dtype=torch.float64))

    policy = parameters(POLICY, 2)
    assert torch.autograd.gradcheck(loss, (policy,))
    loss(policy).backward()
    assert critics.grad is None


def test_temperature_gradient_equals_the_numerical_one() -> None:
    log_prob = torch.linspace(-3, 5, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: losses.temperature_loss(x, log_prob, -2.0), (tensor(0.3).requires_grad_(),)
    )
