"""Going on with a run: the same bits with one worker, the same counts with several, and nothing lost or
doubled in its log.
"""

import csv
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_engine import OFTEN_LOGGED, config, policy_of, same, start

from sac_dist.engine import supervisor
from sac_dist.engine.train import resume, train
from sac_dist.formats import files
from sac_dist.reporting.metrics import read_metrics
from sac_dist.settings import ConfigError
from sac_dist.storage import checkpoint
from sac_dist.storage.segments import ReplayFiles

pytestmark = pytest.mark.timeout(120)


@pytest.mark.slow
def test_resumed_run_gives_the_bits_of_one_that_never_stopped(tmp_path):
    whole = train(config(tmp_path / "whole", steps=400))
    half = train(config(tmp_path / "half", steps=200))
    saved = checkpoint.read(half.folder.last).config
    resumed = resume(half.folder.path, replace(saved, train=replace(saved.train, steps=400)))
    assert same(policy_of(whole), policy_of(resumed))
    assert resumed.outcome.steps == whole.outcome.steps and resumed.outcome.episodes == whole.outcome.episodes
    np.testing.assert_array_equal(
        np.load(whole.folder.path / "reward_log.npy"), np.load(half.folder.path / "reward_log.npy")
    )


@pytest.mark.slow
def test_resuming_a_finished_run_says_what_to_do(tmp_path):
    run = train(config(tmp_path, steps=100))
    with pytest.raises(ConfigError, match=r"nothing left to do.*larger --steps"):
        resume(run.folder.path, checkpoint.read(run.folder.last).config)


def killed_at(tmp_path: Path, steps: int, *flags: str) -> Path:
    """The run of a command that got SIGKILL some time after a checkpoint of so many steps; it writes a row
    every 200 steps, a second.
    """
    process = start(
        tmp_path,
        *flags,
        "--steps",
        "620",
        "--checkpoint-interval",
        "70",
        "--hidden-depth",
        "1",
        program=OFTEN_LOGGED,
    )
    last = tmp_path / "run/checkpoints/last.safetensors"
    while not (last.exists() and checkpoint.read(last).run["counters"][0] >= steps):
        time.sleep(0.02)
        assert process.poll() is None, process.communicate()[1]
    process.kill()
    process.communicate()
    time.sleep(0.5)
    return tmp_path / "run"


def row_steps(run: Path) -> list[int]:
    with open(run / "metrics.csv") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_resume_after_kill_minus_nine_goes_on_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "LOG_INTERVAL", 200)
    whole = train(config(tmp_path / "whole", env="toy_envs:Slow-v0", steps=620, checkpoint_interval=70))
    folder = killed_at(tmp_path, 200, "--workers", "1")
    resumed = resume(folder, checkpoint.read(folder / "checkpoints/last.safetensors").config)
    assert same(policy_of(whole), policy_of(resumed))
    states = [checkpoint.read(run.folder.last).run for run in (whole, resumed)]
    for name in ("counters", "workers", "best_score"):
        assert states[0][name] == states[1][name], name
    rows = [
        ReplayFiles(run.folder.replay, checkpoint.read(run.folder.last).schema).read(state["replay"])
        for run, state in zip((whole, resumed), states, strict=True)
    ]
    np.testing.assert_array_equal(rows[0].rows, rows[1].rows)
    returns = [np.load(run.folder.path / "reward_log.npy") for run in (whole, resumed)]
    np.testing.assert_array_equal(*returns)
    for run in (whole, resumed):
        assert [step // 200 for step in row_steps(run.folder.path) if step < 600] == [1, 2]


@pytest.mark.slow
def test_resume_after_kill_minus_nine_of_several_workers_loses_only_what_came_after_the_checkpoint(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(supervisor, "LOG_INTERVAL", 200)
    folder = killed_at(tmp_path, 200, "--workers", "2")
    saved = checkpoint.read(folder / "checkpoints/last.safetensors")
    before = ReplayFiles(folder / "replay", saved.schema).read(saved.run["replay"])
    assert before.stop.sum() == saved.run["counters"][0] >= 200
    resumed = resume(folder, saved.config)
    again = checkpoint.read(resumed.folder.last).run
    after = ReplayFiles(folder / "replay", saved.schema).read(again["replay"])
    assert after.stop.sum() == again["counters"][0] == resumed.outcome.steps >= 620
    for shard in range(2):
        old, new = (
            part.rows[: part.stop[0]] if shard == 0 else part.rows[part.stop[0] :] for part in (before, after)
        )
        np.testing.assert_array_equal(old, new[: len(old)])
    assert [step // 200 for step in row_steps(folder) if step < 600] == [1, 2]


@pytest.mark.slow
def test_full_ring_resumes_with_every_transition_in_place(tmp_path):
    whole = train(config(tmp_path / "whole", steps=900, buffer_size=100, checkpoint_interval=60))
    half = train(config(tmp_path / "half", steps=450, buffer_size=100, checkpoint_interval=60))
    kept = sum(len(np.load(path)) for path in half.folder.replay.glob("*.npy"))
    assert 100 <= kept <= 100 + 60 + 2 * 10, "old segments are removed"
    saved = checkpoint.read(half.folder.last).config
    resumed = resume(half.folder.path, replace(saved, train=replace(saved.train, steps=900)))
    assert same(policy_of(whole), policy_of(resumed))


@pytest.mark.slow
def test_resume_with_other_workers_keeps_counts_and_every_trajectory(tmp_path):
    """Two workers, then three, then one: no more trajectories than episodes, and what each end broke off."""
    run, steps = train(config(tmp_path, workers=2, steps=300)), 300
    for broken_off, workers in ((2, 3), (2 + 3, 1)):
        steps += 200
        saved = checkpoint.read(run.folder.last).config
        run = resume(
            run.folder.path, replace(saved, train=replace(saved.train, steps=steps, workers=workers))
        )
        again = checkpoint.read(run.folder.last).run
        assert again["counters"][0] == run.outcome.steps >= steps
        assert sum(again["replay"]["segments"][-1]["stop"]) == run.outcome.steps
        found = files.read(run.folder.path)
        assert len(found) == run.outcome.steps
        assert run.outcome.episodes <= len(found.starts) <= run.outcome.episodes + broken_off + workers
        for first, end in zip(found.starts, found.ends, strict=True):
            np.testing.assert_array_equal(
                found.next_observation[first : end - 1], found.observation[first + 1 : end]
            )


@pytest.mark.slow
def test_an_evaluation_that_was_due_before_the_checkpoint_is_made_up_for(tmp_path):
    half = train(config(tmp_path, env="toy_envs:Slow-v0", steps=200))
    saved = checkpoint.read(half.folder.last).config
    settings = replace(
        saved.train, steps=None, time=half.outcome.seconds + 4, eval_interval=150, eval_episodes=2, workers=1
    )
    resumed = resume(half.folder.path, replace(saved, train=settings))
    first = next(
        int(row["eval_step"]) for row in read_metrics(resumed.folder.path / "metrics.csv") if row["eval_step"]
    )
    assert 200 <= first < 300
