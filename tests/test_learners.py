"""Networks and updates of the published learners: SimBa, CrossQ, XQC, FlashSAC, TQC, DroQ, C51."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from agents import ACT, OBS, SCHEMA, flat, make_batch, same, train

from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.exploration import RepeatedNoise
from sac_dist.algorithms.sac import AVERAGE, CRITICS, POLICY, TARGETS
from sac_dist.cli.given import parse
from sac_dist.data.batch import Batch
from sac_dist.execution.choose import COMPILED, choose
from sac_dist.execution.compiled import compile_obstacle, compile_update, compiled_paths
from sac_dist.networks.blocks import Linear
from sac_dist.networks.distribution import sample_action
from sac_dist.networks.network import Network
from sac_dist.networks.normalised import BatchNorm, Dropout, Residual, RMSNorm, UnitLinear
from sac_dist.networks.operations import TorchOperations
from sac_dist.settings import AgentConfig, Config, ConfigError, DataConfig, TrainConfig

PLAIN = AgentConfig(hidden_width=16, layer_norm=False)
C51 = replace(PLAIN, distribution="c51", bins=21)
LEARNERS = {
    "c51": C51,
    "tqc": replace(PLAIN, distribution="tqc", quantiles=7, critics=3),
    "redq c51": replace(C51, critics=4, target_critics=2),
    "droq": replace(PLAIN, dropout=0.2, layer_norm=True),
    "simba": replace(PLAIN, network="simba", weight_decay=0.01, critic_width=8, critic_depth=1),
    "crossq": replace(PLAIN, network="crossq", target_network=False, policy_every=3, adam_beta1=0.5),
    "xqc": replace(C51, network="xqc", policy_every=3),
    "flashsac": replace(C51, network="flashsac", policy_every=2, noise_repeat=16),
    "flashsac tqc": replace(PLAIN, network="flashsac", distribution="tqc"),
}
each_learner = pytest.mark.parametrize("config", LEARNERS.values(), ids=list(LEARNERS))


def forward(network: Network, vector: torch.Tensor, x: torch.Tensor, ops=TorchOperations) -> torch.Tensor:
    return network.forward(network.unpack(vector), x, ops=ops)


@each_learner
def test_an_actor_in_numpy_is_the_policy_in_torch(config):
    agent = train(SACAgent(SCHEMA, config), 7)
    observation = np.random.default_rng(0).normal(size=OBS).astype(np.float32)
    x = torch.from_numpy(observation)[None]
    mean, _ = agent.policy(agent.policy.unpack(agent.tensors.copies[AVERAGE]), x)
    np.testing.assert_allclose(agent.act(observation, True), mean.tanh()[0].numpy(), atol=1e-6)
    mean, log_std = agent.policy(agent.policy.unpack(agent.policy_parameters), x)
    noise = torch.randn(ACT, generator=torch.Generator().manual_seed(5))
    expected, _ = sample_action(mean[0], log_std[0], noise)
    np.testing.assert_allclose(agent._sample(observation, noise.numpy()), expected.numpy(), atol=1e-5)


@each_learner
def test_a_learner_goes_on_with_the_same_bits(config):
    whole = train(SACAgent(SCHEMA, config), 8)
    first, second = train(SACAgent(SCHEMA, config), 5), SACAgent(SCHEMA, config, seed=9)
    second.load_state_dict(first.state_dict())
    second.set_rng_state(first.rng_state())
    second.updates_made = 5
    for i in range(5, 8):
        second.update(make_batch(seed=100 + i))
    assert same(whole.state_dict(), second.state_dict())


@pytest.mark.slow
@each_learner
def test_critics_learn_the_reward_of_steps_that_end(config):
    """Without a value after them Q is the reward, here that of the first action."""
    agent = SACAgent(SCHEMA, replace(config, critic_lr=3e-3))
    for i in range(400):
        batch = make_batch(64, seed=i)
        agent.update(batch._replace(reward=2 * batch.action[:, 0], discount=torch.zeros(64)))
    batch = make_batch(256, seed=9999)
    q = agent.q(agent.q.unpack(agent.critic_parameters), batch.observation, batch.action)
    error = (q.mean(0) - 2 * batch.action[:, 0]).square().mean() / (2 * batch.action[:, 0]).var()
    assert error < 0.1


def test_batch_norm_is_torchs():
    network = Network((("norm", BatchNorm(4)),))
    vector, reference = torch.zeros(network.size), torch.nn.BatchNorm1d(4, momentum=0.01)
    network.initialise(vector, torch.Generator())
    for i in range(5):
        x = 3 + 2 * torch.randn(32, 4, generator=torch.Generator().manual_seed(i))
        ops = TorchOperations({})
        torch.testing.assert_close(forward(network, vector, x, ops), reference(x).detach())
        network.take(vector, ops.statistics)
    parameters = network.unpack(vector)
    torch.testing.assert_close(parameters["norm.running_mean"][0], reference.running_mean)
    # torch's is of n - 1
    torch.testing.assert_close(
        parameters["norm.running_variance"][0], reference.running_var, rtol=0.04, atol=0
    )


def test_rms_norm_is_torchs():
    network = Network((("norm", RMSNorm(4)),))
    vector, x = torch.rand(4), torch.randn(8, 4)
    expected = torch.nn.functional.rms_norm(x, (4,), vector, eps=1e-6)
    torch.testing.assert_close(forward(network, vector, x), expected)


def test_residual_adds_what_its_blocks_make():
    inner = (("a", Linear(3, 6)), ("b", Linear(6, 3)))
    network, plain = Network((("r", Residual(inner)),)), Network(inner)
    vector, x = torch.randn(network.size), torch.randn(5, 3)
    torch.testing.assert_close(forward(network, vector, x), x + forward(plain, vector, x))


def test_weights_keep_their_length():
    for name in ("xqc", "flashsac"):
        agent = train(SACAgent(SCHEMA, replace(LEARNERS[name], critic_lr=0.1, actor_lr=0.1)), 4)
        for network, group in ((agent.policy, POLICY), (agent.q, CRITICS)):
            parameters = network.unpack(agent.tensors.groups[group].parameters)
            for block_name, block in network.blocks:
                if isinstance(block, UnitLinear):
                    lengths = parameters[f"{block_name}.weight"].norm(dim=-2)
                    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    scale, bias = (parameters[f"block1.norm1.{part}"] for part in ("weight", "bias"))
    torch.testing.assert_close(
        scale.square().sum(-1) + bias.square().sum(-1), torch.full(scale.shape[:-1], float(scale.shape[-1]))
    )


def test_dropout_leaves_out_the_share_and_others_with_another_seed():
    network = Network((("d", Dropout(0.3, salt=1)),))
    x, none = torch.ones(200, 500), torch.empty(0)
    masks = [
        forward(network, none, x, TorchOperations(seed=torch.tensor(s, dtype=torch.int32))) for s in (1, 2)
    ]
    for mask in masks:
        assert mask.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
        assert mask.mean().item() == pytest.approx(1, abs=0.02)
        kept = (mask > 0).float()
        assert (kept[:, 1:] * kept[:, :-1]).mean().item() == pytest.approx(0.49, abs=0.01)
        assert kept.mean(0).std() < 0.05 and kept.mean(1).std() < 0.03
    both = ((masks[0] > 0) & (masks[1] > 0)).float().mean().item()
    assert both == pytest.approx(0.49, abs=0.01)
    assert torch.equal(forward(network, none, x), x)


def test_crossq_has_no_targets_and_normalises_both_states_together():
    config = LEARNERS["crossq"]
    agent = SACAgent(SCHEMA, config)
    assert TARGETS not in agent.tensors.copies
    batch = make_batch()
    mean, log_std = agent.algorithm.policy_at(agent.tensors, batch.next_observation)
    noise = agent.noise(32)
    next_action, _ = sample_action(mean, log_std, noise[1])
    critics = agent.q.unpack(agent.critic_parameters)
    here, after, ops = agent.algorithm.critics_outputs(critics, agent.tensors, batch, next_action, noise)
    inputs = (
        torch.cat([batch.observation, batch.action], 1),
        torch.cat([batch.next_observation, next_action], 1),
    )
    torch.testing.assert_close(ops.statistics["norm0"][0][0, 0], torch.cat(inputs).mean(0))
    both = agent.q.forward(critics, torch.cat(inputs).expand(2, -1, -1), ops=TorchOperations({}))
    torch.testing.assert_close(torch.cat([here, after], dim=1), both)


def test_repeated_noise():
    noise, generator = RepeatedNoise(3, 16), torch.Generator().manual_seed(0)
    drawn = torch.stack([noise.next(generator).clone() for _ in range(20000)])
    changes = (drawn[1:] != drawn[:-1]).any(1).nonzero().flatten()
    lengths = (changes[1:] - changes[:-1]).tolist()
    total = sum(n**-2.0 for n in range(1, 17))
    assert max(lengths) == 16
    for n in (1, 2, 3):
        assert lengths.count(n) / len(lengths) == pytest.approx(n**-2.0 / total, abs=0.015)
    again, state = RepeatedNoise(3, 16), generator.get_state()
    again.restore(noise.state())
    first = [noise.next(generator).tolist() for _ in range(30)]
    generator.set_state(state)
    assert [again.next(generator).tolist() for _ in range(30)] == first


def test_what_does_not_go_together_is_refused():
    crossq = LEARNERS["crossq"]
    with pytest.raises(ConfigError, match="give --learner central"):
        Config(agent=crossq, train=TrainConfig(workers=2))
    Config(agent=crossq, train=TrainConfig(workers=2, learner="central"))
    Config(agent=crossq, train=TrainConfig(workers=1))
    with pytest.raises(ConfigError, match="a phase is of cql"):
        Config(agent=C51, data=DataConfig(offline=("x",)))
    with pytest.raises(ConfigError, match="running statistics"):
        replace(crossq, weight_decay=0.1)
    with pytest.raises(ConfigError, match="dropout is for the network mlp"):
        replace(PLAIN, network="simba", dropout=0.1)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["droq", "xqc", "flashsac tqc"])  # each kind of block and distribution
def test_a_compiled_learner_is_the_recorded_one(name, tmp_path, monkeypatch):
    if (obstacle := compile_obstacle()) is not None:
        pytest.skip(obstacle)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    recorded, compiled = SACAgent(SCHEMA, LEARNERS[name]), SACAgent(SCHEMA, LEARNERS[name])
    compile_update(compiled, 32)
    made = [path.stat().st_mtime_ns for path in compiled_paths(compiled, 32)]
    compile_update(compiled, 32)  # as where a run ended between two variants
    assert [path.stat().st_mtime_ns for path in compiled_paths(compiled, 32)] == made
    compiled.set_rng_state(recorded.rng_state())
    choice = choose(compiled, 32, compiled=True)
    assert choice.how == COMPILED, choice.obstacle
    choice.install(compiled)
    for i in range(4):
        rows = np.random.default_rng(i).normal(size=(32, SCHEMA.row_width)).astype(np.float32)
        batch = Batch.of_rows(rows, SCHEMA, np.full(32, 0.9, np.float32))
        expected, found = recorded.update(batch), compiled.update(batch)
        assert found.keys() == expected.keys()
    for a, b in zip(flat(recorded), flat(compiled), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["redq", "droq", "tqc", "simba", "crossq", "xqc", "flashsac"])
def test_a_preset_makes_a_run_and_is_told_in_one_line(name, capsys):
    settings = parse(["--train", "--preset", name, "--workers", "2", "--batch-size", "64"])
    del settings["train"], settings["preset"]
    config = Config.of_settings(settings)
    line = capsys.readouterr().err
    assert not settings and config.train.batch_size == 64
    assert line.startswith(f"preset {name}: ") and line.count("\n") == 1 and "batch_size" not in line
    assert config.agent.generalised == (name not in ("redq", "simba"))


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--bins", "51"], ["--dropped-quantiles", "3"], ["--largest-return", "4"], ["--lr-end", "0.3"]),
        ["--network", "simba", "--no-layer-norm"],
        ["--no-target-network", "--tau", "0.02"],
    ],
    ids=" ".join,
)
def test_settings_that_would_do_nothing_are_refused(arguments):
    with pytest.raises(ConfigError, match="would do nothing"):
        parse(["--train", *arguments])
