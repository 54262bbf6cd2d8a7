"""The policy's density, the Q ensemble and the layout of their parameters."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from sac_dist.networks.critics import QEnsemble
from sac_dist.networks.distribution import LOG_STD_MAX, LOG_STD_MIN, sample_action
from sac_dist.networks.network import Network
from sac_dist.networks.policy import GaussianPolicy

POLICY = GaussianPolicy.perceptron(observation_size=5, action_size=3, width=8, depth=2)
Q = QEnsemble.perceptron(observation_size=5, action_size=3, width=8, depth=2, critics=4)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_parameters(network: Network) -> torch.Tensor:
    return draw(network.size)


def test_log_prob_agrees_with_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_std, noise = (
        0.7 * torch.randn(64, 3, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    action, log_prob = sample_action(mean, log_std, noise)
    reference = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform()])
    torch.testing.assert_close(log_prob, reference.log_prob(action).sum(-1), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(action, torch.tanh(mean + log_std.exp() * noise))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.5, 0.3), (-0.7, 2.0)])
def test_density_over_actions_integrates_to_one(mean: float, std: float) -> None:
    u = torch.linspace(mean - 9 * std, mean + 9 * std, 200_001, dtype=torch.float64)[:, None]
    means = torch.full_like(u, mean)
    action, log_prob = sample_action(means, torch.full_like(u, math.log(std)), (u - mean) / std)
    assert torch.trapezoid(log_prob.exp(), action[:, 0]).item() == pytest.approx(1.0, abs=1e-5)


@given(st.floats(-60, 60), st.floats(LOG_STD_MIN, LOG_STD_MAX), st.floats(-6, 6))
def test_log_prob_and_its_gradient_are_finite_far_in_the_tails(
    mean: float, log_std: float, noise: float
) -> None:
    inputs = [torch.tensor([[value]], requires_grad=True) for value in (mean, log_std)]
    action, log_prob = sample_action(inputs[0], inputs[1], torch.tensor([[noise]]))
    gradients = torch.autograd.grad(log_prob.sum(), inputs)
    assert -1 <= action.item() <= 1
    assert all(torch.isfinite(value).all() for value in (log_prob, *gradients))


def test_policy_is_the_perceptron_it_says() -> None:
    vector = random_parameters(POLICY)
    p = POLICY.unpack(vector)
    observation = draw(50, 5, seed=1)
    x = torch.relu(observation @ p["linear1.weight"] + p["linear1.bias"])
    x = torch.relu(x @ p["linear2.weight"] + p["linear2.bias"])
    output = x @ p["linear3.weight"] + p["linear3.bias"]
    mean, log_std = POLICY(p, observation)
    torch.testing.assert_close(mean, output[:, :3])
    torch.testing.assert_close(log_std, output[:, 3:].clamp(-20, 2))
    assert log_std.max() == 2 and (output[:, 3:] > 2).any()  # the clamp had something to do


def test_each_critic_is_a_network_of_its_own() -> None:
    p = Q.unpack(random_parameters(Q))
    observation, action = draw(7, 5, seed=1), draw(7, 3, seed=2).tanh()
    values = Q(p, observation, action)
    assert values.shape == (4, 7)
    for e in range(4):
        x = torch.cat([observation, action], 1)
        for layer in ("linear1", "linear2"):
            x = torch.relu(x @ p[f"{layer}.weight"][e] + p[f"{layer}.bias"][e])
        torch.testing.assert_close(values[e], (x @ p["linear3.weight"][e] + p["linear3.bias"][e])[:, 0])


@pytest.mark.parametrize(
    "network", [POLICY, Q, GaussianPolicy.perceptron(1, 1, 1, 1), QEnsemble.perceptron(2, 1, 3, 3, 2)]
)
def test_unpack_covers_the_vector_with_views(network: Network) -> None:
    vector = torch.arange(float(network.size))
    parameters = network.unpack(vector)
    assert torch.equal(torch.cat([parameter.flatten() for parameter in parameters.values()]), vector)
    parameters["linear1.weight"].zero_()
    assert vector[: network.sizes[0]].abs().sum() == 0


def test_initial_values_lie_within_their_bounds_and_fill_them() -> None:
    network = QEnsemble.perceptron(observation_size=50, action_size=14, width=100, depth=2, critics=2)
    vector = torch.zeros(network.size)
    network.initialise(vector, torch.Generator().manual_seed(0))
    bounds = {"linear1": 1 / math.sqrt(64), "linear2": 1 / math.sqrt(100), "linear3": 3e-3}
    for name, parameter in network.unpack(vector).items():
        bound = bounds[name.split(".")[0]]
        assert parameter.abs().max() <= bound
        if parameter.numel() > 50:
            assert parameter.max() > 0.9 * bound and parameter.min() < -0.9 * bound
    assert not torch.equal(
        network.unpack(vector)["linear1.weight"][0], network.unpack(vector)["linear1.weight"][1]
    )
