"""SACAgent: acting, its state, and its memory shared with real processes."""

from __future__ import annotations

import copy
import math
import multiprocessing
import pickle
import sys
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np
import pytest
import torch
from agents import ACT, OBS, SCHEMA, SMALL, flat, same, train

from sac_dist.algorithms.agent import SACAgent
from sac_dist.settings import ConfigError

# acting


def test_act_is_the_policy() -> None:
    agent = train(SACAgent(SCHEMA, SMALL), 5)
    agent.policy_parameters.mul_(3)
    observation = np.random.default_rng(0).normal(size=OBS)

    def gaussian(parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return agent.policy(
            agent.policy.unpack(parameters), torch.tensor(observation, dtype=torch.float32)[None]
        )

    action = agent.act(observation, deterministic=True)
    assert action.dtype == np.float32 and action.shape == (ACT,)
    np.testing.assert_allclose(
        action, gaussian(agent.tensors.copies["average"])[0].tanh()[0].numpy(), rtol=1e-5, atol=1e-6
    )
    mean, log_std = gaussian(agent.policy_parameters)
    generator = torch.Generator()
    generator.set_state(agent.rng_state())
    noise = torch.randn(ACT, generator=generator)
    np.testing.assert_allclose(
        agent.act(observation), (mean + log_std.exp() * noise).tanh()[0].numpy(), rtol=1e-5, atol=1e-6
    )


def test_act_clamps_log_std_as_the_policy_does() -> None:
    agent = SACAgent(SCHEMA, SMALL)
    agent.policy.unpack(agent.policy_parameters)[f"linear{SMALL.hidden_depth + 1}.bias"].copy_(
        torch.tensor([[0.0] * ACT + [-500.0, 500.0, 0.0]])
    )
    agent.policy_parameters[: -2 * ACT].zero_()
    u = np.arctanh(
        np.array([agent.act(np.zeros(OBS)) for _ in range(200)], dtype=np.float64).clip(-1 + 1e-7, 1 - 1e-7)
    )
    assert u[:, 0].std() < 1e-6
    assert np.median(np.abs(u[:, 1])) == pytest.approx(0.6745 * math.e**2, rel=0.25)


def test_acting_continues_from_a_saved_generator() -> None:
    agent = SACAgent(SCHEMA, SMALL)
    agent.act(np.zeros(OBS))
    state = agent.rng_state()
    first = [agent.act(np.zeros(OBS)) for _ in range(3)]
    agent.set_rng_state(state)
    np.testing.assert_array_equal(first, [agent.act(np.zeros(OBS)) for _ in range(3)])
    agent.reseed(5)
    reseeded = agent.act(np.zeros(OBS))
    agent.reseed(5)
    np.testing.assert_array_equal(reseeded, agent.act(np.zeros(OBS)))


@pytest.mark.parametrize("state", [torch.zeros(3, dtype=torch.uint8), torch.zeros(3), "no state"])
def test_bad_generator_state_is_refused(state: Any) -> None:
    with pytest.raises(ConfigError, match="generator"):
        SACAgent(SCHEMA, SMALL).set_rng_state(state)


# state


def test_state_dict_round_trip_continues_bit_for_bit() -> None:
    agent = train(SACAgent(SCHEMA, SMALL), 3)
    other = SACAgent(SCHEMA, SMALL, seed=99)
    other.load_state_dict(agent.state_dict())
    other.set_rng_state(agent.rng_state())
    assert same(train(agent, 3).state_dict(), train(other, 3).state_dict())


def test_state_dict_holds_every_number() -> None:
    agent = SACAgent(SCHEMA, SMALL)
    agent.memory.copy_(torch.arange(agent.memory.numel()))
    numbers = {number for tensor in agent.state_dict().values() for number in tensor.flatten().tolist()}
    networks = 4 * len(agent.critic_parameters) + 4 * len(agent.policy_parameters)
    assert len(numbers) == networks + 3 + 3  # log_alpha with its moments, three steps


def test_a_state_without_an_average_has_the_policy_for_it() -> None:
    agent = train(SACAgent(SCHEMA, SMALL), 3)
    state = {name: tensor for name, tensor in agent.state_dict().items() if not name.startswith("average")}
    other = SACAgent(SCHEMA, SMALL, seed=99)
    other.load_state_dict(state)
    assert torch.equal(other.tensors.copies["average"], agent.policy_parameters)
    assert not torch.equal(other.tensors.copies["average"], agent.tensors.copies["average"])


def test_state_dict_is_a_copy() -> None:
    agent = SACAgent(SCHEMA, SMALL)
    state = agent.state_dict()
    before = copy.deepcopy(state)
    train(agent, 1)
    assert same(state, before)


def test_loading_keeps_the_tensors_and_their_sharing() -> None:
    agent = SACAgent(SCHEMA, SMALL)
    agent.share_memory()
    addresses = [tensor.data_ptr() for tensor in flat(agent)]
    agent.load_state_dict(train(SACAgent(SCHEMA, SMALL, seed=3), 2).state_dict())
    assert addresses == [tensor.data_ptr() for tensor in flat(agent)]
    assert agent._shared is not None and agent._shared.array[0] == agent.tensors.copies["targets"][0]
    assert agent.tensors.steps.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("policy.linear1.bias", None, "missing tensor policy.linear1.bias"),
        ("surplus", torch.zeros(3), "unknown tensor surplus"),
        (
            "critics.exp_avg.linear2.weight",
            torch.zeros(2, 16, 15),
            r"critics.exp_avg.linear2.weight has shape \(2, 16, 15\) where \(2, 16, 16\)",
        ),
        ("log_alpha", torch.zeros(1), r"log_alpha has shape \(1,\) where \(\)"),
        ("policy.step", 3, "policy.step is int"),
        ("policy.step", torch.tensor(3), "policy.step is torch.int64"),
        ("targets.linear1.bias", torch.full((2, 1, 16), math.nan), "targets.linear1.bias holds NaN"),
    ],
)
def test_hostile_state_is_refused_and_changes_nothing(name: str, value: Any, message: str) -> None:
    agent = SACAgent(SCHEMA, SMALL)
    before = agent.state_dict()
    state: dict[str, Any] = train(SACAgent(SCHEMA, SMALL, seed=3), 1).state_dict()
    if value is None:
        del state[name]
    else:
        state[name] = value
    with pytest.raises(ConfigError, match=message) as error:
        agent.load_state_dict(state)
    assert "\n" not in str(error.value)
    assert same(agent.state_dict(), before)


def test_share_memory_changes_no_number_and_may_be_repeated() -> None:
    agent = train(SACAgent(SCHEMA, SMALL), 2)
    before = agent.state_dict()
    agent.share_memory()
    address = agent.tensors.copies["targets"].data_ptr()
    agent.share_memory()
    assert same(agent.state_dict(), before) and agent.tensors.copies["targets"].data_ptr() == address


def test_a_pickled_agent_that_is_not_shared_is_independent() -> None:
    agent = train(SACAgent(SCHEMA, SMALL), 2)
    twin = pickle.loads(pickle.dumps(agent))
    assert same(train(twin, 2).state_dict(), train(pickle.loads(pickle.dumps(agent)), 2).state_dict())
    assert agent.tensors.steps.tolist() == [2, 2, 2]


def work(agent: SACAgent, done: Event, go_on: Event) -> None:
    train(agent, 3)
    done.set()
    if not go_on.wait(30):
        sys.exit(3)
    sys.exit(
        0
        if agent.tensors.steps.tolist() == [4, 4, 4] and bool((agent.tensors.copies["targets"] == 7).all())
        else 4
    )


@pytest.mark.parametrize("method", [pytest.param("spawn", marks=pytest.mark.slow), "forkserver"])
@pytest.mark.timeout(90)
def test_an_update_in_another_process_is_seen_here_and_the_other_way_round(method: str) -> None:
    agent = SACAgent(SCHEMA, SMALL)
    agent.share_memory()
    before = agent.state_dict()
    context: Any = multiprocessing.get_context(method)
    done, go_on = context.Event(), context.Event()
    process = context.Process(target=work, args=(agent, done, go_on), daemon=True)
    process.start()
    try:
        assert done.wait(60)
        after = agent.state_dict()
        for name in (
            "policy.linear1.weight",
            "critics.exp_avg.linear2.bias",
            "policy.exp_avg_sq.linear3.weight",
            "targets.linear1.weight",
            "log_alpha",
        ):
            assert not torch.equal(before[name], after[name]), name
        assert agent.tensors.steps.tolist() == [3, 3, 3]
        np.testing.assert_array_equal(
            agent.act(np.ones(OBS), deterministic=True),
            pickle_free_copy(agent).act(np.ones(OBS), deterministic=True),
        )
        train(agent, 1)
        agent.tensors.copies["targets"].fill_(7)
        go_on.set()
        process.join(30)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join(10)


def pickle_free_copy(agent: SACAgent) -> SACAgent:
    """An agent of the same numbers in memory of its own."""
    twin = SACAgent(SCHEMA, agent.config)
    twin.load_state_dict(agent.state_dict())
    return twin


# compiling
