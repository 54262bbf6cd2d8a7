"""``--learner central``: workers that only act, and one process that makes all updates."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from test_engine import AGENT, config, start
from test_faults import config as faulty

from sac_dist.acting.recording import record
from sac_dist.engine.supervisor import TrainingFailed
from sac_dist.engine.train import resume, train
from sac_dist.formats import files
from sac_dist.settings import Config, ConfigError, DataConfig, EnvConfig
from sac_dist.storage import checkpoint

pytestmark = pytest.mark.timeout(120)


def central(tmp_path: Path, **settings) -> Config:
    return config(tmp_path, learner="central", **settings)


def child_of(parent: int, name: str) -> int:
    """The process id of the descendant that shows this name."""
    while True:
        for child in psutil.Process(parent).children(recursive=True):
            try:
                if Path(f"/proc/{child.pid}/comm").read_text().strip() == name:
                    return child.pid
            except OSError:
                continue
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "ratio"), [(1, 1.0), (3, 0.1), (3, 2.5)])
def test_the_learner_makes_every_update_and_only_those_that_are_due(tmp_path, workers, ratio):
    run = train(central(tmp_path, workers=workers, steps=400, update_ratio=ratio, warmup_steps=100))
    assert 400 <= run.outcome.steps < 400 + (10 if workers == 1 else workers), (
        "one worker ends with its episode"
    )
    assert run.outcome.updates == int(ratio * (run.outcome.steps - 100) + 1e-9)
    states = checkpoint.read(run.folder.last).run["workers"]
    assert len(states) == workers + 1 and "episode" in states[0] and "episode" not in states[-1]


@pytest.mark.slow
def test_it_learns_the_toy_and_stops_at_the_success_target(tmp_path):
    run = train(
        central(tmp_path, workers=2, steps=20_000, success_target=0.9, eval_interval=500, eval_episodes=10)
    )
    assert run.outcome.reason == "success_target" and run.outcome.steps < 20_000


@pytest.mark.slow
def test_workers_never_run_away_from_a_learner_that_stands_still(tmp_path):
    process = start(
        tmp_path,
        "--workers",
        "2",
        "--learner",
        "central",
        "--steps",
        "100000",
        "--checkpoint-interval",
        "40",
        env="toy_envs:Point-v0",
    )
    try:
        learner = child_of(process.pid, "learner")
        last = tmp_path / "run/checkpoints/last.safetensors"
        deadline = time.monotonic() + 60
        while not last.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(learner, signal.SIGSTOP)
        time.sleep(2.0)
    finally:
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130, errors
    steps, updates, _, _ = checkpoint.read(last).run["counters"]
    # each worker's lead, what a parked worker steps before its next boundary, and the update that was not
    # counted
    assert 0 <= (steps - 20) - updates <= 2 * 2 + 2 * 2 + 1, errors


@pytest.mark.slow
def test_killed_learner_is_replaced_and_training_goes_on(tmp_path):
    process = start(
        tmp_path, "--workers", "2", "--learner", "central", "--steps", "1500", "--checkpoint-interval", "100"
    )
    learner = child_of(process.pid, "learner")
    time.sleep(2.0)
    os.kill(learner, signal.SIGKILL)
    errors = process.communicate(timeout=90)[1]
    assert process.returncode == 0, errors
    assert errors.count("learner was killed by SIGKILL; restarting it") == 1 and "worker" not in errors
    steps, updates, _, _ = checkpoint.read(tmp_path / "run/checkpoints/last.safetensors").run["counters"]
    assert steps >= 1500 and updates == steps - 20, "the new one makes up for what was missed"


@pytest.mark.slow
def test_a_diverging_learner_ends_the_run_at_its_last_good_checkpoint(tmp_path):
    settings = {
        "workers": 2,
        "steps": 5000,
        "warmup_steps": 400,
        "checkpoint_interval": 50,
        "learner": "central",
    }
    with pytest.raises(
        TrainingFailed, match=r"^training diverged at update \d+: .*its batch: .*; the last good "
    ):
        train(faulty(tmp_path, "Slow", agent=replace(AGENT, critic_lr=1e30, actor_lr=0.2), **settings))
    assert checkpoint.read(tmp_path / "run/checkpoints/last.safetensors").run["counters"][0] >= 50


@pytest.mark.slow
def test_resumed_it_keeps_its_kind_and_counts(tmp_path):
    run = train(central(tmp_path, workers=2, steps=300))
    saved = checkpoint.read(run.folder.last).config
    resumed = resume(run.folder.path, replace(saved, train=replace(saved.train, steps=500)))
    again = checkpoint.read(resumed.folder.last).run
    assert (
        again["counters"][:2] == [resumed.outcome.steps, resumed.outcome.steps - 20]
        and resumed.outcome.steps >= 500
    )
    assert sum(again["replay"]["segments"][-1]["stop"]) == resumed.outcome.steps


@pytest.mark.slow
def test_who_updates_cannot_change_when_a_run_goes_on(tmp_path):
    """A learner's state is no worker's: it has no episode."""
    run = train(central(tmp_path, workers=1, steps=100))
    saved = checkpoint.read(run.folder.last).config
    two = replace(saved.train, steps=200, workers=2, learner="workers")
    with pytest.raises(ConfigError, match="--learner cannot change when a run is resumed"):
        resume(run.folder.path, replace(saved, train=two))


@pytest.mark.slow
def test_offline_phases_are_the_learners(tmp_path):
    files.write(record(EnvConfig("toy_envs:Point-v0"), "random", 12), tmp_path / "demos.npz")
    data = DataConfig(demos=(str(tmp_path / "demos.npz"),), bc_steps=10, offline_steps=30, offline_every=25)
    run = train(replace(central(tmp_path, workers=2, steps=60), data=data))
    steps, updates, _, offline = checkpoint.read(run.folder.last).run["counters"]
    assert offline >= 10 + 30 * 3 and updates == steps - 20 + offline
    only = replace(
        central(tmp_path / "only", workers=2), data=DataConfig(offline=data.demos, offline_steps=50)
    )
    assert train(only).outcome.updates == 50
