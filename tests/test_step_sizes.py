"""Step sizes that decay, AdamW, β₁."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from agents import SCHEMA, SMALL, train

from sac_dist.algorithms.adam import Scale, Trained, adam_scales, adam_step
from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.sac import LOG_ALPHA
from sac_dist.engine.phases import step_size_share
from sac_dist.settings import Config, ConfigError, DataConfig, TrainConfig


def test_a_step_with_weight_decay_and_another_beta_is_adamws():
    generator = torch.Generator().manual_seed(0)
    parameters = torch.randn(20, generator=generator)
    reference = torch.nn.Parameter(parameters.clone())
    optimizer = torch.optim.AdamW([reference], lr=1e-2, betas=(0.5, 0.999), weight_decay=0.3)
    trained, step, lr = (
        Trained(parameters, torch.zeros(20), torch.zeros(20)),
        torch.zeros(1),
        torch.tensor([1e-2]),
    )
    for _ in range(10):
        reference.grad = torch.randn(20, generator=generator)
        optimizer.step()
        step.add_(1)
        scale = Scale(adam_scales(step, lr, 0.5)[0], 0.5, 1 - 0.3 * lr[0])
        adam_step(trained, reference.grad.clone(), scale)
    torch.testing.assert_close(trained.parameters, reference.detach(), rtol=2e-6, atol=1e-7)


def test_weight_decay_is_of_the_networks_alone():
    """With step sizes of almost 0 for Adam nothing but the decay moves a weight."""
    small = replace(SMALL, actor_lr=1e-3, critic_lr=1e-3, alpha_lr=1e-3)
    with_decay, without = (train(SACAgent(SCHEMA, replace(small, weight_decay=w)), 1) for w in (0.5, 0.0))
    first = SACAgent(SCHEMA, small)
    for a, b, start in (
        (with_decay.policy_parameters, without.policy_parameters, first.policy_parameters),
        (with_decay.critic_parameters, without.critic_parameters, first.critic_parameters),
    ):
        torch.testing.assert_close(b - a, 0.5 * 1e-3 * start, rtol=1e-2, atol=1e-5)
    alphas = [agent.tensors.groups[LOG_ALPHA].parameters.item() for agent in (with_decay, without)]
    assert alphas[0] == pytest.approx(alphas[1], abs=1e-6)


@pytest.mark.parametrize("kind, middle", [("linear", 0.6), ("cosine", 0.6)])
def test_step_sizes_fall_over_the_budget(kind, middle):
    agent = replace(SMALL, lr_decay=kind, lr_end=0.2)
    config = Config(agent=agent, train=TrainConfig(steps=1000))
    shares = [step_size_share(config, clock) for clock in (0, 250, 500, 1000, 2000)]
    assert shares[0] == 1 and shares[2] == pytest.approx(middle) and shares[3:] == pytest.approx([0.2, 0.2])
    assert shares[1] == pytest.approx(0.8 if kind == "linear" else 0.2 + 0.8 * (1 + 2**-0.5) / 2)
    offline = Config(agent=agent, data=DataConfig(offline=("x",), offline_steps=100))
    assert step_size_share(offline, 100) == pytest.approx(0.2)


def test_a_decay_needs_a_budget_of_steps():
    with pytest.raises(ConfigError, match="give --steps"):
        Config(agent=replace(SMALL, lr_decay="linear"), train=TrainConfig(time=10.0))


def test_updates_take_the_share_of_the_step_sizes():
    agent = SACAgent(SCHEMA, SMALL)
    whole = agent.lrs.clone()
    agent.scale_steps(0.5, 0.1)
    assert agent.lrs.tolist() == pytest.approx((whole * torch.tensor([0.1, 0.05, 0.05])).tolist())
