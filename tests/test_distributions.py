"""The losses of critics that predict distributions, each against a slow computation on few numbers."""

from __future__ import annotations

import math

import pytest
import torch

from sac_dist.algorithms.distributions import (
    cross_entropy,
    of_least_mean,
    projected,
    quantile_huber_loss,
    truncated,
)

GENERATOR = torch.Generator().manual_seed(0)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def test_projection_shares_each_value_between_two_bins():
    probabilities, values = draw(6, 5).softmax(-1), 3 * draw(6, 5)
    values[0, 0], values[1] = 1.0, torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])  # on the bins
    found, support = projected(probabilities, values, 2.0), [-2.0, -1.0, 0.0, 1.0, 2.0]
    for row in range(6):
        expected = [0.0] * 5
        for p, v in zip(probabilities[row].tolist(), values[row].tolist(), strict=True):
            v = min(max(v, -2.0), 2.0)
            for index, bin in enumerate(support):
                expected[index] += p * max(1 - abs(v - bin), 0.0)
        assert found[row].tolist() == pytest.approx(expected)
    assert found[1].tolist() == pytest.approx(probabilities[1].tolist())
    inside = values.abs().max(dim=1).values <= 2
    mean = (found * torch.tensor(support, dtype=torch.float64)).sum(1)
    torch.testing.assert_close(mean[inside], (probabilities * values).sum(1)[inside])


def test_cross_entropy_is_of_each_critic():
    logits, target = draw(2, 3, 4), draw(3, 4).softmax(-1)
    expected = 0.0
    for critic in range(2):
        for row in range(3):
            total = sum(math.exp(x) for x in logits[critic, row].tolist())
            for p, x in zip(target[row].tolist(), logits[critic, row].tolist(), strict=True):
                expected -= p * (x - math.log(total)) / 3
    assert cross_entropy(logits, target).item() == pytest.approx(expected)


def test_the_distribution_of_the_critic_with_the_least_mean():
    outputs, values = draw(3, 4, 5), draw(3, 4)
    found = of_least_mean(outputs, values)
    for row in range(4):
        critic = min(range(3), key=lambda critic: values[critic, row].item())
        assert found[row].tolist() == outputs[critic, row].tolist()


def test_the_highest_quantiles_of_all_critics_are_left_out():
    quantiles = draw(2, 3, 4)
    found = truncated(quantiles, dropped=1)
    for row in range(3):
        assert found[row].tolist() == sorted(quantiles[:, row].flatten().tolist())[:6]


def test_quantile_huber_loss():
    quantiles, target = 2 * draw(2, 3, 4), 2 * draw(3, 5)
    expected = 0.0
    for critic in range(2):
        for row in range(3):
            for m in range(4):
                for y in target[row].tolist():
                    u = y - quantiles[critic, row, m].item()
                    huber = 0.5 * u * u if abs(u) <= 1 else abs(u) - 0.5
                    expected += abs((m + 0.5) / 4 - (u < 0)) * huber / (3 * 4 * 5)
    assert quantile_huber_loss(quantiles, target).item() == pytest.approx(expected)


def test_quantiles_come_to_those_of_the_target():
    quantiles = torch.zeros(1, 1, 5, dtype=torch.float64, requires_grad=True)
    target = torch.linspace(0, 100, 1001, dtype=torch.float64)[None]
    optimizer = torch.optim.Adam([quantiles], lr=1.0)
    for _ in range(600):
        optimizer.zero_grad()
        quantile_huber_loss(quantiles, target).backward()
        optimizer.step()
    assert quantiles.flatten().tolist() == pytest.approx([10, 30, 50, 70, 90], abs=1.5)
