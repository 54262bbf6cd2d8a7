"""SACAgent: one update against a plain implementation, compiled and eager, and that it learns."""

from __future__ import annotations

import math
import pickle
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from agents import ACT, SCHEMA, SMALL, flat, make_batch, same, train
from torch import Tensor

from sac_dist.algorithms.adam import Scale, Trained, adam_scales, adam_step, clip_by_norm
from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.sac import AVERAGING, SAC
from sac_dist.data.batch import Batch
from sac_dist.data.moments import Moments
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.schema import Schema
from sac_dist.execution.choose import COMPILED, EXPLICIT, RECORDED, choose
from sac_dist.execution.compiled import compile_obstacle, compile_update
from sac_dist.networks.distribution import sample_action
from sac_dist.settings import AgentConfig

# the update


def test_a_write_that_another_process_undid_cannot_make_a_long_step() -> None:
    """Hogwild: v is overwritten with what the other read before, 0, while m stays. Without the bound the step
    is 1e5 and more.
    """
    trained = Trained(torch.zeros(3), torch.zeros(3), torch.zeros(3))
    for step in range(1, 4):
        adam_step(
            trained,
            torch.tensor([1.0, 1e-3, 1e3]),
            Scale(adam_scales(torch.tensor([float(step)]), torch.tensor([1e-2]))[0]),
        )
        trained.exp_avg_sq.zero_()
    adam_step(trained, torch.zeros(3), Scale(adam_scales(torch.tensor([4.0]), torch.tensor([1e-2]))[0]))
    assert (trained.parameters.abs() < 0.1).all() and (trained.parameters < 0).all()


@pytest.mark.parametrize("clip", [None, 0.5])
def test_adam_step_equals_torch_adam(clip: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = torch.randn(50, generator=generator)
    reference = torch.nn.Parameter(parameters.clone())
    optimizer = torch.optim.Adam([reference], lr=1e-2)
    trained, step = Trained(parameters, torch.zeros(50), torch.zeros(50)), torch.zeros(1)
    for i in range(20):
        gradient = torch.randn(50, generator=generator) * 10.0 ** (i % 4 - 3)
        reference.grad = gradient.clone()
        norm = torch.linalg.vector_norm(gradient)
        if clip is not None:
            norm = torch.nn.utils.clip_grad_norm_([reference], clip)
        optimizer.step()
        step.add_(1)
        clipped, own_norm = clip_by_norm(gradient, clip)
        adam_step(trained, clipped, Scale(adam_scales(step, torch.tensor([1e-2]))[0]))
        torch.testing.assert_close(own_norm, norm)
        torch.testing.assert_close(trained.parameters, reference.detach(), rtol=2e-6, atol=1e-7)
    state = optimizer.state[reference]
    torch.testing.assert_close(trained.exp_avg, state["exp_avg"])
    torch.testing.assert_close(trained.exp_avg_sq, state["exp_avg_sq"])


def test_adam_scales_are_exact_from_the_first_step_to_the_last() -> None:
    steps = torch.tensor([1.0, 2.0, 1000.0, 2.0**24])
    corrections = [(1 - 0.9**t, math.sqrt(1 - 0.999**t)) for t in steps.tolist()]
    exact = torch.tensor([(0.01 * root / first, 1e-8 * root) for first, root in corrections])
    torch.testing.assert_close(adam_scales(steps, torch.full((4,), 0.01)), exact, rtol=1e-6, atol=0)


def reference_update(agent: SACAgent, batch: Batch, noise: Tensor) -> dict[str, Tensor]:
    """SAC as in the textbooks, with torch.optim, on copies of the agent's parameters; returns them after one
    update.
    """
    config = agent.config
    named = agent.state_dict()

    def leaves(prefix: str) -> dict[str, Tensor]:
        keys = [key for key in named if key.startswith(f"{prefix}.linear")]
        return {key.removeprefix(f"{prefix}."): named[key].clone().requires_grad_() for key in keys}

    policy, critics, targets = leaves("policy"), leaves("critics"), leaves("targets")
    log_alpha = named["log_alpha"].clone().requires_grad_()
    alpha = log_alpha.exp().detach()

    def critic(parameters: dict[str, Tensor], e: int, observation: Tensor, action: Tensor) -> Tensor:
        x = torch.cat([observation, action], -1)
        layers = len(parameters) // 2
        for i in range(1, layers + 1):
            x = F.linear(x, parameters[f"linear{i}.weight"][e].T, parameters[f"linear{i}.bias"][e, 0])
            x = x if i == layers else F.relu(x)
        return x[:, 0]

    def act(observation: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        return sample_action(*agent.policy(policy, observation), noise)

    def step(loss: Tensor, parameters: list[Tensor], lr: float) -> None:
        optimizer = torch.optim.Adam(parameters, lr=lr)
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        if config.grad_clip is not None and parameters[0] is not log_alpha:
            torch.nn.utils.clip_grad_norm_(parameters, config.grad_clip)
        optimizer.step()

    ensemble = range(config.critics)
    with torch.no_grad():
        next_action, next_log_prob = act(batch.next_observation, noise[1])
        next_q = torch.stack(
            [critic(targets, e, batch.next_observation, next_action) for e in ensemble]
        ).amin(0)
        reward = config.reward_scale * batch.reward + config.reward_bias
        target = reward + batch.discount * (next_q - alpha * next_log_prob)
    loss = sum(
        0.5 * F.mse_loss(critic(critics, e, batch.observation, batch.action), target) for e in ensemble
    )
    assert isinstance(loss, Tensor)
    step(loss, list(critics.values()), config.critic_lr)
    action, log_prob = act(batch.observation, noise[0])
    q = torch.stack([critic(critics, e, batch.observation, action) for e in ensemble]).amin(0)
    step((alpha * log_prob - q).mean(), list(policy.values()), config.actor_lr)
    if config.alpha is None:
        step(
            -(log_alpha.exp() * (log_prob.detach() + agent.algorithm.target_entropy)).mean(),
            [log_alpha],
            config.alpha_lr,
        )
    with torch.no_grad():
        for name, target_parameter in targets.items():
            target_parameter.mul_(1 - config.tau).add_(config.tau * critics[name])
    result = {
        f"{prefix}.{name}": p
        for prefix, net in (("policy", policy), ("critics", critics), ("targets", targets))
        for name, p in net.items()
    }
    return {name: p.detach() for name, p in (result | {"log_alpha": log_alpha}).items()}


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, hidden_depth=3, critics=5, tau=0.5, discount=0.9),
        replace(SMALL, alpha=0.3, grad_clip=0.1),
        replace(
            SMALL,
            reward_scale=3.0,
            reward_bias=-0.5,
            target_entropy=-1.0,
            actor_lr=1e-4,
            critic_lr=1e-3,
            alpha_lr=1e-2,
        ),
    ],
)
def test_update_equals_plain_sac_with_torch_optim(config: AgentConfig) -> None:
    agent = SACAgent(SCHEMA, config, seed=1)
    for vector in (agent.tensors.copies["targets"], agent.critic_parameters, agent.policy_parameters):
        vector.add_(0.05 * torch.randn(vector.shape, generator=torch.Generator().manual_seed(2)))
    batch = make_batch()
    generator = torch.Generator()
    generator.set_state(agent.rng_state())
    noise = torch.randn(2, 32, ACT, generator=generator)
    expected = reference_update(agent, batch, noise)
    agent.update(batch)
    state = agent.state_dict()
    for name, value in expected.items():
        # Adam's first step is lr · sign(gradient) but where the gradient is tiny
        torch.testing.assert_close(
            state[name], value, rtol=1e-4, atol=2e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("explicit", [True, False])
def test_average_is_of_the_policy_after_each_update(explicit: bool) -> None:
    agent = SACAgent(SCHEMA, SMALL)
    if explicit:
        agent.run_update = choose(agent, 32).update
    agent.tensors.steps.fill_(397)
    average = agent.tensors.copies["average"].double()
    for i, share in enumerate((2 / 399, 2 / 400, AVERAGING, AVERAGING)):
        agent.update(make_batch(seed=i))
        average.lerp_(agent.policy_parameters.double(), share)
    torch.testing.assert_close(agent.tensors.copies["average"], average.float(), rtol=1e-5, atol=1e-7)
    agent = SACAgent(SCHEMA, SMALL)
    agent.update(make_batch())
    assert torch.equal(agent.tensors.copies["average"], agent.policy_parameters)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        AgentConfig(hidden_width=16, hidden_depth=3, critic_depth=1, critics=5, alpha=0.3, grad_clip=0.1),
        AgentConfig(hidden_width=16, hidden_depth=3, layer_norm=True),
        AgentConfig(
            hidden_width=16,
            hidden_depth=1,
            normalize_rewards=True,
            reward_scale=3.0,
            entropy_backup=False,
            initial_alpha=3.0,
        ),
    ],
)
@pytest.mark.parametrize("spread", [0.0, 30.0], ids=["ordinary", "log σ at both bounds, actions at ±1"])
def test_explicit_gradients_equal_recorded_ones(config: AgentConfig, spread: float) -> None:
    written, recorded = SACAgent(SCHEMA, config), SACAgent(SCHEMA, config)
    choice = choose(written, 32)
    assert choice.how == EXPLICIT
    written.run_update = choice.update
    last = written.policy.unpack(written.policy_parameters)[f"linear{config.hidden_depth + 1}.bias"]
    last.add_(torch.linspace(-spread, spread, last.numel()))
    recorded.load_state_dict(written.state_dict())
    for size in (32, 32, 7):
        batch = make_batch(size)
        metrics, expected = written.update(batch), recorded.update(batch)
        assert metrics.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                metrics[name].clone(),
                value,
                rtol=1e-4,
                atol=1e-5,
                msg=lambda text, name=name: f"{name}: {text}",
            )
    state = written.state_dict()
    for name, value in recorded.state_dict().items():
        # Adam's first steps are lr · sign(gradient) but where the gradient is tiny
        torch.testing.assert_close(
            state[name], value, rtol=1e-4, atol=5e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_gradients_are_recorded_where_there_are_no_explicit_ones() -> None:
    agent = SACAgent(SCHEMA, replace(SMALL, critics=4, target_critics=2))
    choice = choose(agent, 32)
    assert choice.how == RECORDED and choice.update is agent.algorithm


def test_a_subclass_of_sac_with_an_objective_of_its_own_has_its_gradients_recorded() -> None:
    class Timid(SAC):
        def policy_objective(self, *arguments: Any) -> Any:
            loss, extra = super().policy_objective(*arguments)
            return 0.5 * loss, extra

    agent = SACAgent(SCHEMA, SMALL)
    agent.algorithm = Timid(agent.networks, SMALL, agent.algorithm.settings)
    assert choose(agent, 32).how == RECORDED


def test_targets_start_as_the_critics_and_the_entropy_target_as_minus_half_the_actions() -> None:
    agent = SACAgent(SCHEMA, SMALL)
    assert (
        torch.equal(agent.tensors.copies["targets"], agent.critic_parameters)
        and agent.tensors.copies["targets"].data_ptr() != agent.critic_parameters.data_ptr()
    )
    assert agent.algorithm.target_entropy == -ACT / 2


def test_critics_can_have_a_depth_of_their_own() -> None:
    agent = SACAgent(SCHEMA, AgentConfig(hidden_width=16, hidden_depth=4, critic_depth=3))
    assert (
        "policy.linear5.weight" in agent.state_dict() and "critics.linear5.weight" not in agent.state_dict()
    )
    train(agent, 2)
    assert "linear4" in dict(pickle.loads(pickle.dumps(agent)).q.blocks)


def test_update_returns_finite_scalars_and_leaves_no_gradients() -> None:
    agent = SACAgent(SCHEMA, SMALL)
    metrics = agent.update(make_batch())
    names = {"critic_loss", "actor_loss", "q_mean", "entropy", "alpha", "critic_grad_norm", "actor_grad_norm"}
    assert metrics.keys() == names
    for value in metrics.values():
        assert value.shape == () and value.isfinite() and not value.requires_grad
    assert metrics["alpha"].item() == pytest.approx(SMALL.initial_alpha)
    tensors = flat(agent)
    assert all(tensor.grad is None and not tensor.requires_grad for tensor in tensors)


def test_metrics_do_not_change_with_later_updates() -> None:
    agent = SACAgent(SCHEMA, SMALL)
    metrics = agent.update(make_batch())
    before = {name: value.item() for name, value in metrics.items()}
    train(agent, 3)
    assert before == {name: value.item() for name, value in metrics.items()}


def test_where_everything_terminates_the_targets_do_not_matter() -> None:
    states = []
    for offset in (0.0, 100.0):
        agent = SACAgent(SCHEMA, SMALL)
        agent.tensors.copies["targets"].add_(offset)
        agent.update(make_batch(discount=torch.zeros(32)))
        states.append(
            {name: value for name, value in agent.state_dict().items() if not name.startswith("targets")}
        )
    assert same(*states)


def test_where_nothing_terminates_the_targets_matter() -> None:
    states = []
    for offset in (0.0, 100.0):
        agent = SACAgent(SCHEMA, SMALL)
        agent.tensors.copies["targets"].add_(offset)
        agent.update(make_batch(discount=torch.full((32,), 0.98)))
        states.append(agent.critic_parameters.clone())
    assert not torch.equal(*states)


def test_reward_scale_and_bias_equal_rewards_changed_beforehand() -> None:
    batch = make_batch()
    scaled = SACAgent(SCHEMA, replace(SMALL, reward_scale=0.25, reward_bias=1.0))
    plain = SACAgent(SCHEMA, SMALL)
    scaled.update(batch)
    plain.update(batch._replace(reward=0.25 * batch.reward + 1.0))
    assert same(scaled.state_dict(), plain.state_dict())


def test_same_seed_same_bits() -> None:
    a, b, other = (train(SACAgent(SCHEMA, SMALL, seed=seed), 5) for seed in (7, 7, 8))
    assert same(a.state_dict(), b.state_dict())
    assert not same(a.state_dict(), other.state_dict())


@pytest.mark.parametrize(("target_entropy", "rises"), [(100.0, True), (-100.0, False)])
def test_alpha_moves_towards_its_target_entropy(target_entropy: float, rises: bool) -> None:
    agent = train(SACAgent(SCHEMA, AgentConfig(hidden_width=16, target_entropy=target_entropy)), 3)
    assert (agent.tensors.groups["log_alpha"].parameters.exp().item() > 0.1) == rises


def test_fixed_alpha_stays() -> None:
    agent = train(SACAgent(SCHEMA, AgentConfig(hidden_width=16, alpha=0.3)), 3)
    assert agent.tensors.groups["log_alpha"].parameters.exp().item() == pytest.approx(0.3)
    assert agent.tensors.steps.tolist() == [3, 3, 0]


def test_missing_compiler_is_reported() -> None:
    import torch._inductor.config as inductor

    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}):
        obstacle = compile_obstacle()
    assert obstacle is not None and "compiler" in obstacle and "\n" not in obstacle


def test_compiler_that_cannot_build_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.cpp_builder as builder

    monkeypatch.setattr(builder, "get_cpp_compiler", lambda: "false")
    obstacle = compile_obstacle()
    assert obstacle is not None and obstacle.startswith("false cannot build")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, normalize_observations=True),
        AgentConfig(
            hidden_width=16, critics=3, alpha=0.1, grad_clip=0.5, reward_scale=2.0, normalize_rewards=True
        ),
    ],
)
def test_compiled_update_equals_the_eager_one(
    config: AgentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obstacle = compile_obstacle()
    if obstacle is not None:
        pytest.skip(obstacle)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    replay, rng = ReplayBuffer(100, SCHEMA), np.random.default_rng(0)
    data = make_batch(100)
    replay.extend(*(field.numpy() for field in data[:4]), data.discount.numpy() == 0, np.zeros(100))
    eager, compiled = SACAgent(SCHEMA, config), SACAgent(SCHEMA, config)
    for agent in (eager, compiled):
        if agent.normalization is not None:
            agent.normalization.add(Moments.of(data.observation.numpy()))
    compiled.share_memory()
    compile_update(SACAgent(SCHEMA, replace(config, normalize_observations=False)), 32)
    assert choose(compiled, 32).how == EXPLICIT
    choice = choose(compiled, 32, compiled=True)
    assert choice.how == COMPILED
    compiled.run_update = choice.update
    for _ in range(4):
        batch = replay.sample(32, rng, config.discount)
        expected, metrics = eager.update(batch), compiled.update(batch)
        assert expected.keys() == metrics.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                metrics[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
            )
    expected, state = eager.state_dict(), compiled.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(
            state[name], value, rtol=1e-3, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    counted = compiled.tensors.steps.clone()
    compiled.run_update(compiled.tensors, batch, compiled.noise(32), compiled.lrs)
    assert torch.equal(
        compiled.tensors.steps, counted
    )  # update counts before it: compiled code would undo what others count meanwhile


# learning


@pytest.mark.slow
def test_learns_to_walk_to_a_sparse_reward() -> None:
    """A point on [-1, 1] moves by 0.2 a and is paid only within 0.1 of 0: five steps away, so the values must
    travel through γ.
    """
    rng = np.random.default_rng(0)
    position = rng.uniform(-1.1, 1.1, 3000)
    action = rng.uniform(-1, 1, 3000)
    following = position + 0.2 * action
    reward = (np.abs(following) < 0.1).astype(float)
    columns = [
        torch.tensor(x, dtype=torch.float32)
        for x in (position[:, None], action[:, None], reward, following[:, None], 0.9 * (1 - reward))
    ]
    agent = SACAgent(
        Schema.vector(1, 1),
        AgentConfig(
            hidden_width=32,
            discount=0.9,
            actor_lr=2e-3,
            critic_lr=2e-3,
            alpha_lr=2e-3,
            tau=0.02,
            initial_alpha=0.02,
        ),
    )
    start = time.monotonic()
    for _ in range(1500):
        rows = torch.from_numpy(rng.integers(0, 3000, 64))
        agent.update(Batch(*(column[rows] for column in columns)))
    assert time.monotonic() - start < 60
    for begin in (-1.0, -0.5, 0.6, 1.0):
        x = begin
        for _ in range(7):
            if abs(x) < 0.1:
                break
            x += 0.2 * float(agent.act(np.array([x]), deterministic=True)[0])
        assert abs(x) < 0.1, f"from {begin} it came to {x:.2f}"
