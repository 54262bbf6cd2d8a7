"""People who act in place of the policy: what is stored, drawn and written of it, and the page they do it by."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from person import AtThePage, Person, PersonsHand
from test_by_hand import until
from test_watching import Page, first_visit, named
from toy_envs import Helped

from envs.backends.base import CONTROL_TIMESTEP
from sac_dist.acting.environment import make_env
from sac_dist.acting.episode import EnvironmentFault
from sac_dist.acting.interventions import Corrections, TakenOver
from sac_dist.algorithms.agent import SACAgent
from sac_dist.cli import main as cli
from sac_dist.data.dataset import DataSet
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.sampler import Batches
from sac_dist.data.schema import Field, Schema
from sac_dist.data.transitions import Transitions
from sac_dist.engine.control import Control
from sac_dist.engine.corrected import CorrectionsFile, settle_interventions
from sac_dist.engine.member import EpisodeDone, Task
from sac_dist.engine.train import resume, train
from sac_dist.engine.worker import Worker
from sac_dist.formats import files
from sac_dist.formats.editing import edited
from sac_dist.settings import AgentConfig, Config, ConfigError, DataConfig, EnvConfig, TrainConfig

pytestmark = pytest.mark.timeout(120)
AGENT = AgentConfig(hidden_width=16, hidden_depth=1)
TRAIN = TrainConfig(
    workers=1, steps=100, warmup_steps=10**6, batch_size=8, buffer_size=500, interventions=True
)
HELPED = EnvConfig("toy_envs:Helped-v0")
LIFT = EnvConfig("SawyerLift-v0", {"backend": "mujoco"}, horizon=120)


# What an environment says


def test_the_action_that_a_person_took_is_read_in_the_agents_scale():
    env = make_env(HELPED)
    corrections = Corrections(env)
    assert corrections.taken({}) is None and corrections.taken({"is_intervention": False}) is None
    said = {"is_intervention": True, "teleop_action": np.array([1.0, -5.0])}
    assert corrections.taken(said).tolist() == [0.5, -1.0]
    assert corrections.taken({"is_intervention": True, "action_intervention": [2, 0]}).tolist() == [1.0, 0.0]
    for wrong in (None, [1.0], [np.nan, 0.0], "left"):
        with pytest.raises(
            EnvironmentFault, match="teleop_action has to be the action that was taken, 2 numbers"
        ):
            corrections.taken({"is_intervention": True, "teleop_action": wrong})


def test_an_arm_is_taken_over_and_let_go():
    hand = PersonsHand(Person(0))
    bare, env = make_env(LIFT), make_env(LIFT)
    env = TakenOver(env, hand, 1, lambda: None)
    reader = Corrections(env)
    still = np.zeros(8, np.float32)
    for seed in range(2):
        first = [each.reset(seed=seed)[0] for each in (bare, env)]
        np.testing.assert_array_equal(*first)
        for _ in range(5):
            steps = [each.step(still) for each in (bare, env)]
            np.testing.assert_array_equal(steps[0][0], steps[1][0])
            assert reader.taken(steps[1][4]) is None, "who does not attend does not act"
    hand.attend(1)
    hand.hold(np.zeros(6), 1.0, True)
    began = time.monotonic()
    for _ in range(4):
        hand.hold(np.zeros(6), 1.0, True)
        taken = reader.taken(env.step(still)[4])
        assert taken is not None and taken.any()
    assert time.monotonic() - began > 2 * CONTROL_TIMESTEP, "at the speed of the real robot"
    hand.let_go()
    assert reader.taken(env.step(still)[4]) is None
    bare.close()
    env.close()


# What is stored


def played(steps: int = 60):
    """A worker's replay, corrections and messages."""
    ours, theirs = multiprocessing.Pipe()
    schema = Schema.vector(2, 2)
    config = Config(HELPED, AGENT, TRAIN)
    replay, corrections = (ReplayBuffer(500, schema).for_shard(0) for _ in range(2))
    agent, control = SACAgent(schema, AGENT, algorithms=config.algorithms), Control(1)
    worker = Worker(theirs, Task(0, 0, config, agent, replay, None, control, None, corrections=corrections))
    worker.enter(worker.due())
    while len(replay) < steps:
        worker.online()
    messages = []
    while ours.poll():
        messages.append(ours.recv())
    worker.close()
    return schema, replay, corrections, messages


def test_both_buffers_hold_what_a_person_did():
    schema, replay, corrections, messages = played()
    rows, theirs = (each.snapshot().rows for each in (replay, corrections))
    env = Helped()
    for row in rows:
        parts = schema.views(row)
        env.place, env.steps = parts["observation"], 0
        # the row's action is the one that led to its next observation
        np.testing.assert_allclose(env.step(2 * parts["action"])[0], parts["next_observation"], atol=1e-6)
    known = {row.tobytes() for row in rows}
    assert len(theirs) > 5 and all(row.tobytes() in known for row in theirs)
    episodes = [message.episode for message in messages if isinstance(message, EpisodeDone)]
    assert sum(episode.intervened for episode in episodes) == len(theirs)
    starts = corrections.snapshot().begins()
    lengths = np.diff(np.append(starts, len(theirs)))
    assert lengths.max() == 3 and len(starts) == sum(episode.length > 2 for episode in episodes)


def test_each_batch_has_its_share_of_data_and_corrections():
    schema, replay, corrections, _ = played(200)
    rng = np.random.default_rng(0)
    theirs = {row.tobytes() for row in corrections.snapshot().rows}
    agent = AgentConfig()

    def share(data, ratio, size=100, draws=20):
        batches = Batches(
            replay, data, DataConfig(demos=("x",), demo_ratio=ratio), size, agent, corrections=corrections
        )
        drawn = [batches.online(0, rng) and batches._rows[:size].copy() for _ in range(draws)]
        return np.mean([row.tobytes() in theirs for rows in drawn for row in rows])

    of_replay = len(theirs) / len(replay)
    assert share(None, 0.0) == pytest.approx(of_replay, abs=0.05)
    assert share(None, 0.5, size=60) == pytest.approx(0.5 + 0.5 * of_replay, abs=0.05)
    assert share(None, 1.0, size=30) == 1.0
    few = ReplayBuffer(10, schema).for_shard(0)
    few.append(corrections.snapshot().rows[:3], np.array([0]))
    assert Batches(replay, None, DataConfig(), 100, agent, corrections=few)._from_data(0, rng, 3) == 3
    rows = np.full((len(theirs), schema.row_width), 7.0, np.float32)
    rows[:, schema.columns["truncated"]] = 1.0
    demos = DataSet(Transitions(schema, rows, np.arange(len(rows))), agent)
    assert share(demos, 0.5) == pytest.approx(0.25 + 0.5 * of_replay, abs=0.05)


def test_the_file_of_corrections_comes_back_as_it_was(tmp_path):
    schema, _, corrections, _ = played()
    kept = CorrectionsFile(tmp_path / "i.npz", HELPED)
    kept.write(corrections)
    written = (tmp_path / "i.npz").stat().st_mtime_ns
    kept.write(corrections)
    assert (tmp_path / "i.npz").stat().st_mtime_ns == written, "there was nothing new"
    demos = files.read(tmp_path / "i.npz")
    assert demos.is_intervention.all() and demos.source["policy"] == "human"
    again = ReplayBuffer(500, schema).for_shard(0)
    CorrectionsFile(tmp_path / "i.npz", HELPED).restore(again)
    before, after = corrections.snapshot(), again.snapshot()
    np.testing.assert_array_equal(before.begins(), after.begins())
    whose = np.arange(schema.row_width) != schema.columns["truncated"]
    np.testing.assert_array_equal(before.rows[:, whose], after.rows[:, whose])


@pytest.mark.parametrize("kind", [".npz", ".hdf5"])
def test_files_keep_who_acted(kind, tmp_path):
    _, replay, _, _ = played()
    segment = replay.snapshot()
    demos = Transitions(replay.schema, segment.rows, segment.begins())
    demos.rows[demos.ends - 1, demos.schema.columns["truncated"]] = 1.0
    marks = np.arange(len(demos)) % 3 == 0
    demos = Transitions(demos.schema, demos.rows, demos.starts, is_intervention=marks)
    files.write(demos, tmp_path / f"x{kind}")
    read = files.read(tmp_path / f"x{kind}")
    np.testing.assert_array_equal(read.is_intervention, marks)
    some = edited(read, "1-2", None, "1:")
    kept = np.concatenate([np.arange(demos.starts[each] + 1, demos.ends[each]) for each in (1, 2)])
    np.testing.assert_array_equal(some.is_intervention, marks[kept])
    assert Transitions.concatenate([read, some]).is_intervention.sum() == marks.sum() + marks[kept].sum()


# What is refused


def test_who_can_act_is_settled_before_a_run():
    config, schema = Config(EnvConfig("Pendulum-v1"), AGENT, TRAIN), Schema.vector(3, 1)
    stacked = Schema((Field("camera", (8, 8, 3), "uint8", stack=3),), 1)
    with pytest.raises(ConfigError, match="leave out --frame-stack"):
        settle_interventions(config, True, stacked)
    with pytest.raises(ConfigError, match="Pendulum-v1 has no arm that people can steer"):
        settle_interventions(config, False, schema)
    assert settle_interventions(config, True, schema) == (config, None)
    assert settle_interventions(Config(LIFT, AGENT, TRAIN), False, schema)[0].train.watch
    line = settle_interventions(Config(HELPED), True, schema)[1]
    assert "give --interventions" in line


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--engine", "ray"], "--engine ray and --interventions contradict each other"),
        (["--demos", "x.npz", "--demo-mode", "prefill"], "interventions and demo_mode prefill contradict"),
    ],
)
def test_mistakes_are_told_in_a_line(flags, reason, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["--train", "--interventions", *flags]) == 2
    assert reason in capsys.readouterr().err.splitlines()[-1] and not list(tmp_path.iterdir())


# Runs


def rows_of(folder) -> list[dict[str, str]]:
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_run_with_a_person_is_written_read_and_gone_on_with(tmp_path):
    config = Config(
        HELPED,
        AGENT,
        TrainConfig(
            workers=2, steps=1500, warmup_steps=100, batch_size=16, buffer_size=5000, interventions=True,
            eval_interval=0, compile="off", video=False, run_dir=str(tmp_path / "run"),
        ),
    )  # fmt: skip
    run = train(config, quiet=True)
    theirs, replay = files.read(run.folder.interventions), files.read(run.folder.path)
    assert theirs.is_intervention.all() and len(theirs) > 300
    assert replay.is_intervention.sum() == len(theirs)
    rates = [float(row["intervention_rate"]) for row in rows_of(run.folder.path) if row["intervention_rate"]]
    assert rates and all(0.1 < rate < 1 for rate in rates)
    files.write(replay, tmp_path / "r.npz")
    assert files.read(tmp_path / "r.npz").is_intervention.sum() == len(theirs)
    more = resume(
        run.folder.path,
        Config(HELPED, AGENT, TrainConfig(**{**vars(config.train), "steps": 2500})),
        quiet=True,
    )
    longer = files.read(more.folder.interventions)
    assert len(longer) > len(theirs)


class Corrected(Page):
    """Visits the page of a run with interventions."""

    def __init__(self, visit) -> None:
        super().__init__(lambda page, url: visit(page, url.rstrip("·")))


def corrected_run(tmp_path, visit, **train_settings):
    config = Config(
        LIFT,
        AGENT,
        TrainConfig(
            **{
                **dict(
                    workers=1,
                    steps=10**6,
                    warmup_steps=10**6,
                    buffer_size=200_000,
                    compile="off",
                    video=False,
                ),
                **dict(success_target=None, eval_interval=0, interventions=True, watch_port=18_800),
                **dict(run_dir=str(tmp_path / "run")),
                **train_settings,
            }
        ),
    )
    page = Corrected(visit)
    run = train(config, quiet=True, sinks=[page], callbacks=[page])
    if page.error is not None:
        raise page.error
    return run, page.lines


@pytest.mark.slow
def test_a_person_takes_over_by_the_page(tmp_path):
    def visit(page, url):
        with first_visit(url):
            person = AtThePage(url, Person(5), takes_over=True)
            person.start()
            until(lambda: person.states.count("success") >= 1 or person.error, 60)
            (worker,) = named("worker-0")
            os.kill(worker, signal.SIGKILL)
            before = person.states.count("success")
            until(lambda: person.states.count("success") > before or person.error, 60)
            assert person.last["trains"] and person.last["steers"]
            person.leave()
            time.sleep(1.5)  # the worker goes on at its own speed

    run, lines = corrected_run(tmp_path, visit)
    assert any("steer it: http://127.0.0.1:" in line for line in lines)
    assert any(line.startswith("worker-0 was killed by SIGKILL; restarting") for line in lines)
    theirs, replay = files.read(run.folder.interventions), files.read(run.folder.path)
    assert len(theirs) > 60 and theirs.terminated.sum() >= 2, "lifts by a person"
    assert replay.is_intervention.sum() == len(theirs) < len(replay) / 2
    rates = [row.get("intervention_rate") for row in rows_of(run.folder.path)]
    assert any(rate and float(rate) > 0 for rate in rates)


@pytest.mark.slow
def test_strangers_at_the_page_stop_no_training_and_do_not_act(tmp_path):
    def visit(page, url):
        from person import at_the_hand

        first_visit(url).__exit__()
        for garbage in (b"\x00", "}{", json.dumps({"keys": [1]})):
            stranger = at_the_hand(url)
            stranger.send(garbage)
        crowd = [at_the_hand(url) for _ in range(20)]
        until(lambda: page.run is not None)
        time.sleep(1.0)
        for one in crowd:
            one.close()
        time.sleep(1.0)

    run, lines = corrected_run(tmp_path, visit)
    assert not run.folder.interventions.exists() and not [line for line in lines if "restarting" in line]
    assert len(files.read(run.folder.path)) > 500
