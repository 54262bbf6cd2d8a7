"""IQL, AWAC, TD3+BC and ReBRAC: their losses against slow computations in float64, what they learn that
cloning does not, and what they are refused for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_offline import ACT, CONFIG, SCHEMA, B, doubles, slow_log_prob, slow_policy, slow_q
from test_offline import make_batch as plain_batch

from sac_dist.acting.recording import record
from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.base import Tensors
from sac_dist.algorithms.td3bc import EXPLORATION
from sac_dist.cli.given import parse
from sac_dist.data.batch import Batch
from sac_dist.data.dataset import DataSet
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.sampler import Batches
from sac_dist.data.schema import Schema
from sac_dist.data.transitions import Transitions
from sac_dist.engine.phases import policy_share
from sac_dist.engine.train import resume, train
from sac_dist.execution.choose import COMPILED, choose
from sac_dist.execution.compiled import compile_obstacle, compile_update
from sac_dist.formats import files
from sac_dist.settings import AgentConfig, Config, ConfigError, DataConfig, EnvConfig, TrainConfig
from sac_dist.settings.algorithms import ALGORITHMS, AWACSettings, IQLSettings
from sac_dist.settings.presets import OFFLINE_OF, WSRL, offline
from sac_dist.storage import checkpoint

LEARNERS = ("iql", "awac", "td3bc", "rebrac")
OWN: dict[str, dict[str, Any]] = {
    "iql": {"iql_expectile": 0.8, "iql_beta": 2.0},
    "awac": {"awac_lambda": 0.4},
    "td3bc": {"td3bc_alpha": 1.5},
    "rebrac": {"rebrac_actor_bc": 0.3, "rebrac_critic_bc": 0.7},
}
pytestmark = pytest.mark.timeout(120)


def learner(
    name: str, schema: Schema = SCHEMA, config: AgentConfig = CONFIG, seed: int = 0, **own: Any
) -> SACAgent:
    agent = SACAgent(schema, config, seed, {name: OWN[name] | own})
    agent.use(name)
    return agent


def make_batch(seed: int = 0, size: int = B) -> Batch:
    """With next actions, of which the first two are unknown."""
    batch = plain_batch(seed, size)
    following = batch.action.flip(0).clone()
    following[:2] = math.nan
    return batch._replace(next_action=following)


# Losses


class Slow:
    """An agent's networks in plain numpy, one state, critic and action at a time, on float64 copies."""

    def __init__(self, agent: SACAgent, tensors: Tensors, batch: Batch, noise: torch.Tensor) -> None:
        self.agent, self.noise = agent, noise.numpy()
        self.vectors = {name: trained.parameters.numpy() for name, trained in tensors.groups.items()}
        self.vectors |= {name: copy.numpy() for name, copy in tensors.copies.items()}
        arrays = {name: field.numpy() for name, field in batch._asdict().items() if field is not None}
        self.s, self.a, self.r, self.following = (
            arrays[name] for name in ("observation", "action", "reward", "next_observation")
        )
        self.discount, self.next_a = arrays["discount"], arrays["next_action"]

    def named(self, network: Any, vector: np.ndarray) -> dict[str, np.ndarray]:
        return {name: part.numpy() for name, part in network.unpack(torch.from_numpy(vector)).items()}

    def q(self, s: np.ndarray, a: np.ndarray, of: str = "critics", vector: np.ndarray | None = None) -> list:
        parameters = self.named(self.agent.q, self.vectors[of] if vector is None else vector)
        return [slow_q(parameters, e, s, a) for e in range(2)]

    def v(self, s: np.ndarray, vector: np.ndarray | None = None) -> float:
        parameters = self.named(
            self.agent.algorithm.value, self.vectors["value"] if vector is None else vector
        )  # type: ignore[attr-defined]
        lifted = {name: part[None] for name, part in parameters.items()}
        return slow_q(lifted, 0, s, np.zeros(0))

    def pi(
        self, s: np.ndarray, of: str = "policy", vector: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return slow_policy(self.named(self.agent.policy, self.vectors[of] if vector is None else vector), s)

    def data_log_prob(self, i: int, policy: np.ndarray) -> float:
        mean, std = self.pi(self.s[i], vector=policy)
        return slow_log_prob(
            mean, np.maximum(std, math.exp(-5)), np.arctanh(np.clip(self.a[i], -0.999, 0.999))
        )

    def td_error(self, critics: np.ndarray, target: Callable[[int], float]) -> float:
        y = [target(i) for i in range(B)]
        return sum(
            0.5 * (q - y[i]) ** 2 / B for i in range(B) for q in self.q(self.s[i], self.a[i], vector=critics)
        )

    # what a critic's and a policy's loss is

    def iql_critic(self, critics: np.ndarray) -> float:
        return self.td_error(critics, lambda i: self.r[i] + self.discount[i] * self.v(self.following[i]))

    def iql_value(self, value: np.ndarray) -> float:
        total = 0.0
        for i in range(B):
            gap = min(self.q(self.s[i], self.a[i], "targets")) - self.v(self.s[i], value)
            total += (0.8 if gap > 0 else 0.2) * gap**2 / B
        return total

    def iql_policy(self, policy: np.ndarray) -> float:
        total = 0.0
        for i in range(B):
            gap = min(self.q(self.s[i], self.a[i], "targets")) - self.v(self.s[i])
            total -= min(math.exp(2.0 * gap), 100.0) * self.data_log_prob(i, policy) / B
        return total

    def awac_critic(self, critics: np.ndarray) -> float:
        def target(i: int) -> float:
            mean, std = self.pi(self.following[i])
            action = np.tanh(mean + std * self.noise[1, i])
            return self.r[i] + self.discount[i] * min(self.q(self.following[i], action, "targets"))

        return self.td_error(critics, target)

    def awac_policy(self, policy: np.ndarray) -> float:
        weights = []
        for i in range(B):
            mean, std = self.pi(self.s[i])
            own = min(self.q(self.s[i], np.tanh(mean + std * self.noise[0, i])))
            weights.append(math.exp((min(self.q(self.s[i], self.a[i])) - own) / 0.4))
        return -sum(w / sum(weights) * self.data_log_prob(i, policy) for i, w in enumerate(weights))

    def td3_target(self, i: int, price: float) -> float:
        mean, _ = self.pi(self.following[i], "average")
        action = np.clip(np.tanh(mean) + np.clip(0.2 * self.noise[1, i], -0.5, 0.5), -1, 1)
        value = min(self.q(self.following[i], action, "targets"))
        if price and not np.isnan(self.next_a[i]).any():
            value -= price * ((action - self.next_a[i]) ** 2).sum()
        return self.r[i] + self.discount[i] * value

    def td3bc_critic(self, critics: np.ndarray) -> float:
        return self.td_error(critics, lambda i: self.td3_target(i, 0.0))

    def rebrac_critic(self, critics: np.ndarray) -> float:
        return self.td_error(critics, lambda i: self.td3_target(i, 0.7))

    def climbed(
        self, policy: np.ndarray, of: Callable[[list], float]
    ) -> tuple[list[float], list[np.ndarray]]:
        """Q at the policy's actions, and how far these are from the data's."""
        actions = [np.tanh(self.pi(self.s[i], vector=policy)[0]) for i in range(B)]
        return [of(self.q(self.s[i], actions[i])) for i in range(B)], [
            actions[i] - self.a[i] for i in range(B)
        ]

    def td3bc_policy(self, policy: np.ndarray) -> float:
        size = np.mean(np.abs(self.climbed(self.vectors["policy"], lambda q: q[0])[0]))
        q, far = self.climbed(policy, lambda q: q[0])
        return float(np.mean(np.square(far)) - 1.5 / size * np.mean(q))

    def rebrac_policy(self, policy: np.ndarray) -> float:
        size = np.mean(np.abs(self.climbed(self.vectors["policy"], min)[0]))
        q, far = self.climbed(policy, min)
        return float(0.3 * np.mean(np.square(far).sum(axis=1)) - np.mean(q) / size)


@pytest.mark.parametrize("part", ["critic", "policy", "value"])
@pytest.mark.parametrize("name", LEARNERS)
def test_losses_and_their_gradients_equal_a_slow_computation(name: str, part: str) -> None:
    if part == "value" and name != "iql":
        return
    agent = learner(name, seed=1)
    tensors, algorithm = doubles(agent), agent.algorithm
    if name == "iql":
        tensors.groups["value"].parameters.mul_(3)
    tensors.copies["average"].copy_(tensors.groups["policy"].parameters.flip(0))
    batch = Batch(*(None if field is None else field.double() for field in make_batch()))  # type: ignore[arg-type]
    noise = agent.noise(B).double() * 3  # some of it is cut
    alpha = tensors.groups["log_alpha"].parameters.exp()
    slow = getattr(Slow(agent, tensors, batch, noise), f"{name}_{part}")

    def loss(vector: torch.Tensor) -> torch.Tensor:
        if part == "value":
            return algorithm.value_objective(vector, tensors, batch)[0]  # type: ignore[attr-defined, no-any-return]
        if part == "critic":
            return algorithm.critic_objective(vector, tensors, batch, noise, alpha)[0]
        return algorithm.policy_objective(vector, tensors, batch, noise[0], alpha)[0]

    group = {"critic": "critics"}.get(part, part)
    parameters = tensors.groups[group].parameters
    expected = slow(parameters.numpy())
    assert abs(expected) > 1e-2 and loss(parameters).item() == pytest.approx(expected, rel=1e-9)
    vector = parameters.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(vector), [vector])
    largest = gradient.abs().max().item()
    for index in np.random.default_rng(0).choice(len(parameters), 15, replace=False):
        ends = []
        for step in (1e-6, -1e-6):
            moved = parameters.numpy().copy()
            moved[index] += step
            ends.append(slow(moved))
        assert gradient[index].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-5 * largest)


def test_weights_of_iql_are_cut_at_100() -> None:
    agent = learner("iql", iql_beta=1000.0)
    agent.q.unpack(agent.tensors.copies["targets"])["linear3.bias"].fill_(5.0)
    assert agent.update(make_batch())["weight_max"] == 100


@pytest.mark.parametrize("name", ["iql", "awac"])
def test_data_that_always_does_the_same_does_not_make_the_policy_narrower_without_end(name: str) -> None:
    agent = learner(name)
    agent.policy.unpack(agent.policy_parameters)["linear3.bias"][:, ACT:] = -9
    metrics = agent.update(make_batch()._replace(action=torch.full((B, ACT), 0.5)))
    largest = ((math.atanh(0.5) + 0.1) / math.exp(-5)) ** 2  # at σ = exp(-9) it is 3,000 times that
    assert metrics["actor_loss"] < metrics["weight_max"] * ACT * largest


# Learning


@pytest.mark.parametrize(
    "name", ["iql", "td3bc", *(pytest.param(name, marks=pytest.mark.slow) for name in ("awac", "rebrac"))]
)
def test_each_learns_which_of_the_datas_actions_are_good(name: str) -> None:
    """Two steps: the first leads to the state of its action's sign, where the second is paid if it has the
    state's sign; random data, which cloning answers with 0.
    """
    rng, size = np.random.default_rng(0), 256
    side = np.sign(rng.normal(size=(size, 1)))
    first = rng.random((size, 1)) < 0.5
    action = rng.uniform(-1, 1, (size, 1))
    state = np.where(first, np.hstack([np.ones_like(side), 0 * side]), np.hstack([0 * side, side]))
    following = np.hstack([0 * side, np.sign(action)])
    # behind the first step a state of positive sign is worth more: only its second step is paid in full
    reward = np.where(first, 0, 1 - np.abs(action - 0.6 * side) + (side > 0)).ravel()
    arrays = (state, action, reward, following, 0.9 * first.ravel(), None, rng.uniform(-1, 1, (size, 1)))
    batch = Batch(*(None if a is None else torch.tensor(a, dtype=torch.float32) for a in arrays))  # type: ignore[arg-type]
    config = AgentConfig(hidden_width=32, actor_lr=3e-3, critic_lr=3e-3, tau=0.05)
    own: dict[str, dict[str, Any]] = {
        "iql": {"iql_beta": 5.0},
        "awac": {"awac_lambda": 0.1},
        "td3bc": {"td3bc_alpha": 10.0},
        "rebrac": {"rebrac_actor_bc": 0.05, "rebrac_critic_bc": 0.05},
    }
    agent = learner(name, Schema.vector(2, 1), config, **own[name])
    for _ in range(250):
        agent.update(batch)
    acts = {s: float(agent.act(np.array(s), deterministic=True)[0]) for s in ((0, 1), (0, -1), (1, 0))}
    assert acts[0, 1] > 0.3 and acts[0, -1] < -0.3, acts
    assert acts[1, 0] > 0.12, acts  # by the value of what comes after it


def test_a_deterministic_policy_explores_with_a_little_noise() -> None:
    agent = learner("td3bc", config=AgentConfig(hidden_width=16, actor_lr=1e-2))
    agent.use("bc")
    for seed in range(20):
        agent.update(make_batch(seed))
    agent.use("td3bc")
    agent.update(make_batch())
    for seed in range(3):
        observation = plain_batch(seed).observation[0].numpy()
        agent.take_average()
        mean = np.arctanh(agent.act(observation, deterministic=True))
        drawn = np.arctanh([agent.act(observation) for _ in range(400)])
        assert drawn.std(axis=0) == pytest.approx(np.full(ACT, EXPLORATION), rel=0.15)
        assert drawn.mean(axis=0) == pytest.approx(mean, abs=0.03)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", LEARNERS)
def test_compiled_equals_recorded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (obstacle := compile_obstacle()) is not None:
        pytest.skip(obstacle)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = replace(CONFIG, layer_norm=True, critics=4, target_critics=2, grad_clip=1.0)
    recorded, compiled = learner(name, config=config), learner(name, config=config)
    compile_update(learner(name, config=config), 32)
    choice = choose(compiled, 32, compiled=True)
    assert choice.how == COMPILED
    choice.install(compiled)
    for seed in range(4):
        batch = make_batch(seed, 32)
        if not compiled.algorithm.settings.needs_next_actions:
            batch = batch._replace(next_action=None)
        expected, found = recorded.update(batch), compiled.update(batch)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(compiled.state_dict(), recorded.state_dict(), rtol=1e-3, atol=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_a_run_is_resumed_bit_for_bit(name: str, tmp_path: Path) -> None:
    demos = tmp_path / "demos.npz"
    files.write(record(EnvConfig("toy_envs:Point-v0"), "random", 8), demos)

    def config(folder: str, updates: int) -> Config:
        settings = TrainConfig(
            workers=1, batch_size=8, eval_interval=0, compile="off", run_dir=str(tmp_path / folder)
        )
        data = DataConfig(offline=(str(demos),), algo=name, offline_steps=updates)
        return Config(EnvConfig("toy_envs:Point-v0"), AgentConfig(hidden_width=16), settings, data)

    for folder, updates in (("whole", 20), ("half", 10)):
        train(config(folder, updates), quiet=True)
    half = checkpoint.read(tmp_path / "half" / "checkpoints" / "last.safetensors").config
    resume(tmp_path / "half", replace(half, data=replace(half.data, offline_steps=20)), quiet=True)
    whole, resumed = (
        checkpoint.read(tmp_path / folder / "checkpoints" / "last.safetensors")
        for folder in ("whole", "half")
    )
    assert whole.agent["critics.step"] == 20 and whole.agent["policy.step"] > 0
    for part, tensor in whole.agent.items():
        assert torch.equal(tensor, resumed.agent[part]), part


# Next actions


@pytest.fixture
def episodes() -> Transitions:
    """Two of them, of 3 steps and of 2; the actions count."""
    count = np.arange(5, dtype=np.float32)
    states = np.array([[0, 1], [1, 2], [2, 3], [0, 1], [1, 2]], np.float32)
    return Transitions.of_arrays(
        {
            "observation": states[:, :1],
            "action": count[:, None] / 10,
            "reward": count,
            "next_observation": states[:, 1:],
            "terminated": np.array([0, 0, 0, 0, 1], bool),
            "truncated": np.array([0, 0, 1, 0, 0], bool),
        }
    )


@pytest.mark.parametrize(("n_step", "ahead"), [(1, (1, 2, None, 4, None)), (2, (2, None, None, None, None))])
def test_next_actions_are_those_of_the_same_episode(
    episodes: Transitions, n_step: int, ahead: tuple[int | None, ...]
) -> None:
    replay, rng = ReplayBuffer(5, episodes.schema), np.random.default_rng(0)
    data = DataSet(episodes, CONFIG)
    config = DataConfig(demos=("x",), algo="rebrac", offline_steps=1)
    batches = Batches(replay, data, config, 64, CONFIG, n_step=n_step, followed={"rebrac"})
    batch = batches.offline(rng)
    assert batch.next_action is not None
    for action, following in zip(batch.action[:, 0], batch.next_action[:, 0], strict=True):
        expected = ahead[round(float(action) * 10)]
        assert torch.isnan(following) if expected is None else following == np.float32(expected / 10)

    replay.push(np.zeros(1), np.full(1, 0.9), 0.0, np.zeros(1), False, False)
    batch = batches.offline(rng)
    own = batch.action[:, 0] == np.float32(0.9)
    assert batch.next_action is not None and own.sum() == 32 and batch.next_action[own].isnan().all()
    assert batches.online(0, rng).next_action is None


# Settings


def test_what_offline_takes_by_itself_is_the_algorithms() -> None:
    for name in (*OFFLINE_OF, "sac"):
        settings = offline(name) | {"offline": ["x"], "algo": name, "workers": 1}
        config = Config.of_settings(settings)
        assert not settings and set(config.algorithms) == {name, "sac"}
    assert (
        parse(["--train", "--demos", "x", "--preset", "offline", "--offline-steps", "1", "--algo", "rebrac"])[
            "hidden_depth"
        ]
        == offline("rebrac")["hidden_depth"]
    )


def test_a_files_preset_is_for_the_algorithm_of_the_flags(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("preset: offline\noffline_steps: 5\n")
    given = parse(["--train", "--demos", "x", "--config", str(tmp_path / "s.yaml"), "--algo", "iql"])
    assert given["actor_lr"] == offline("iql")["actor_lr"] and "cal_ql" not in given


def test_wsrl_acts_by_the_policy_of_the_data_and_forgets_the_data(episodes: Transitions) -> None:
    config = Config.of_settings(WSRL | {"demos": ["x"]})
    assert config.train.warmup_steps == 5000 and config.data.offline_steps
    assert policy_share(config, 5000) == 0 < policy_share(config, 5001) < policy_share(config, 10_000) == 1
    replay, rng = ReplayBuffer(5, episodes.schema), np.random.default_rng(0)
    replay.push(np.zeros(1), np.full(1, 0.9), 0.0, np.zeros(1), False, False)
    batch = Batches(replay, DataSet(episodes, CONFIG), config.data, 16, CONFIG).online(5001, rng)
    assert (batch.action == np.float32(0.9)).all()


@pytest.mark.parametrize("name", [name for name, entry in ALGORITHMS.items() if entry.not_online])
def test_those_that_cannot_go_online_say_why(name: str) -> None:
    with pytest.raises(ConfigError, match=f"online_algo {name} cannot learn online: .*; give --algo {name}"):
        DataConfig(demos=("x",), online_algo=name)


def test_rebrac_is_refused_where_its_data_lies_in_the_replay_alone() -> None:
    data = DataConfig(demos=("x",), algo="rebrac", offline_steps=1, demo_mode="prefill", demo_overwrite=True)
    with pytest.raises(ConfigError, match="demo_overwrite and rebrac contradict each other"):
        Config(data=data)
    assert Config(data=replace(data, demo_overwrite=False)).followed == {"rebrac"}


def test_a_learner_that_needs_data_is_refused_without() -> None:
    for name in ("iql", "awac", "td3bc"):
        with pytest.raises(ConfigError, match=f"online_algo {name} learns from others' actions: .* --demos"):
            DataConfig(online_algo=name)
        assert DataConfig(demos=("x",), online_algo=name).online_algo == name
    for preset in ("rlpd", "wsrl"):
        with pytest.raises(ConfigError, match=f"--preset {preset} learns from demonstrations"):
            parse(["--train", "--preset", preset])
        assert parse(["--train", "--demos", "x", "--preset", preset])["critics"] == 10


@pytest.mark.parametrize("own", [{"iql_expectile": 1.0}, {"iql_expectile": 0.0}, {"iql_beta": -1.0}])
def test_settings_that_cannot_be_are_refused(own: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"iql_expectile .* must lie in \(0, 1\)"):
        IQLSettings(**own)
    with pytest.raises(ConfigError, match="awac_lambda"):
        AWACSettings(awac_lambda=0)
