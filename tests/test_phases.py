"""Transitions and offline phases through the whole engine: real processes, real files."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_files import changed

from sac_dist.acting.recording import record
from sac_dist.algorithms.agent import SACAgent
from sac_dist.cli.main import main
from sac_dist.data.dataset import DataSet, returns_to_go
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.sampler import Batches
from sac_dist.data.schema import Schema
from sac_dist.data.transitions import Transitions
from sac_dist.engine.control import STEPS, Control
from sac_dist.engine.member import Task
from sac_dist.engine.phases import CLONING, OFFLINE, ONLINE, due, phases, policy_share
from sac_dist.engine.train import resume, train
from sac_dist.engine.worker import Worker
from sac_dist.formats import files
from sac_dist.reporting.metrics import read_metrics
from sac_dist.settings import (
    AgentConfig,
    Config,
    ConfigError,
    CQLSettings,
    DataConfig,
    EnvConfig,
    TrainConfig,
)
from sac_dist.storage import checkpoint

ENV = "toy_envs:Point-v0"
AGENT = AgentConfig(hidden_width=16)
GAMMA = AgentConfig(discount=0.98)
CQL = CQLSettings(cql_samples=2)
TRAIN = TrainConfig(
    workers=1,
    steps=60,
    warmup_steps=20,
    update_ratio=1.0,
    batch_size=8,
    eval_interval=0,
    compile="off",
    buffer_size=500,
)
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def recorded() -> Transitions:
    return record(EnvConfig(ENV), "random", 12)


@pytest.fixture
def demos(recorded: Transitions, tmp_path: Path) -> str:
    files.write(recorded, tmp_path / "demos.npz")
    return str(tmp_path / "demos.npz")


def run(
    tmp_path: Path,
    data: DataConfig,
    name: str = "run",
    agent: AgentConfig = AGENT,
    cql: CQLSettings = CQL,
    **settings: object,
) -> checkpoint.Checkpoint:
    """A finished run's last checkpoint."""
    settings = {"run_dir": str(tmp_path / name)} | settings
    training = replace(TRAIN, **settings)  # type: ignore[arg-type]
    train(Config(EnvConfig(ENV), agent, training, data, algorithms={"cql": cql}), quiet=True)
    return checkpoint.read(tmp_path / name / "checkpoints" / "last.safetensors")


def counters(saved: checkpoint.Checkpoint) -> list[int]:
    """Environment steps, updates, episodes, offline updates."""
    assert saved.run is not None
    return saved.run["counters"]


# When


def test_phases_come_in_their_order() -> None:
    data = DataConfig(demos=("x",), bc_steps=5, offline_steps=10, offline_every=100)
    places = [
        (0, 0),
        (0, 4),
        (0, 5),
        (0, 14),
        (0, 15),
        (99, 15),
        (100, 15),
        (100, 24),
        (100, 25),
        (250, 25),
        (250, 35),
    ]
    expected = [CLONING, CLONING, OFFLINE, OFFLINE, ONLINE, ONLINE, OFFLINE, OFFLINE, ONLINE, OFFLINE, ONLINE]
    assert [due(data, *place) for place in places] == expected
    offline = DataConfig(offline=("x",), offline_steps=10)
    assert [due(offline, 0, n) for n in (0, 9, 10)] == [OFFLINE, OFFLINE, None]
    assert due(DataConfig(), 0, 0) == ONLINE


def test_each_phase_has_its_algorithm_and_batch() -> None:
    data = DataConfig(demos=("x",), bc_steps=5, offline_steps=10, algo="cql", demo_mode="append")
    found = phases(Config(train=TRAIN, data=data), data_size=30)
    assert found == {CLONING: ("bc", 8), OFFLINE: ("cql", 8), ONLINE: ("sac", 38)}
    assert set(phases(Config(train=TRAIN, data=DataConfig(offline=("x",), offline_steps=1)), 30)) == {OFFLINE}


# Batches


def rows_from(batch: object, tag: float) -> int:
    return int((batch.reward == tag).sum())  # type: ignore[attr-defined]


def transitions(*arrays: np.ndarray) -> Transitions:
    names = ("observation", "action", "reward", "next_observation", "terminated", "truncated")
    return Transitions.of_arrays(dict(zip(names, arrays, strict=True)))


@pytest.fixture
def mixture() -> tuple[ReplayBuffer, DataSet]:
    """A replay of 300 transitions with reward 1, and data of 100 with reward 2."""
    replay = ReplayBuffer(500, Schema.vector(2, 2))
    replay.extend(
        np.zeros((300, 2)), np.zeros((300, 2)), np.ones(300), np.zeros((300, 2)), np.zeros(300), np.zeros(300)
    )
    zeros = np.zeros((100, 2), np.float32)
    ends = np.arange(100) % 10 == 9
    return replay, DataSet(transitions(zeros, zeros, np.full(100, 2), zeros, ends, np.zeros(100)), AGENT)


def test_a_mixed_batch_has_its_share_of_demonstrations_annealed_to_none(
    mixture: tuple[ReplayBuffer, DataSet],
) -> None:
    batches = Batches(*mixture, DataConfig(demos=("x",), demo_ratio=0.25, demo_anneal=1000), 40, GAMMA)
    rng = np.random.default_rng(0)
    assert [rows_from(batches.online(steps, rng), 2) for steps in (0, 500, 1000, 5000)] == [10, 5, 0, 0]
    assert rows_from(batches.online(0, rng), 1) == 30


def test_prefilled_demonstrations_are_drawn_as_if_they_lay_in_the_buffer(
    mixture: tuple[ReplayBuffer, DataSet],
) -> None:
    batches, rng = (
        Batches(*mixture, DataConfig(demos=("x",), demo_mode="prefill"), 40, GAMMA),
        np.random.default_rng(0),
    )
    share = np.mean([rows_from(batches.online(0, rng), 2) for _ in range(300)]) / 40
    assert share == pytest.approx(0.25, abs=0.02)  # 100 of 400


def test_append_adds_the_whole_file_to_each_batch(mixture: tuple[ReplayBuffer, DataSet]) -> None:
    batches, rng = (
        Batches(*mixture, DataConfig(demos=("x",), demo_mode="append"), 40, GAMMA),
        np.random.default_rng(0),
    )
    for _ in range(3):
        batch = batches.online(0, rng)
        assert len(batch.reward) == 140 and rows_from(batch, 1) == 40 and rows_from(batch, 2) == 100


def test_an_offline_batch_is_of_data_alone_until_there_is_a_replay(
    mixture: tuple[ReplayBuffer, DataSet],
) -> None:
    replay, data = mixture
    rng, config = np.random.default_rng(0), DataConfig(demos=("x",), offline_steps=1)
    assert (
        rows_from(Batches(ReplayBuffer(5, Schema.vector(2, 2)), data, config, 40, GAMMA).offline(rng), 2)
        == 40
    )
    assert rows_from(Batches(replay, data, config, 40, GAMMA).offline(rng), 2) == 20


def test_calibration_knows_no_return_of_the_replay(mixture: tuple[ReplayBuffer, DataSet]) -> None:
    config = DataConfig(demos=("x",), offline_steps=1, online_algo="cql")
    batches, rng = Batches(*mixture, config, 40, GAMMA, calibrated={"cql"}), np.random.default_rng(0)
    for batch in (batches.online(0, rng), batches.offline(rng)):
        assert batch.return_to_go is not None
        assert torch.equal(batch.return_to_go > -np.inf, batch.reward == 2)


def test_returns_to_go_are_discounted_scaled_and_unknown_behind_a_time_limit() -> None:
    zeros = np.zeros((5, 2), np.float32)
    ends = np.array([0, 0, 1, 0, 0], bool), np.array([0, 0, 0, 0, 1], bool)
    demos = transitions(zeros, zeros, np.array([1, 2, 3, 4, 5]), zeros, *ends)
    config = AgentConfig(discount=0.5, reward_scale=2.0, reward_bias=1.0)  # rewards 3 5 7 9 11
    assert returns_to_go(demos, config).tolist() == [
        3 + 0.5 * (5 + 0.5 * 7),
        5 + 0.5 * 7,
        7,
        -np.inf,
        -np.inf,
    ]
    data = DataSet(demos, config)
    replay = ReplayBuffer(5, Schema.vector(2, 2))
    batch = Batches(replay, data, DataConfig(offline=("x",)), 50, GAMMA, calibrated={"cql"}).offline(
        np.random.default_rng(0)
    )
    assert batch.return_to_go is not None
    pairs = set(zip(batch.reward.tolist(), batch.return_to_go.tolist(), strict=True))
    assert pairs == {(1, 7.25), (2, 8.5), (3, 7), (4, -np.inf), (5, -np.inf)}


# Whole runs


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["cql", "sac", "bc"])
def test_offline_training_takes_no_environment_step(algo: str, demos: str, tmp_path: Path) -> None:
    saved = run(tmp_path, DataConfig(offline=(demos,), algo=algo, offline_steps=40), steps=None, workers=2)  # type: ignore[arg-type]
    steps, updates, episodes, offline = counters(saved)
    assert (steps, episodes) == (0, 0) and updates == offline and 40 <= offline <= 41
    fresh = checkpoint.Checkpoint(saved.agent, saved.schema, saved.config, {}).build_agent().state_dict()
    assert fresh["policy.step"] == offline and fresh["critics.step"] == (0 if algo == "bc" else offline)


@pytest.mark.slow
def test_an_offline_run_repeats_bit_for_bit_and_resumes_exactly(demos: str, tmp_path: Path) -> None:
    data = DataConfig(offline=(demos,), algo="cql", offline_steps=40)
    whole = run(tmp_path, data, "whole", steps=None)
    again = run(tmp_path, data, "again", steps=None)
    half = run(tmp_path, replace(data, offline_steps=15), "half", steps=None)
    resumed = replace(half.config, data=replace(half.config.data, offline_steps=40))
    resume(tmp_path / "half", resumed, quiet=True)
    continued = checkpoint.read(tmp_path / "half" / "checkpoints" / "last.safetensors")
    for name, tensor in whole.agent.items():
        assert torch.equal(tensor, again.agent[name]) and torch.equal(tensor, continued.agent[name]), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        DataConfig(demos=("x",), demo_mode="mix", demo_anneal=40),
        DataConfig(demos=("x",), demo_mode="prefill"),
        DataConfig(demos=("x",), demo_mode="prefill", demo_overwrite=True, bc_steps=5),
        DataConfig(demos=("x",), demo_mode="append", bc_steps=5),
    ],
    ids=["mix", "prefill", "overwrite", "append"],
)
def test_training_with_demonstrations(
    data: DataConfig, demos: str, recorded: Transitions, tmp_path: Path
) -> None:
    saved = run(
        tmp_path,
        replace(data, demos=(demos,)),
        workers=2,
        agent=replace(AGENT, layer_norm=True, critics=4, target_critics=2),
    )
    assert counters(saved)[0] >= 60 and counters(saved)[3] == pytest.approx(data.bc_steps, abs=1)
    assert saved.run is not None
    stored = sum(sum(segment["stop"]) - sum(segment["start"]) for segment in saved.run["replay"]["segments"])
    assert stored == counters(saved)[0] + (len(recorded) if data.demo_overwrite else 0)


@pytest.mark.slow
def test_offline_then_online_then_offline_again(demos: str, tmp_path: Path) -> None:
    data = DataConfig(demos=(demos,), offline_steps=30, offline_every=25)
    saved = run(tmp_path, data, eval_interval=20)
    steps, updates, _, offline = counters(saved)
    assert offline == 30 * (1 + steps // 25) == 90 and updates == steps - 20 + offline
    best = checkpoint.read(tmp_path / "run" / "checkpoints" / "best.safetensors").info
    assert 0 < best["steps"] <= steps and 0 < best["offline_updates"] <= offline
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert int(rows[-1]["step"]) == steps + offline and int(rows[-1]["offline_updates"]) == offline


@pytest.mark.slow
def test_cal_ql_and_its_weight_run_through_the_engine(demos: str, tmp_path: Path) -> None:
    cql = replace(CQL, cal_ql=True, cql_lagrange=1.0)
    saved = run(tmp_path, DataConfig(demos=(demos,), offline_steps=30), cql=cql)
    assert saved.agent["log_weight.step"] == 30 and saved.agent["log_weight"] != np.log(5.0)
    data = DataConfig(demos=(demos,), offline_steps=30, offline_every=25, online_algo="cql")
    saved = run(tmp_path, data, "online", cql=cql)
    assert saved.agent["log_weight.step"] == counters(saved)[1] == 40 + 90


@pytest.mark.slow
@pytest.mark.parametrize("name", ["demos.hdf5", "demos.pickle", "minari:toy/demos-v0"])
def test_every_kind_of_file_trains(
    name: str, recorded: Transitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    path = name if name.startswith("minari:") else str(tmp_path / name)
    files.write(recorded, path)
    saved = run(tmp_path, DataConfig(offline=(path,), offline_steps=10), steps=None)
    native = run(
        tmp_path, DataConfig(offline=(demos_of(recorded, tmp_path),), offline_steps=10), "native", steps=None
    )
    assert all(torch.equal(tensor, native.agent[name]) for name, tensor in saved.agent.items())


def demos_of(recorded: Transitions, tmp_path: Path) -> str:
    files.write(recorded, tmp_path / "native.npz")
    return str(tmp_path / "native.npz")


@pytest.mark.slow
def test_a_run_learns_from_another_ones_replay(tmp_path: Path) -> None:
    run(tmp_path, DataConfig(), "online")
    saved = run(
        tmp_path, DataConfig(offline=(str(tmp_path / "online"),), offline_steps=10), "offline", steps=None
    )
    assert counters(saved)[3] == 10


@pytest.mark.slow
def test_a_policy_trained_offline_acts_from_the_first_step(recorded: Transitions, tmp_path: Path) -> None:
    files.write(changed(recorded, action=np.full_like(recorded.action, 0.9)), tmp_path / "one.npz")
    for name, updates in (("random", 0), ("trained", 400)):
        data = DataConfig(demos=(str(tmp_path / "one.npz"),), bc_steps=updates)
        run(tmp_path, data, name, agent=replace(AGENT, actor_lr=3e-3), steps=30, warmup_steps=30)
    means = {name: files.read(tmp_path / name).action.mean() for name in ("random", "trained")}
    assert abs(means["random"]) < 0.4 and means["trained"] > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["workers", "central"])
def test_after_an_offline_phase_the_policys_steps_rise_from_nothing(
    demos: str, tmp_path: Path, learner: str
) -> None:
    data = DataConfig(demos=(demos,), offline_steps=10, online_algo="cql")
    cql, saved = replace(CQL, cql_lagrange=1.0), {}
    for name, settings in {
        "no": {"steps": 1},
        "default": {},
        "late": {"actor_warmup_steps": 55},
        "off": {"actor_warmup_steps": 0},
    }.items():
        saved[name] = run(tmp_path, data, name, cql=cql, learner=learner, **settings).agent  # type: ignore[arg-type]

    def moved(name: str, tensor: str) -> float:
        return float((saved[name][tensor] - saved["no"][tensor]).abs().mean())

    for trained in ("policy.linear1.weight", "log_alpha"):
        assert moved("default", trained) == 0
        assert 0.1 * moved("off", trained) < moved("late", trained)
    for trained in ("critics.linear1.weight", "targets.linear1.weight", "log_weight"):
        assert moved("default", trained) > 0.5 * moved("off", trained)
    average = {
        name: torch.equal(tensors["policy.linear1.weight"], tensors["average.linear1.weight"])
        for name, tensors in saved.items()
    }
    assert average["default"] and not average["off"], "it goes on as what was evaluated"


@pytest.mark.parametrize("last", [0, 1])
def test_one_of_several_workers_makes_the_policy_its_average(
    recorded: Transitions, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    """Whoever makes the last offline update: each process did so, over what the others had trained since."""
    data = DataConfig(demos=("demos.npz",), offline_steps=4, offline_every=20)
    config = Config(EnvConfig(ENV), AGENT, replace(TRAIN, workers=2), data)
    schema = Schema.vector(2, 2)
    agent, control = SACAgent(schema, AGENT, algorithms=config.algorithms), Control(2)
    replay, dataset = ReplayBuffer(500, schema, 2), DataSet(recorded, AGENT)
    averaged: list[int] = []
    monkeypatch.setattr(SACAgent, "take_average", lambda agent: averaged.append(1))
    ours, theirs = multiprocessing.Pipe()
    workers = [
        Worker(theirs, Task(rank, 0, config, agent, replay.for_shard(rank), dataset, control, None))
        for rank in range(2)
    ]
    for phase in (1, 2):
        for turn in (0, 1, 1 - last, last):
            assert workers[turn].due() == OFFLINE and len(averaged) == phase - 1
            workers[turn].enter(OFFLINE)
            workers[turn].offline()
        for worker in workers[::-1]:
            assert worker.due() == ONLINE
            worker.enter(ONLINE)
        assert len(averaged) == phase
        for _ in range(20 if phase == 1 else 0):
            control.count(0, STEPS)
    ours.close()


def test_a_policy_that_data_trained_is_left_alone_at_first(demos: str) -> None:
    assert policy_share(Config(), 0) == policy_share(Config(data=DataConfig(demos=(demos,))), 0) == 1
    trained = Config(data=DataConfig(demos=(demos,), bc_steps=1))
    assert [policy_share(trained, steps) for steps in (0, 5000, 6000, 9000, 10_000, 20_000)] == [
        0,
        0,
        0.2,
        0.8,
        1,
        1,
    ]
    late = Config(train=TrainConfig(warmup_steps=80, actor_warmup_steps=100))
    assert [policy_share(late, steps) for steps in (80, 90, 100)] == [0, 0.5, 1]
    at_once = Config(train=TrainConfig(warmup_steps=100, actor_warmup_steps=100))
    assert [policy_share(at_once, steps) for steps in (99, 100)] == [0, 1]


# Refusals


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--offline DEMOS --steps 5", "--steps has no meaning with --offline"),
        ("--offline DEMOS --actor-warmup-steps 5", "--actor-warmup-steps has no meaning with --offline"),
        ("--train --actor-warmup-steps -1", "actor_warmup_steps"),
        ("--offline DEMOS --env Pendulum-v1", "observations of 2"),
        ("--train --offline-steps 5", "give --demos"),
        ("--train --demos DEMOS --offline-every 5", "offline_steps"),
        ("--train --demos DEMOS --demo-ratio 1.5", "demo_ratio is 1.5"),
        ("--train --demos DEMOS --demo-overwrite", "demo_overwrite is for demo_mode prefill"),
        (
            "--train --demos DEMOS --demo-mode prefill --demo-overwrite --buffer-size 20",
            "raise --buffer-size",
        ),
        (
            "--train --demos DEMOS --cal-ql --online-algo cql --demo-mode append",
            "for demo_mode mix or prefill",
        ),
        ("--train --demos missing.npz", "no such file: missing.npz"),
        ("--train --demos DEMOS --critics 3 --target-critics 4", "only 3 critics"),
        ("--train --demos DEMOS --critics 10 --target-critics 2 --batch-size 4", "at least 10"),
        ("--record-demos 3", "--out FILE"),
        ("--record-demos 0 --out x.npz", "it must be above 0"),
        ("--record-demos 3 --out DEMOS", "exists"),
        ("--record-demos 3 --out x.npz --workers 2", "--workers has no meaning with --record-demos"),
        ("--convert DEMOS x.doc", "cannot tell what kind"),
        ("--convert DEMOS nowhere/x.npz", "there is no folder nowhere"),
        ("--inspect missing.npz", "no such file"),
    ],
)
def test_refusals_are_one_line(
    flags: str,
    words: str,
    demos: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(flags.replace("DEMOS", demos).split()) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_demonstrations_of_another_reward_are_refused(recorded: Transitions, tmp_path: Path) -> None:
    source = {"env": {"env": ENV, "reward": "sparse"}}
    files.write(replace(recorded, source=source), tmp_path / "sparse.npz")
    with pytest.raises(ConfigError, match="recorded with reward sparse, this run has augmented"):
        run(tmp_path, DataConfig(demos=(str(tmp_path / "sparse.npz"),)))


# Commands


def test_record_inspect_and_convert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(["--record-demos", "3", "--env", ENV, "--policy", "random", "--out", "a.npz", "--seed", "4"])
        == 0
    )
    assert main(["--convert", "a.npz", "b.hdf5"]) == 0 and main(["--convert", "b.hdf5", "c.pickle"]) == 0
    assert main(["--convert", "a.npz", "a.pickle"]) == 0
    assert main(["--inspect", "a.npz", "a.pickle"]) == 0
    printed = capsys.readouterr().out
    for name in ("a.npz.png", "a.pickle.png"):  # one name, two files
        assert f"picture {name}" in printed and (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert np.array_equal(files.read("a.npz").action, files.read("c.pickle").action)
    assert main(["--convert", "a.npz", "b.hdf5"]) == 2


@pytest.mark.slow
def test_data_name_their_environment(
    recorded: Transitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files.write(recorded, "demos.npz")
    flags = "--offline demos.npz --offline-steps 5 --workers 1 --batch-size 4 --hidden-width 8 --compile off --run-dir run"
    assert main(flags.split()) == 0
    saved = checkpoint.read(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert saved.config.env.id == ENV and saved.config.data.offline == (str(tmp_path / "demos.npz"),)
    assert json.loads(json.dumps(saved.info))["offline_updates"] == 5
