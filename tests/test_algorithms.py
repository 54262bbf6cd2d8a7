"""Algorithms as entries: one of the user's, in examples/own_algorithm.py, from settings to a resumed run."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from examples.own_algorithm import SparseQ, SparseQSettings
from sac_dist import SACAgent
from sac_dist.acting.recording import record
from sac_dist.algorithms.base import Group
from sac_dist.algorithms.sac import SAC
from sac_dist.cli.main import parse
from sac_dist.data.batch import Batch
from sac_dist.data.dataset import DataSet
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.sampler import Batches
from sac_dist.data.schema import Schema
from sac_dist.engine.train import resume, train
from sac_dist.execution.choose import COMPILED, RECORDED, choose
from sac_dist.execution.compiled import compile_obstacle, compile_update
from sac_dist.formats import files
from sac_dist.settings import (
    AgentConfig,
    Config,
    ConfigError,
    CQLSettings,
    DataConfig,
    EnvConfig,
    TrainConfig,
)
from sac_dist.settings.algorithms import ALGORITHMS, load, register, routed
from sac_dist.storage import checkpoint

NAME = "examples.own_algorithm:SparseQ"
SHIPPED = Path(__file__).parent.parent / "demons_data" / "SawyerGrasp-v0-expert.npz"
SMALL = AgentConfig(hidden_width=16, critic_lr=3e-3, actor_lr=3e-3)
pytestmark = pytest.mark.timeout(120)


def learner(schema: Schema, config: AgentConfig = SMALL, seed: int = 0, **own: float) -> SACAgent:
    agent = SACAgent(schema, config, seed, {NAME: SparseQSettings(**own)})
    agent.use(NAME)
    return agent


# An algorithm of one's own


def test_it_learns_which_of_the_datas_actions_are_good() -> None:
    """A single step: half of the data goes left for nothing, half goes right and is paid."""
    rng, size = np.random.default_rng(0), 64
    right = torch.from_numpy(rng.random((size, 1)) < 0.5)
    action = torch.where(right, 0.6, -0.6)
    state = torch.from_numpy(rng.normal(size=(size, 2)).astype(np.float32))
    reward = right.float().flatten()
    batch = Batch(state, action, reward, state, torch.zeros(size))
    agent = learner(Schema.vector(2, 1), sparse_alpha=0.1)
    for _ in range(400):
        agent.update(batch)
    actions = [float(agent.act(observation, deterministic=True)[0]) for observation in state.numpy()]
    assert np.mean(actions) > 0.4  # where cloning would go to 0


def test_it_trains_on_demonstrations_is_saved_and_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    demos = files.read(SHIPPED)
    schema = Schema.vector(demos.observation.shape[1], demos.action.shape[1])
    config = Config(
        agent=SMALL, data=DataConfig(algo=NAME), algorithms={NAME: SparseQSettings(sparse_alpha=0.2)}
    )
    data = DataSet(demos, SMALL)
    replay = ReplayBuffer(1, schema)

    def updates(agent: SACAgent, rng: np.random.Generator, count: int) -> dict[str, float]:
        batches = Batches(replay, data, config.data, 64, config.agent)
        metrics = [agent.update(batches.offline(rng)) for _ in range(count)]
        return {name: value.item() for name, value in metrics[-1].items()}

    agent, rng = SACAgent(schema, SMALL, algorithms=config.algorithms), np.random.default_rng(0)
    agent.use(NAME)
    assert choose(agent, 64).how == RECORDED
    first = updates(agent, rng, 1)
    last = updates(agent, rng, 60)
    assert last["actor_loss"] < first["actor_loss"] and last["q_mean"] > first["q_mean"]
    assert agent.state_dict()["state_value.step"] == 61 and agent.state_dict()["log_alpha.step"] == 0

    checkpoint.save_policy(tmp_path / "policy.safetensors", agent, config, {})
    saved = checkpoint.read(tmp_path / "policy.safetensors")
    again = saved.build_agent()
    again.use(NAME)
    assert again.algorithm == agent.algorithm and again.algorithm.settings.sparse_alpha == 0.2
    again.set_rng_state(agent.rng_state())
    seeds = [np.random.default_rng(5) for _ in range(2)]
    assert updates(agent, seeds[0], 5) == updates(again, seeds[1], 5)
    assert torch.equal(agent.memory, again.memory)


@pytest.mark.slow
def test_a_run_of_it_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    demos = tmp_path / "demos.npz"
    files.write(record(EnvConfig("toy_envs:Point-v0"), "random", 8), demos)

    def config(name: str, updates: int) -> Config:
        return Config(
            EnvConfig("toy_envs:Point-v0"),
            SMALL,
            TrainConfig(
                workers=1, batch_size=8, eval_interval=0, compile="off", run_dir=str(tmp_path / name)
            ),
            DataConfig(offline=(str(demos),), algo=NAME, offline_steps=updates),
            algorithms={NAME: SparseQSettings(sparse_alpha=0.2)},
        )

    for name, updates in (("whole", 30), ("half", 15)):
        train(config(name, updates), quiet=True)
    half = checkpoint.read(tmp_path / "half" / "checkpoints" / "last.safetensors").config
    assert half.algorithms[NAME] == {"sparse_alpha": 0.2}  # read, and nothing imported
    resume(tmp_path / "half", replace(half, data=replace(half.data, offline_steps=30)), quiet=True)
    whole, resumed = (
        checkpoint.read(tmp_path / name / "checkpoints" / "last.safetensors") for name in ("whole", "half")
    )
    assert whole.agent["state_value.step"] == 30 and whole.agent.keys() == resumed.agent.keys()
    for name, tensor in whole.agent.items():
        assert torch.equal(tensor, resumed.agent[name]), name


def test_an_agent_holds_what_each_of_its_algorithms_trains() -> None:
    schema = Schema.vector(3, 2)
    agent = SACAgent(
        schema, SMALL, algorithms={"cql": CQLSettings(cql_lagrange=1.0), NAME: SparseQSettings()}
    )
    assert list(agent.tensors.groups) == ["critics", "policy", "log_alpha", "log_weight", "state_value"]
    batch = Batch(torch.zeros(8, 3), torch.zeros(8, 2), torch.zeros(8), torch.zeros(8, 3), torch.zeros(8))
    for algorithm in ("bc", "cql", NAME, "sac"):
        agent.use(algorithm)
        agent.update(batch)
    #                       bc cql own sac
    assert agent.tensors.steps.tolist() == [3, 4, 3, 1, 1]


def test_an_agent_without_a_group_refuses_the_algorithm_that_trains_it() -> None:
    with pytest.raises(ConfigError, match="this agent has no state_value: make it with algorithms="):
        SACAgent(Schema.vector(3, 2), SMALL).use(NAME)


def test_two_algorithms_that_mean_different_networks_by_one_name_are_refused() -> None:
    @dataclass(frozen=True)
    class Other(SAC):
        @property
        def groups(self) -> tuple[Group, ...]:
            return (*super().groups, Group("state_value", 1e-3))  # a number where SparseQ has a network

    setattr(sys.modules[__name__], "Other", Other)  # noqa: B010
    algorithms: dict[str, Any] = {NAME: SparseQSettings(), f"{__name__}:Other": {}}
    with pytest.raises(ConfigError, match="another network as its group state_value"):
        SACAgent(Schema.vector(3, 2), SMALL, algorithms=algorithms)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (obstacle := compile_obstacle()) is not None:
        pytest.skip(obstacle)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    schema, rng = Schema.vector(3, 2), np.random.default_rng(0)
    replay = ReplayBuffer(100, schema)
    widths = (3, 2, 1, 3)
    replay.extend(*(rng.uniform(-1, 1, (100, width)).squeeze() for width in widths), *np.zeros((2, 100)))
    recorded, compiled = learner(schema), learner(schema)
    compile_update(learner(schema), 32)
    choice = choose(compiled, 32, compiled=True)
    assert choice.how == COMPILED
    compiled.run_update = choice.update
    for one in (recorded, compiled):
        draws = np.random.default_rng(1)
        for _ in range(3):
            one.update(replay.sample(32, draws))
    torch.testing.assert_close(compiled.state_dict(), recorded.state_dict(), rtol=1e-3, atol=5e-5)


# Names and settings


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "give one of sac, cql, iql"),
        ("no_such_module:X", "does not load: ModuleNotFoundError"),
        ("examples.own_algorithm:Nothing", "does not load: AttributeError"),
        ("examples.own_algorithm:SparseQSettings", "is no algorithm"),
    ],
)
def test_what_names_no_algorithm_is_refused_in_a_line(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load(name)
    assert "\n" not in str(error.value)


def test_a_name_can_be_registered_and_taken_once() -> None:
    assert (
        ALGORITHMS["sparseq"].settings is SparseQSettings and load("sparseq") is SparseQ
    )  # examples/own_algorithm.py does
    register("sparseq", NAME, SparseQSettings)
    for name in ("sac", "a:b"):
        with pytest.raises(ConfigError, match="cannot name an algorithm"):
            register(name, NAME)
    assert DataConfig(algo="sparseq").algo == "sparseq"
    with pytest.raises(ConfigError, match="online_algo is 'q'"):
        DataConfig(online_algo="q")


def test_flags_of_an_algorithm_reach_its_settings() -> None:
    phases = ["--train", "--demos", "x", "--offline-steps", "9", "--algo", NAME, "--online-algo", "cql"]
    given = parse([*phases, "--sparse-alpha", "0.7", "--cql-weight", "2"])
    settings = {name: given[name] for name in ("sparse_alpha", "cql_weight")}
    assert routed(settings, NAME) == {
        NAME: SparseQSettings(sparse_alpha=0.7),
        "cql": CQLSettings(cql_weight=2.0),
    }
    assert not settings


def test_a_file_can_name_the_algorithm_and_its_settings(tmp_path: Path) -> None:
    config = Config(data=DataConfig(algo=NAME), algorithms={NAME: SparseQSettings(sparse_alpha=0.7)})
    flat = config.flat()
    assert flat["sparse_alpha"] == 0.7 and "algorithms" not in flat
    assert set(Config().algorithms) == {"cql", "sac"}  # those in use, not all that somebody has registered
    (tmp_path / "settings.yaml").write_text(f"algo: {NAME}\nsparse_alpha: 0.7\n")
    assert parse(["--offline", "x", "--config", str(tmp_path / "settings.yaml")])["sparse_alpha"] == 0.7


def test_settings_of_version_0_1_0_are_routed_to_cql() -> None:
    config = Config.from_dict({"agent": {"hidden_width": 8, "cql_weight": 2.0, "cql_lagrange": 1.0}})
    assert config.algorithms["cql"] == CQLSettings(cql_weight=2.0, cql_lagrange=1.0)
    assert config.agent.hidden_width == 8 and Config.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="cql_weight is -1"):
        Config.from_dict({"agent": {"cql_weight": -1}})
    with pytest.raises(ConfigError, match="unknown setting 'cql_wait' of cql"):
        Config.from_dict({"algorithms": {"cql": {"cql_wait": 1}}})


def test_reading_a_configuration_imports_no_algorithm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "someones_algorithm.py").write_text("raise SystemExit('it ran')\n")
    monkeypatch.syspath_prepend(tmp_path)
    parts = {"data": {"algo": "someones_algorithm:X"}, "algorithms": {"someones_algorithm:X": {"a": 1}}}
    config = Config.from_dict(parts)
    assert config.algorithms["someones_algorithm:X"] == {"a": 1} and "someones_algorithm" not in sys.modules


@pytest.mark.parametrize("demo_mode", ["mix", "append"])
def test_returns_to_go_go_to_those_who_need_them(demo_mode: str) -> None:
    data = DataConfig(demos=("x",), offline_steps=1, demo_mode=demo_mode)  # type: ignore[arg-type]
    cal_ql = {"cql": CQLSettings(cal_ql=True)}
    assert Config(data=data).calibrated == frozenset()
    assert Config(data=data, algorithms=cal_ql).calibrated == {"cql"}
    assert Config(data=replace(data, algo=NAME), algorithms=cal_ql).calibrated == frozenset()
    if demo_mode == "append":
        with pytest.raises(ConfigError, match="cal_ql in the online phase"):
            Config(data=replace(data, online_algo="cql"), algorithms=cal_ql)
