"""``policy_every`` and ``n_step``: settings that change which updates train what, and what a batch holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from agents import SCHEMA, SMALL, flat, make_batch, same, train

from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.sac import AVERAGE, CRITICS, LOG_ALPHA, POLICY
from sac_dist.execution.choose import EXPLICIT, choose
from sac_dist.settings import Config, ConfigError, EnvConfig

EVERY_THIRD = replace(SMALL, policy_every=3)


def test_the_policy_is_trained_at_every_third_update():
    agent = SACAgent(SCHEMA, EVERY_THIRD)
    for count in range(7):
        before = [vector.clone() for vector in (agent.policy_parameters, agent.tensors.copies[AVERAGE])]
        log_alpha, critics = (
            agent.tensors.groups[LOG_ALPHA].parameters.clone(),
            agent.critic_parameters.clone(),
        )
        metrics = agent.update(make_batch(seed=count))
        trained = not torch.equal(before[0], agent.policy_parameters)
        assert trained == (count % 3 == 0) == ("actor_loss" in metrics)
        assert torch.equal(before[1], agent.tensors.copies[AVERAGE]) == (count % 3 != 0)
        assert torch.equal(log_alpha, agent.tensors.groups[LOG_ALPHA].parameters) == (count % 3 != 0)
        assert not torch.equal(critics, agent.critic_parameters)
    steps = {name: agent.tensors.steps_of(name).item() for name in (CRITICS, POLICY, LOG_ALPHA)}
    assert steps == {CRITICS: 7, POLICY: 3, LOG_ALPHA: 3}


def test_an_update_of_the_critics_alone_is_the_critics_part_of_a_whole_one():
    whole, alone = SACAgent(SCHEMA, SMALL), SACAgent(SCHEMA, EVERY_THIRD)
    alone.updates_made = 1
    train(whole, 1)
    train(alone, 1)
    assert torch.equal(whole.critic_parameters, alone.critic_parameters)
    assert torch.equal(whole.rng_state(), alone.rng_state())


def test_going_on_keeps_the_rhythm():
    whole = train(SACAgent(SCHEMA, EVERY_THIRD), 8)
    first = train(SACAgent(SCHEMA, EVERY_THIRD), 4)
    second = SACAgent(SCHEMA, EVERY_THIRD, seed=1)
    second.load_state_dict(first.state_dict())
    second.set_rng_state(first.rng_state())
    second.updates_made = 4
    for i in range(4, 8):
        second.update(make_batch(seed=100 + i))
    assert same(whole.state_dict(), second.state_dict())


def test_explicit_gradients_leave_the_policy_out_too():
    recorded, written = SACAgent(SCHEMA, EVERY_THIRD), SACAgent(SCHEMA, EVERY_THIRD)
    choice = choose(written, 32)
    choice.install(written)
    assert choice.how == EXPLICIT
    for i in range(5):
        batch = make_batch(seed=i)
        expected, found = recorded.update(batch), written.update(batch)
        assert found.keys() == expected.keys()
    for a, b in zip(flat(recorded), flat(written), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_cloning_trains_the_policy_at_each_update():
    agent = SACAgent(SCHEMA, EVERY_THIRD)
    agent.use("bc")
    train(agent, 4)
    assert agent.tensors.steps_of(POLICY).item() == 4


def test_n_step_beyond_the_horizon_is_refused():
    with pytest.raises(ConfigError, match="n_step is 6, and an episode ends after 5 steps"):
        Config(EnvConfig("Pendulum-v1", horizon=5), replace(SMALL, n_step=6))
