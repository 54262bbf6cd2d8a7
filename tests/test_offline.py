"""The updates for learning from data: against slow computations in float64, and their promises."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sac_dist.algorithms.adam import Trained
from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.base import Tensors
from sac_dist.algorithms.cql import CQL
from sac_dist.data.batch import Batch
from sac_dist.data.schema import Schema
from sac_dist.execution.choose import EXPLICIT, choose
from sac_dist.execution.compiled import compile_obstacle, compile_update, compiled_path, load_update
from sac_dist.networks.distribution import sample_action
from sac_dist.settings import AgentConfig, CQLSettings

OBS, ACT, B = 5, 2, 7
SCHEMA = Schema.vector(OBS, ACT)
CONFIG = AgentConfig(hidden_width=12, layer_norm=False, discount=0.9)
OWN = CQLSettings(cql_samples=3, cql_weight=1.5)


def conservative(config: AgentConfig = CONFIG, seed: int = 0, **own: Any) -> SACAgent:
    """An agent that trains with CQL."""
    agent = SACAgent(SCHEMA, config, seed, {"cql": replace(OWN, **own)})
    agent.use("cql")
    return agent


def make_batch(seed: int = 0, size: int = B, returns: bool = False) -> Batch:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(size, 2 * OBS + ACT + 3)).astype(np.float32)
    rows[:, OBS : OBS + ACT] = np.tanh(rows[:, OBS : OBS + ACT])
    discount = np.float32(0.9) * (rng.random(size) >= 0.3)
    to_go = rng.normal(scale=0.05, size=size).astype(np.float32)
    return Batch.of_rows(rows, SCHEMA, discount.astype(np.float32), to_go if returns else None)


def doubles(agent: SACAgent) -> Tensors:
    """The agent's tensors in float64, the critics' output made large enough to matter."""
    tensors = agent.tensors
    agent.q.unpack(tensors.groups["critics"].parameters)["linear3.weight"].mul_(100)
    tensors.copies["targets"].copy_(tensors.groups["critics"].parameters)
    agent.policy.unpack(tensors.groups["policy"].parameters)["linear3.weight"].mul_(100)
    groups = {name: Trained(*(part.double() for part in trained)) for name, trained in tensors.groups.items()}
    copies = {name: vector.double() for name, vector in tensors.copies.items()}
    return Tensors(tensors.steps.double(), copies, groups)


def slow_q(parameters: dict[str, Any], critic: int, observation: np.ndarray, action: np.ndarray) -> float:
    """One critic at one state and action, in plain numpy."""
    x = np.concatenate([observation, action])
    for i in (1, 2, 3):
        x = x @ parameters[f"linear{i}.weight"][critic] + parameters[f"linear{i}.bias"][critic][0]
        x = np.maximum(x, 0) if i < 3 else x
    return float(x[0])


def slow_policy(parameters: dict[str, Any], observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = observation
    for i in (1, 2, 3):
        x = x @ parameters[f"linear{i}.weight"] + parameters[f"linear{i}.bias"][0]
        x = np.maximum(x, 0) if i < 3 else x
    return x[:ACT], np.exp(np.clip(x[ACT:], -20, 2))


def slow_log_prob(mean: np.ndarray, std: np.ndarray, u: np.ndarray) -> float:
    normal = np.exp(-0.5 * ((u - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
    return float(np.log(normal / (1 - np.tanh(u) ** 2)).sum())


def slow_penalty(
    agent: SACAgent,
    critics: np.ndarray,
    tensors: Tensors,
    batch: Batch,
    noise: np.ndarray,
    calibrated: bool = False,
) -> float:
    """Σ_e E_s[log Σ_a exp(Q_e(s, a)) / p(a) − Q_e(s, a_data)], one state, critic and action at a time."""
    q_parameters = {name: value.numpy() for name, value in agent.q.unpack(torch.from_numpy(critics)).items()}
    policy = {
        name: value.numpy()
        for name, value in agent.policy.unpack(tensors.groups["policy"].parameters).items()
    }
    n, total = OWN.cql_samples, 0.0
    fields = [field.double().numpy() for field in batch if field is not None]
    observation, action, _, following = fields[:4]
    for e in range(agent.config.critics):
        for s in range(B):
            terms = []
            for k in range(n):
                uniform = np.array([math.erf(z / math.sqrt(2)) for z in noise[2 + k, s]])
                terms.append(math.exp(slow_q(q_parameters, e, observation[s], uniform)) / 0.5**ACT)
            for offset, state in ((n, observation[s]), (2 * n, following[s])):
                mean, std = slow_policy(policy, state)
                for k in range(n):
                    u = mean + std * noise[2 + offset + k, s]
                    q = slow_q(q_parameters, e, observation[s], np.tanh(u))
                    q = max(q, fields[5][s]) if calibrated else q
                    terms.append(math.exp(q - slow_log_prob(mean, std, u)))
            total += (math.log(sum(terms)) - slow_q(q_parameters, e, observation[s], action[s])) / B
    return total


@pytest.mark.parametrize("calibrated", [False, True])
def test_penalty_and_its_gradient_equal_a_slow_computation(calibrated: bool) -> None:
    agent = conservative(seed=1, cal_ql=calibrated)
    tensors, update, sac = doubles(agent), agent.algorithm, SACAgent(SCHEMA, CONFIG).algorithm
    batch = Batch(*(None if field is None else field.double() for field in make_batch(returns=calibrated)))  # type: ignore[arg-type]
    noise = agent.noise(B).double()
    alpha = tensors.groups["log_alpha"].parameters.exp()
    parameters = tensors.groups["critics"].parameters

    def penalty(critics: torch.Tensor) -> torch.Tensor:
        whole, _ = update.critic_objective(critics, tensors, batch, noise, alpha)
        td_error, _ = sac.critic_objective(critics, tensors, batch, noise, alpha)
        return whole - td_error

    expected = slow_penalty(agent, parameters.numpy(), tensors, batch, noise.numpy(), calibrated)
    assert penalty(parameters).item() == pytest.approx(OWN.cql_weight * expected, rel=1e-9)
    if calibrated:
        assert (
            expected > slow_penalty(agent, parameters.numpy(), tensors, batch, noise.numpy()) + 1e-3
        )  # the bound was met

    critics = parameters.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalty(critics), [critics])
    for index in np.random.default_rng(0).choice(len(parameters), 25, replace=False):
        ends = []
        for step in (1e-6, -1e-6):
            moved = parameters.numpy().copy()
            moved[index] += step
            ends.append(slow_penalty(agent, moved, tensors, batch, noise.numpy(), calibrated))
        assert gradient[index].item() == pytest.approx(OWN.cql_weight * (ends[0] - ends[1]) / 2e-6, abs=2e-6)


def test_weight_0_is_sac_bit_for_bit() -> None:
    sac, cql = SACAgent(SCHEMA, CONFIG, seed=3), conservative(seed=3, cql_weight=0.0)
    assert choose(cql, B).how == EXPLICIT
    for seed in range(30):
        first, second = sac.update(make_batch(seed)), cql.update(make_batch(seed))
        assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(value, cql.state_dict()[name]) for name, value in sac.state_dict().items())
    assert torch.equal(sac.rng_state(), cql.rng_state())
    cql.algorithms["cql"] = replace(OWN, cql_weight=1e-3)
    cql.use("cql")
    cql.set_rng_state(sac.rng_state())
    assert not torch.equal(
        sac.update(make_batch())["critic_grad_norm"], cql.update(make_batch())["critic_grad_norm"]
    )


def test_uniform_actions_are_uniform_and_have_their_density() -> None:
    agent = conservative(cql_samples=50)
    assert isinstance(agent.algorithm, CQL)
    batch = make_batch(size=200)
    mean, log_std = agent.policy(agent.policy.unpack(agent.policy_parameters), batch.next_observation)
    actions, density = agent.algorithm.sampled_actions(
        agent.tensors, batch, agent.noise(200)[2:], mean, log_std
    )
    assert actions.shape == (150, 200, ACT) and density.shape == (150, 200) and actions.abs().max() <= 1
    quantiles = torch.quantile(actions[:50].flatten(), torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9]))
    torch.testing.assert_close(quantiles, torch.tensor([-0.8, -0.5, 0.0, 0.5, 0.8]), atol=0.03, rtol=0)
    assert torch.equal(density[:50], torch.full((50, 200), -ACT * math.log(2)))


def test_cql_pushes_down_what_the_data_does_not_do() -> None:
    agent = conservative(replace(CONFIG, critic_lr=3e-3))
    batch = make_batch(size=64)
    elsewhere = -batch.action
    q = agent.q.unpack(agent.critic_parameters)
    first = agent.update(batch)["cql_penalty"]
    for _ in range(400):
        last = agent.update(batch)["cql_penalty"]
    assert last < first - 1
    assert (agent.q(q, batch.observation, batch.action) - agent.q(q, batch.observation, elsewhere)).mean() > 1


@pytest.mark.parametrize(("threshold", "rises"), [(-50.0, True), (50.0, False)])
def test_lagrange_weight_follows_the_threshold(threshold: float, rises: bool) -> None:
    agent = conservative(cql_lagrange=threshold)
    weights = [agent.update(make_batch())["cql_weight"].item() for _ in range(20)]
    assert weights[0] == pytest.approx(OWN.cql_weight)
    assert (weights[-1] > weights[0] * 1.005) if rises else (weights[-1] < weights[0] * 0.995)
    other = conservative(seed=9, cql_lagrange=threshold)
    other.load_state_dict(agent.state_dict())
    assert other.tensors.groups["log_weight"].parameters == agent.tensors.groups["log_weight"].parameters


def test_cloning_learns_the_data_and_leaves_the_critics() -> None:
    agent = SACAgent(SCHEMA, replace(CONFIG, hidden_width=64, actor_lr=3e-3, target_entropy=-6.0))
    batch = make_batch(size=32)
    critics, targets = agent.critic_parameters.clone(), agent.tensors.copies["targets"].clone()
    agent.use("bc")
    likelihood = []
    for _ in range(1500):
        metrics = agent.update(batch)
        likelihood.append(metrics["data_log_prob"].item())
    assert torch.equal(agent.critic_parameters, critics) and torch.equal(
        agent.tensors.copies["targets"], targets
    )
    assert agent.tensors.steps.tolist() == [0, 1500, 1500]
    error = np.abs(
        [
            agent.act(o.numpy(), deterministic=True) - a.numpy()
            for o, a in zip(batch.observation, batch.action, strict=True)
        ]
    )
    assert error.mean() < 0.3  # 0.52 before
    assert (
        "critic_loss" not in metrics and np.median(likelihood[-100:]) > 0
    )  # with steps so large, single updates fall far back
    agent.use("sac")  # Adam's first step of the critics is a first step
    agent.update(batch)
    moved = (agent.critic_parameters - critics).abs().max().item()
    assert moved == pytest.approx(CONFIG.critic_lr, rel=1e-3)


def test_deterministic_backup_leaves_the_entropy_out() -> None:
    soft, hard = (
        SACAgent(SCHEMA, replace(CONFIG, entropy_backup=flag, initial_alpha=0.7)) for flag in (True, False)
    )
    batch, noise = make_batch(), soft.noise(B)
    alpha = torch.tensor(0.7)
    difference = (
        hard.algorithm.target(hard.tensors, batch, noise, alpha)[0]
        - soft.algorithm.target(soft.tensors, batch, noise, alpha)[0]
    ) / 0.7
    mean, log_std = soft.policy(soft.policy.unpack(soft.policy_parameters), batch.next_observation)
    _, log_prob = sample_action(mean, log_std, noise[1])
    torch.testing.assert_close(difference, batch.discount * log_prob, rtol=1e-4, atol=1e-5)


def test_target_of_a_random_subset_and_policy_of_the_mean() -> None:
    agent = SACAgent(SCHEMA, replace(CONFIG, critics=5, target_critics=2), seed=2)
    tensors, batch = doubles(agent), make_batch()
    batch = Batch(*(None if field is None else field.double() for field in batch))  # type: ignore[arg-type]
    alpha, seen = torch.tensor(0.0, dtype=torch.float64), set()
    for _ in range(60):
        noise = agent.noise(B).double()
        target, mean, log_std = agent.algorithm.target(tensors, batch, noise, alpha)
        action = (mean + log_std.exp() * noise[1]).tanh()
        q = agent.q(agent.q.unpack(tensors.copies["targets"]), batch.next_observation, action)
        values = batch.reward + batch.discount * q
        pairs = [
            (i, j)
            for i in range(5)
            for j in range(i)
            if torch.allclose(target, torch.minimum(values[i], values[j]))
        ]
        assert pairs and len(pairs) < 10
        seen.add(tuple(pairs))
    assert len(seen) >= 4  # pairs whose smaller critic is the same one cannot be told apart
    loss, _ = agent.algorithm.policy_objective(
        tensors.groups["policy"].parameters, tensors, batch, noise[0], alpha
    )
    mean, log_std = agent.policy(agent.policy.unpack(tensors.groups["policy"].parameters), batch.observation)
    q = agent.q(
        agent.q.unpack(tensors.groups["critics"].parameters),
        batch.observation,
        (mean + log_std.exp() * noise[0]).tanh(),
    )
    torch.testing.assert_close(loss, -q.mean())


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_compiled_cql_equals_eager(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every option that changes the code."""
    config = replace(
        CONFIG,
        layer_norm=True,
        critics=4,
        target_critics=2,
        entropy_backup=False,
    )
    obstacle = compile_obstacle()
    if obstacle is not None:
        pytest.skip(obstacle)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    eager, compiled = (conservative(config, cql_lagrange=2.0, cal_ql=True) for _ in range(2))
    compile_update(compiled, 32)
    compiled.use("cql", load_update(compiled_path(compiled, 32)))
    compiled.set_rng_state(eager.rng_state())
    for seed in range(4):
        batch = make_batch(seed, 32, returns=True)
        expected, metrics = eager.update(batch), compiled.update(batch)
        assert expected.keys() == metrics.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                metrics[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
            )
    for name, value in eager.state_dict().items():
        torch.testing.assert_close(
            compiled.state_dict()[name],
            value,
            rtol=1e-3,
            atol=5e-5,
            msg=lambda text, name=name: f"{name}: {text}",
        )
