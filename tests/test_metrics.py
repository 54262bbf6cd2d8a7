import csv
import json

import numpy as np
import pytest
import torch
from reports import file_reporter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sac_dist.acting.episode import Episode
from sac_dist.acting.evaluation import Evaluation
from sac_dist.reporting.columns import COLUMNS
from sac_dist.reporting.metrics import read_metrics, read_returns
from sac_dist.reporting.reporter import RECENT, Reporter
from sac_dist.settings import ConfigError


def episode(total_reward: float, success: bool | None = None) -> Episode:
    return Episode(total_reward, 10, success, bool(success))


def evaluation(rate: float) -> Evaluation:
    return Evaluation(np.full(10, 5.0), np.full(10, 7), np.arange(10) < rate * 10)


def live(log: Reporter, first: int, last: int) -> None:
    """Steps ``first`` … ``last`` of a made-up run: an episode every 10 steps, a row every 50, whose numbers
    follow from the step.
    """
    for step in range(first + 10, last + 1, 10):
        log.episode(step, episode(step / 10, success=step % 20 == 0))
        log.update(step, {"critic_loss": 1 / step})
        if step % 50 == 0:
            log.row(step, {"updates": step})


def timeless(log: Reporter) -> list[dict[str, str]]:
    rows = read_metrics(log.folder / "metrics.csv")
    return [{key: value for key, value in row.items() if not key.endswith("_s")} for row in rows]


def test_a_row_holds_what_happened_since_the_last_one(tmp_path):
    log = file_reporter(tmp_path)
    for total_reward, success in ((1.0, True), (3.0, False)):
        log.episode(5, episode(total_reward, success))
    log.update(5, {"critic_loss": 2.0})
    log.update(6, {"critic_loss": torch.tensor(4.0)})
    log.evaluation(4, evaluation(0.8))
    log.row(7, {"updates": 6})
    log.row(9, {"updates": 8})
    first, second = csv.DictReader((tmp_path / "metrics.csv").open())
    expected = {
        "step": 7,
        "episodes": 2,
        "updates": 6,
        "train_return": 2,
        "train_success": 0.5,
        "train_length": 10,
        "critic_loss": 3,
    }
    expected |= {"eval_step": 4, "eval_return": 5, "eval_success": 0.8, "eval_length": 7, "eval_episodes": 10}
    assert {key: float(first[key]) for key in expected} == expected
    assert (second["step"], second["updates"]) == ("9", "8")
    assert [second[key] for key in ("train_return", "eval_success", "critic_loss")] == ["", "", ""]


def test_no_evaluation_is_lost_between_two_rows_or_over_a_resume(tmp_path):
    log = file_reporter(tmp_path)
    log.row(10, {"updates": 3})
    for step, rate in ((12, 0.1), (14, 0.2)):
        log.evaluation(step, evaluation(rate))
    resumed = file_reporter(tmp_path, json.loads(json.dumps(log.state())))
    resumed.evaluation(16, evaluation(0.3))
    resumed.row(20, {"updates": 7})
    rows = [
        (row["step"], row["updates"], row["eval_step"], row["eval_success"])
        for row in read_metrics(log.folder / "metrics.csv")
    ]
    assert rows == [
        ("10", "3", "", ""),
        ("20", "7", "12", "0.1"),
        ("20", "7", "14", "0.2"),
        ("20", "7", "16", "0.3"),
    ]


def test_rates_are_those_since_the_last_row(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("sac_dist.reporting.reporter.time.monotonic", lambda: now[0])
    log = file_reporter(tmp_path)
    for step, updates, clock in ((50, 0, 105.0), (250, 100, 107.0)):
        now[0] = clock
        log.row(step, {"updates": updates})
    rows = read_metrics(log.folder / "metrics.csv")
    assert [(row["steps_per_s"], row["updates_per_s"], row["wall_time_s"]) for row in rows] == [
        ("10", "0", "5"),
        ("100", "50", "7"),
    ]


def test_success_stays_empty_where_the_environment_does_not_say(tmp_path):
    log = file_reporter(tmp_path)
    log.episode(10, episode(1.0, None))
    log.row(10, {"updates": 0})
    assert read_metrics(log.folder / "metrics.csv")[0]["train_success"] == ""
    assert log.recent_success is None and log.recent_return == 1


def test_running_means_are_over_the_recent_episodes(tmp_path):
    log = file_reporter(tmp_path)
    assert log.recent_return is None and log.recent_success is None
    for index in range(RECENT + 50):
        log.episode(index, episode(float(index), success=index >= 100))
    assert log.recent_return == np.mean(range(50, 150))
    assert log.recent_success == 0.5
    assert log.episodes == RECENT + 50


def test_a_new_metric_widens_the_file_and_keeps_its_rows(tmp_path):
    log = file_reporter(tmp_path)
    log.update(1, {"critic_loss": 1.0})
    log.row(1, {"updates": 1})
    log.update(2, {"critic_loss": 2.0, "alpha": 0.5})
    log.row(2, {"updates": 2, "restarts": 1})
    rows = read_metrics(log.folder / "metrics.csv")
    assert list(rows[0]) == [*COLUMNS, "critic_loss", "alpha", "restarts"]
    assert [(row["critic_loss"], row["alpha"], row["restarts"]) for row in rows] == [
        ("1", "", ""),
        ("2", "0.5", "1"),
    ]


def test_the_reward_log_holds_every_return_in_order(tmp_path):
    log = file_reporter(tmp_path)
    live(log, 0, 300)
    log.close()
    returns = np.load(tmp_path / "reward_log.npy")
    assert returns.dtype == np.float32
    np.testing.assert_array_equal(returns, np.arange(1, 31, dtype=np.float32))


@pytest.mark.parametrize("stop", [100, 120])  # at a row, and between two
def test_a_resumed_log_equals_one_that_never_stopped(tmp_path, stop):
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole, stopped = file_reporter(tmp_path / "whole"), file_reporter(tmp_path / "stopped")
    live(whole, 0, 300)
    live(stopped, 0, stop)
    whole.close()
    state = json.loads(json.dumps(stopped.state()))
    live(stopped, stop, 250)  # lived, but lost: the process dies before the next checkpoint
    stopped.update(260, {"seen_once": 1.0})
    stopped.row(260, {"updates": 260})
    resumed = file_reporter(tmp_path / "stopped", state)
    assert resumed.recent_return == np.mean(np.arange(1, stop // 10 + 1))
    live(resumed, stop, 300)
    resumed.close()
    np.testing.assert_array_equal(
        np.load(tmp_path / "stopped" / "reward_log.npy"), np.load(tmp_path / "whole" / "reward_log.npy")
    )
    known = [{key: value for key, value in row.items() if key != "seen_once"} for row in timeless(resumed)]
    assert known == timeless(whole)
    assert not list((tmp_path / "stopped").glob(".*")), "temporary files stay behind"


def test_wall_time_goes_on_over_a_resume(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("sac_dist.reporting.reporter.time.monotonic", lambda: now[0])
    log = file_reporter(tmp_path)
    now[0] = 8.0
    state = log.state()
    now[0] = 1000.0
    resumed = file_reporter(tmp_path, state)
    now[0] = 1002.0
    assert resumed.wall_time_s == 10


@pytest.mark.parametrize(
    "cut", ["150,15,15", "150,15,150,1,2,3,4,5,6,,,,,,0.0"]
)  # the second lacks only its last digits
def test_a_row_that_a_crash_cut_short_is_not_read(tmp_path, cut):
    log = file_reporter(tmp_path)
    live(log, 0, 100)
    state = log.state()
    with (log.folder / "metrics.csv").open("a") as file:
        file.write(cut)
    assert len(read_metrics(log.folder / "metrics.csv")) == 2
    live(file_reporter(tmp_path, state), 100, 150)
    assert [row["step"] for row in read_metrics(log.folder / "metrics.csv")] == ["50", "100", "150"]


def test_a_deleted_log_does_not_stop_a_resume(tmp_path):
    log = file_reporter(tmp_path)
    live(log, 0, 100)
    state = log.state()
    (log.folder / "metrics.csv").unlink()
    (log.folder / "reward_log.npy").unlink()
    resumed = file_reporter(tmp_path, state)
    live(resumed, 100, 150)
    resumed.close()
    returns = read_returns(log.folder / "reward_log.npy")
    assert np.isnan(returns[:10]).all() and returns[10] == 11
    assert [row["step"] for row in read_metrics(log.folder / "metrics.csv")] == ["150"]


def test_a_new_run_never_overwrites_a_log(tmp_path):
    live(file_reporter(tmp_path), 0, 50)
    with pytest.raises(ConfigError, match=r"metrics.csv exists: a new run needs a new folder"):
        file_reporter(tmp_path)
    assert len(read_metrics(tmp_path / "metrics.csv")) == 1


def test_a_reward_log_that_is_something_else_is_refused(tmp_path):
    path = tmp_path / "reward_log.npy"
    np.save(path, np.array([{"code": 1}], dtype=object))
    with pytest.raises(ConfigError, match="cannot read"):
        read_returns(path)
    np.save(path, np.zeros((2, 2)))
    with pytest.raises(ConfigError, match="not a list of returns"):
        read_returns(path)


def test_tensorboard_gets_every_row_and_forgets_the_lost_ones(tmp_path):
    log = file_reporter(tmp_path)
    live(log, 0, 100)
    state = log.state()
    live(log, 100, 250)
    log.close()
    resumed = file_reporter(tmp_path, state)
    live(resumed, 100, 200)
    resumed.evaluation(200, evaluation(0.5))
    resumed.row(200, {"updates": 200})
    resumed.close()
    resumed.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    returns = [(event.step, event.value) for event in events.Scalars("train/return")]
    assert returns == [(50, 3.0), (100, 5.5), (150, 8.0), (200, 10.5)]
    assert events.Scalars("eval/success")[0].value == 0.5
    assert {"update/critic_loss", "run/steps_per_s"} <= set(events.Tags()["scalars"])
