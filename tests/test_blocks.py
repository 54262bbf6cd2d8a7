"""A network of blocks that sac_dist does not have, defined once: it trains, is compiled and acts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from agents import ACT, OBS, SCHEMA, SMALL, make_batch, train

from sac_dist.algorithms.agent import SACAgent
from sac_dist.data.ring import ReplayBuffer
from sac_dist.execution.choose import COMPILED, RECORDED, choose
from sac_dist.execution.compiled import compile_obstacle, compile_update, compiled_path, sources
from sac_dist.networks.blocks import Block, Forward, LayerNorm, Linear, ReLU, Scalar
from sac_dist.networks.build import Networks
from sac_dist.networks.critics import QEnsemble
from sac_dist.networks.network import Network
from sac_dist.networks.operations import NumpyOperations, TorchOperations
from sac_dist.networks.policy import GaussianPolicy

WIDTH = 8


@dataclass(frozen=True)
class Residual(Block):
    """x + W₂ relu(W₁ norm(x)): SimBa's block, arXiv:2410.09754."""

    features: int

    @property
    def parts(self) -> dict[str, Block]:
        wide = 2 * self.features
        return {
            "norm": LayerNorm(self.features),
            "up": Linear(self.features, wide),
            "relu": ReLU(),
            "down": Linear(wide, self.features),
        }

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            f"{part}.{k}": shape for part, block in self.parts.items() for k, shape in block.shapes.items()
        }

    def initialise(self, parameters, name, generator):  # type: ignore[no-untyped-def]
        for part, block in self.parts.items():
            block.initialise(parameters, f"{name}.{part}", generator)

    def bind(self, ops, parameters, name) -> Forward:  # type: ignore[no-untyped-def]
        steps = [block.bind(ops, parameters, f"{name}.{part}") for part, block in self.parts.items()]

        def forward(x):  # type: ignore[no-untyped-def]
            inner = x
            for step in steps:
                inner = step(inner)
            return x + inner

        return forward


def residual(inputs: int, last: Block) -> tuple[tuple[str, Block], ...]:
    return (
        ("linear1", Linear(inputs, WIDTH)),
        ("residual1", Residual(WIDTH)),
        ("residual2", Residual(WIDTH)),
        ("norm", LayerNorm(WIDTH)),
        ("linear2", last),
    )


NETWORKS = Networks(
    GaussianPolicy(residual(OBS, Linear(WIDTH, 2 * ACT, 0.1)), action_size=ACT),
    QEnsemble(residual(OBS + ACT, Scalar(WIDTH, 1)), members=2, observation_size=OBS),
)


def made(algorithm: str = "sac", seed: int = 0) -> SACAgent:
    agent = SACAgent(SCHEMA, SMALL, seed, networks=NETWORKS)
    agent.use(algorithm)
    return agent


@pytest.mark.parametrize("algorithm", ["sac", "cql", "bc"])
def test_it_trains_and_acts_in_numpy_as_in_torch(algorithm: str) -> None:
    agent = made(algorithm)
    choice = choose(agent, 32)
    assert choice.how == RECORDED  # explicit gradients are for perceptrons alone
    agent.run_update = choice.update
    before = agent.policy_parameters.clone()
    train(agent, 10)
    residual2 = agent.policy.unpack(agent.policy_parameters - before)["residual2.up.weight"]
    assert residual2.abs().max() > 1e-4 and bool(agent.memory.isfinite().all())
    observations = torch.randn(20, OBS, generator=torch.Generator().manual_seed(1))
    mean, _ = agent.policy(agent.policy.unpack(agent.tensors.copies["average"]), observations)
    for observation, expected in zip(observations.numpy(), mean.tanh().numpy(), strict=True):
        action = agent.act(observation, deterministic=True)
        np.testing.assert_allclose(action, expected, rtol=0, atol=1e-6)
        assert action.shape == (ACT,) and action.dtype == np.float32


def test_critics_of_it_give_the_same_at_many_actions_and_at_each() -> None:
    agent, batch = made(), make_batch(6)
    parameters = agent.q.unpack(agent.critic_parameters)
    actions = torch.stack([batch.action, -batch.action])
    at_once = agent.q.at_actions(parameters, batch.observation, actions)
    each = torch.stack([agent.q(parameters, batch.observation, action) for action in actions], dim=1)
    torch.testing.assert_close(at_once, each)


def test_its_agent_is_saved_and_goes_on_with_the_same_bits() -> None:
    agent = train(made(), 3)
    assert "critics.residual1.norm.weight" in agent.state_dict()
    other = made(seed=9)
    other.load_state_dict(agent.state_dict())
    other.set_rng_state(agent.rng_state())
    for one in (agent, other):
        train(one, 3)
    assert torch.equal(agent.memory, other.memory)


@pytest.mark.parametrize("block", [Linear(5, 3), ReLU(), LayerNorm(5), Residual(5)], ids=repr)
def test_a_block_computes_the_same_by_either_kind_of_operations(block: Block) -> None:
    network = Network((("block", block),))
    vector = torch.randn(network.size, generator=torch.Generator().manual_seed(3))
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(4))
    parameters = network.unpack(vector)
    expected = block.bind(TorchOperations, parameters, "block")(x)
    forward = network.in_numpy(vector)
    found = np.stack([forward(row) for row in x.numpy()])
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)
    public = [{name for name in vars(ops) if name[0] != "_"} for ops in (NumpyOperations, TorchOperations)]
    # what one has the other has too, but for what encoders call, which act in torch
    assert public[0] == public[1] - {"convolve", "float32"}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (obstacle := compile_obstacle()) is not None:
        pytest.skip(obstacle)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    recorded, compiled = made(), made()
    compile_update(made(), 32)
    choice = choose(compiled, 32, compiled=True)
    assert choice.how == COMPILED
    compiled.run_update = choice.update
    replay, data = ReplayBuffer(100, SCHEMA), make_batch(100)
    replay.extend(*(field.numpy() for field in data[:4]), data.discount.numpy() == 0, np.zeros(100))
    for one in (recorded, compiled):
        rng = np.random.default_rng(0)
        for _ in range(3):
            one.update(replay.sample(32, rng))
    torch.testing.assert_close(compiled.state_dict(), recorded.state_dict(), rtol=1e-3, atol=2e-5)


def test_a_compiled_update_is_found_again_only_for_the_same_code_and_sizes() -> None:
    agent = made()
    assert Path(__file__) in sources(agent)  # of the block inside a network inside the algorithm
    paths = {
        compiled_path(agent, 32),
        compiled_path(agent, 33),
        compiled_path(made("cql"), 32),
        compiled_path(SACAgent(SCHEMA, SMALL), 32),
        compiled_path(SACAgent(SCHEMA, replace(SMALL, tau=0.3)), 32),
        compiled_path(SACAgent(SCHEMA, SMALL, algorithms={"cql": {"cql_lagrange": 1.0}}), 32),
    }
    assert len(paths) == 6
    assert compiled_path(SACAgent(SCHEMA, replace(SMALL, actor_lr=0.3)), 32) in paths  # a number, no code
