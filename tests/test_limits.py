"""Time has limits: tasks without an end, videos, final evaluations, and signals in each phase of a run."""

import functools
import os
import signal
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_engine import assert_all_gone, config, descendants, policy_of, same, start, worker_ids

from sac_dist.acting.environment import make_env
from sac_dist.acting.evaluation import NoEpisodeEnded, evaluate
from sac_dist.acting.playback import film
from sac_dist.algorithms.agent import SACAgent
from sac_dist.data.schema import Schema
from sac_dist.engine import checkpointing, evaluations, showing
from sac_dist.engine.train import resume, train
from sac_dist.reporting.commands import command
from sac_dist.reporting.reporter import Reporter
from sac_dist.settings import EnvConfig
from sac_dist.storage import checkpoint
from sac_dist.storage.checkpoint import Checkpoint
from sac_dist.system.signals import STOPPING, StopSignals

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def flag():
    path = Path(os.environ["TOY_FLAG"])
    path.unlink(missing_ok=True)
    return path


def last_run(run) -> dict:
    return checkpoint.read(run.folder.last).run


# Tasks without an end


@pytest.mark.slow
def test_a_lone_worker_stops_at_its_budget_in_a_task_without_an_end(tmp_path):
    run = train(config(tmp_path, env="toy_envs:Endless-v0", steps=300, checkpoint_interval=100))
    assert (run.outcome.reason, run.outcome.steps, run.outcome.episodes) == ("steps", 300, 0)
    assert last_run(run)["exact"].startswith("step")


@pytest.mark.slow
def test_a_lone_worker_stops_when_its_time_is_up_in_a_task_without_an_end(tmp_path):
    run = train(config(tmp_path, env="toy_envs:EndlessSlow-v0", time=3.0))
    assert run.outcome.reason == "time" and run.outcome.episodes == 0 and run.outcome.steps > 20


@pytest.mark.slow
def test_an_evaluation_without_an_end_is_given_up_and_said(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(evaluations, "SHORTEST_LIMIT", 1.0)
    settings = {"env": "toy_envs:EndlessSlow-v0", "workers": 2, "steps": 300, "eval_interval": 10**6}
    run = train(config(tmp_path, **settings))
    assert run.outcome.evaluation is None
    errors = capfd.readouterr().err
    assert "the final policy was not measured: no episode ended within" in errors, errors
    assert "final policy: not measured" in errors


def test_what_ended_before_the_deadline_counts():
    env = make_env(EnvConfig("toy_envs:Slow-v0"))
    still = np.zeros(2, np.float32)
    found = evaluate(env, lambda observation: still, 1000, deadline=time.monotonic() + 0.5)
    assert 1 <= len(found.returns) < 1000 and len(found.returns) == len(found.successes)
    with pytest.raises(NoEpisodeEnded):
        evaluate(env, lambda observation: still, 1000, deadline=time.monotonic())


# Exact within an episode


def continued(run, **settings):
    saved = checkpoint.read(run.folder.last).config
    return resume(run.folder.path, replace(saved, train=replace(saved.train, **settings)))


@pytest.mark.parametrize(
    "env", [pytest.param(id, marks=pytest.mark.slow) for id in ("SawyerLift-v0", "toy_envs:Endless-v0")]
)
def test_a_run_that_stopped_in_an_episode_goes_on_bit_for_bit(tmp_path, env):
    settings = {"env": env, "video": False, "update_ratio": 0.33, "seed": 5}
    whole = train(config(tmp_path / "whole", steps=211, checkpoint_interval=37, **settings))
    half = train(config(tmp_path / "half", steps=101, checkpoint_interval=10**6, **settings))
    state = last_run(half)["workers"][0]
    assert state["half_played"]["length"] > 0 and "batches_ahead" in state
    assert ("state" in state["half_played"]) == (env == "SawyerLift-v0")
    assert last_run(half)["exact"].startswith("step")
    resumed = continued(half, steps=211)
    assert whole.outcome.steps == resumed.outcome.steps == 211
    assert same(policy_of(whole), policy_of(resumed))
    ours, theirs = last_run(whole), last_run(resumed)
    assert ours["counters"] == theirs["counters"] and ours["workers"] == theirs["workers"]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_checkpoint_between_episodes_is_called_so(tmp_path):
    run = train(config(tmp_path, episodes=3, steps=None))
    assert last_run(run)["exact"] == "episode end"


@pytest.mark.slow
def test_a_stop_in_a_long_step_is_within_seconds_and_says_that_it_is_not_exact(
    tmp_path, monkeypatch, capfd, flag
):
    monkeypatch.setattr(checkpointing, "BOUNDARY_TIMEOUT", 1.0)

    def stop() -> None:
        while not flag.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    run = train(config(tmp_path, env="toy_envs:LongSteps-v0", steps=10**6))
    told = flag.stat().st_mtime
    assert run.outcome.reason == "SIGTERM" and time.time() - told < 10
    assert last_run(run)["exact"] == "not exact: worker-0 was in a step of more than 1 s"
    errors = capfd.readouterr().err
    assert "not exact: worker-0 was in a step of more than 1 s" in errors
    assert f"go on: {command('--resume', run.folder.path)}" in errors
    resumed = continued(run, steps=run.outcome.steps + 10)
    assert resumed.outcome.steps == run.outcome.steps + 10
    assert "this checkpoint is not exact" in capfd.readouterr().err


@pytest.mark.slow
def test_a_lone_workers_state_is_waited_for_however_long_its_step(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpointing, "BOUNDARY_TIMEOUT", 0.001)
    run = train(config(tmp_path, env="toy_envs:Slow-v0", steps=60, checkpoint_interval=5))
    assert last_run(run)["exact"].startswith("step") or last_run(run)["exact"] == "episode end"


# Signals


def test_a_signal_that_was_ignored_stays_ignored_and_each_other_one_is_noted():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        for number in STOPPING:
            with StopSignals() as signals:
                os.kill(os.getpid(), number)
                time.sleep(0.01)
            assert signals.received is (None if number == signal.SIGHUP else number)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    with StopSignals() as signals, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
    assert signals.received is signal.SIGHUP


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_closed_terminal_and_a_batch_systems_warning_reach_the_whole_group_and_save(tmp_path, number):
    process = start(tmp_path, "--workers", "1", "--steps", "1000000", env="toy_envs:EndlessSlow-v0")
    worker_ids(tmp_path, process, 1)
    os.killpg(process.pid, number)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + number and "Traceback" not in errors, errors
    assert "restarting" not in errors and "was killed" not in errors
    saved = checkpoint.read(tmp_path / "run/checkpoints/last.safetensors").run
    assert saved["counters"][0] > 0 and saved["exact"].startswith("step")


def test_a_signal_during_the_start_ends_it_and_leaves_nothing(tmp_path):
    with tempfile.TemporaryDirectory(prefix="sac-") as temporary:
        process = start(tmp_path, "--steps", "1000000", TMPDIR=temporary)
        while not descendants(process.pid):
            assert process.poll() is None
            time.sleep(0.01)
        family = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=30)[1]
        assert process.returncode == 143 and "Traceback" not in errors, errors
        assert_all_gone(family)
        assert not os.listdir(temporary)


def signalled(monkeypatch, words: str, number: signal.Signals) -> list[float]:
    """A signal to this process as soon as the run says these words; the list then holds when."""
    sent: list[float] = []
    note = Reporter.note

    def told(reporter: Reporter, text: str) -> None:
        note(reporter, text)
        if words in text:
            sent.append(time.monotonic())
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Reporter, "note", told)
    return sent


@pytest.mark.slow
def test_the_first_signal_ends_the_final_evaluation(tmp_path, monkeypatch, capfd):
    sent = signalled(monkeypatch, "evaluating the final policy", signal.SIGTERM)
    settings = {"env": "toy_envs:EndlessSlow-v0", "workers": 2, "steps": 100, "eval_interval": 10**6}
    run = train(config(tmp_path, **settings))
    assert time.monotonic() - sent[0] < 10
    assert run.outcome.reason == "SIGTERM" and run.outcome.evaluation is None
    errors = capfd.readouterr().err
    assert "the final policy was not measured: SIGTERM" in errors
    assert "--resume" not in errors, "nothing would be left to do"


@pytest.mark.slow
def test_the_first_signal_ends_the_video(tmp_path, monkeypatch, capfd, flag):
    sent: list[float] = []

    def stop() -> None:
        while not flag.exists():
            time.sleep(0.05)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    monkeypatch.setattr(showing, "FILM_SECONDS", 1000.0)
    run = train(config(tmp_path, env="toy_envs:Draws-v0", steps=50))
    assert time.monotonic() - sent[0] < 10 and run.outcome.reason == "SIGTERM"
    assert "no video: drawing was ended by SIGTERM" in capfd.readouterr().err
    assert not list(run.folder.videos.iterdir())


# Videos


def test_a_film_ends_after_its_seconds_or_its_frames(tmp_path):
    made = config(tmp_path, env="toy_envs:Draws-v0")
    agent = SACAgent(Schema.vector(2, 2), made.agent)
    policy = Checkpoint(agent.state_dict(), agent.schema, made, {})
    drawn = functools.partial(film, policy, EnvConfig())
    before = time.monotonic()
    assert drawn(tmp_path / "seconds.mp4", 4, seconds=1.0, frames=10**6) is False
    assert time.monotonic() - before < 20 and (tmp_path / "seconds.mp4").stat().st_size > 0
    assert drawn(tmp_path / "frames.mp4", 4, seconds=1000.0, frames=5) is False
    assert (tmp_path / "frames.mp4").stat().st_size > 0


@pytest.mark.slow
def test_a_cut_film_is_said_and_none_is_drawn_where_none_is_wanted(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(showing, "FILM_SECONDS", 1.0)
    run = train(config(tmp_path / "a", env="toy_envs:Draws-v0", steps=50))
    assert "final.mp4, cut after 1 s of drawing" in capfd.readouterr().err
    assert (run.folder.videos / "final.mp4").stat().st_size > 0
    run = train(config(tmp_path / "b", env="toy_envs:Draws-v0", steps=50, video=False))
    assert "video" not in capfd.readouterr().err and not list(run.folder.videos.iterdir())


# Evaluations that do not measure


@pytest.mark.slow
def test_an_evaluator_that_dies_in_the_final_evaluation_is_asked_once_more(tmp_path, capfd):
    run = train(config(tmp_path, env="toy_envs:EvaluatedExits-v0", steps=60, eval_interval=10**6))
    errors = capfd.readouterr().err
    assert "evaluating the final policy on 100 unseen episodes once more" in errors, errors
    assert run.outcome.evaluation is not None and len(run.outcome.evaluation.returns) == 100


@pytest.mark.slow
def test_a_final_policy_that_could_not_be_measured_is_not_given_an_earlier_result(tmp_path, capfd):
    settings = {"eval_interval": 50, "eval_episodes": 2, "time": 4.0}
    run = train(config(tmp_path, env="toy_envs:DiesInLateEvaluations-v0", **settings))
    errors = capfd.readouterr().err
    assert "steps  evaluation: " in errors, "earlier policies were measured"
    assert run.outcome.reason == "time" and run.outcome.evaluation is None
    assert "the final policy was not measured: evaluator ended with status 7" in errors, errors
    assert errors.count("once more") == 1 and "final policy: not measured" in errors


@pytest.mark.slow
def test_a_success_target_without_a_notion_of_success_is_said(tmp_path, capfd):
    settings = {"eval_interval": 50, "eval_episodes": 1, "steps": 400, "success_target": 0.9, "workers": 1}
    run = train(config(tmp_path, env="toy_envs:Pattern-v0", **settings))
    assert run.outcome.reason == "steps"
    assert (
        capfd.readouterr().err.count("--success-target cannot be reached: toy_envs:Pattern-v0 reports no")
        == 1
    )
