"""--optimize: its ranges, its study, and whole searches of trials on Pendulum that are killed and go on."""

import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from sac_dist.acting.evaluation import Evaluation
from sac_dist.cli import main as cli
from sac_dist.cli.given import parse
from sac_dist.cli.optimize import asked_for
from sac_dist.cli.train import found_for
from sac_dist.engine.outcome import Outcome, TrainingFailed
from sac_dist.engine.search import optimize as search
from sac_dist.engine.search import study
from sac_dist.engine.search import trial as trial_module
from sac_dist.engine.search.report import flags_of, write_report
from sac_dist.engine.search.space import Range, check_ranges, read_ranges, usual_ranges
from sac_dist.engine.search.study import SearchFolder, Study
from sac_dist.engine.search.trial import Pruning, score
from sac_dist.settings import AgentConfig, Config, ConfigError, EnvConfig, TrainConfig

pytest.importorskip("optuna")


MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture
def tmp_path():
    """In memory, where SQLite need not wait for a disk at each of its commits."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


RANGES = """
actor_lr, critic_lr: {low: 1e-4, high: 1e-2, log: true}
hidden-width: [16, 32]
n_step: {low: 1, high: 3}
layer_norm: [true, false]
"""


def test_a_file_of_ranges_is_read(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(RANGES)
    assert read_ranges(path, ()) == [
        Range(("actor_lr", "critic_lr"), low=1e-4, high=1e-2, log=True),
        Range(("hidden_width",), (16, 32)),
        Range(("n_step",), low=1, high=3),
        Range(("layer_norm",), (True, False)),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rate: [1]", "learning_rate is nothing to search over"),
        ("workers: [1, 2]", "workers is nothing to search over"),
        ("tau: [0.1]\ntau, discount: [0.5]", "tau stands there twice"),
        ("hidden_width: [16]", "--hidden-width is given"),
        ("tau: 3", "is no range"),
        ("tau: []", "is no range"),
        ("tau: [0.1, 0.1]", "is no range"),
        ("tau: {low: 1, high: 0.5}", "is no range"),
        ("tau: {low: 0, high: 0.5, log: true}", "is no range"),
        ("tau: {low: 0.1, hi: 0.5}", "is no range"),
        ("layer_norm: {low: false, high: true}", "is no range"),
        ("tau: [fast]", "tau cannot be ..fast"),
        ("tau: [0.1, [2]]", "tau cannot be"),
        ("network: [mlp, cnn]", "network cannot be ..mlp"),
    ],
)
def test_ranges_that_cannot_be_are_refused_in_a_line(tmp_path, text, words):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as error:
        read_ranges(path, ("hidden_width",))
    assert str(error.value).count("\n") == 0 and ("given" in words or str(path) in str(error.value))


def test_a_value_that_no_run_takes_is_refused():
    with pytest.raises(ConfigError, match="tau"):
        check_ranges([Range(("tau",), low=0.1, high=1.5)], Config())


def test_the_usual_ranges_hold_the_settings_they_are_around_and_leave_alone_what_is_given():
    config = Config(agent=AgentConfig(actor_lr=1e-5, discount=0.97), train=TrainConfig(batch_size=99))
    ranges = {each.label: each for each in usual_ranges(config, 4, ("tau", "critic_lr"))}
    assert "tau" not in ranges and ranges["actor_lr, alpha_lr"].low == 1e-5
    assert 0.97 in ranges["discount"].choices and 99 in ranges["batch_size"].choices
    assert ranges["target_entropy"].choices == (-4, -2, -1)
    check_ranges(ranges.values(), config)
    fixed = replace(config, agent=AgentConfig(alpha=0.1), data=replace(config.data, her="future"))
    labels = {each.label for each in usual_ranges(fixed, 4, ())}
    assert not {"target_entropy", "n_step"} & labels and "actor_lr, critic_lr, alpha_lr" in labels


def test_a_presets_values_are_not_given():
    settings = parse(["--optimize", "3", "--preset", "simba", "--env", "X-v0", "--actor-lr", "0.5"])
    assert set(asked_for(settings)) == {"optimize", "env", "actor_lr"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--optimize", "0"], "--optimize is 0"),
        (["--optimize", "3", "--steps", "400"], "--steps 400 is too little"),
        (["--optimize", "3", "--steps", "4000", "--eval-interval", "3000"], "2 evaluations"),
        (["--optimize", "3", "--steps", "4000", "--eval-interval", "0"], "2 evaluations"),
        (["--optimize", "3", "--time", "5"], "leave out --episodes and --time"),
        (["--optimize", "3", "--steps", "4000", "--success-target", "1"], "leave out --success-target"),
        (["--optimize", "3", "--ranges", "r.yaml"], "cannot read r.yaml"),
        (["--optimize", "3", "--model", "x"], "--model has no meaning"),
        (["--train", "--ranges", "r.yaml"], "--ranges has no meaning"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_one_line(capsys, monkeypatch, flags, words):
    monkeypatch.setattr(search, "prepare", prepared)
    assert cli.main([*flags, "--env", "toy_envs:Point-v0"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1 and words in lines[0]


def test_without_optuna_it_says_how_to_install_it(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["--optimize", "3"]) == 2
    assert "pip install 'sac-dist[search]'" in capsys.readouterr().err


# Searches whose trials are not played


def prepared(config):
    settled = replace(
        config, train=replace(config.train, steps=config.train.steps or 3000), if_unknown=frozenset()
    )
    if config.train.time is not None:
        settled = config
    return settled, [], SimpleNamespace(action_size=2), ["a line"]


class Played:
    """Instead of play(): the score is better, the nearer the step sizes and γ are to some."""

    def __init__(self, ends=None, better=0.0):
        self.ends, self.better, self.asked = ends or {}, better, []

    def __call__(self, trial, config, path):
        self.asked.append(dict(trial.params))
        ends = self.ends.get(len(self.asked))
        if isinstance(ends, Exception):
            raise ends
        assert config.agent.actor_lr == config.agent.critic_lr
        score = -abs(np.log10(config.agent.actor_lr) + 2.5) - abs(config.agent.discount - 0.98)
        score += self.better * len(self.asked)
        if ends == "pruned":
            return SimpleNamespace(outcome=Outcome("pruned", 9, 9, 9, 1.0, None))
        if ends is not None:
            return SimpleNamespace(outcome=Outcome(ends, 9, 9, 9, 1.0, None, finished=False))
        measured = Evaluation(np.array([score]), np.array([5]), None)
        return SimpleNamespace(outcome=Outcome("steps", 9, 9, 9, 1.0, measured))


def searched(monkeypatch, trials, played, folder="s", report=None, **settings):
    monkeypatch.setattr(search, "prepare", prepared)
    monkeypatch.setattr(search, "write_report", report or (lambda *_: None))
    monkeypatch.setattr(search, "play", played)
    lines = []
    config = Config(EnvConfig("X-v0"), train=TrainConfig(run_dir=folder, steps=3000, **settings))
    received = search.optimize(config, trials, ("steps",), None, lines.append)
    return received, lines


def test_the_first_trial_is_the_settings_as_they_are_and_the_best_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(study, "RANKED", 5)
    played = Played()
    received, lines = searched(monkeypatch, 7, played, report=write_report)
    default = AgentConfig()
    assert received is None and len(played.asked) == 7
    first = played.asked[0]
    assert (
        first["actor_lr, critic_lr, alpha_lr"] == default.actor_lr and first["discount"] == default.discount
    )
    assert first["target_entropy"] == -1.0 and first["n_step"] == 1
    text = (tmp_path / "tuned/X-v0.yaml").read_text()
    assert text.startswith("# From s: ") and "--optimize 7 --run-dir s --env X-v0 --steps 3000\n" in text
    best = max(
        played.asked,
        key=lambda p: -abs(np.log10(p["actor_lr, critic_lr, alpha_lr"]) + 2.5) - abs(p["discount"] - 0.98),
    )
    written = yaml.safe_load(text)
    assert written["actor_lr"] == written["alpha_lr"] == best["actor_lr, critic_lr, alpha_lr"]
    settings = found_for(parse(["--train", "--env", "X-v0"])).settings
    taken = Config.of_settings(dict(settings)).agent
    assert taken.discount == best["discount"] and taken.tau == best["tau"]
    report = (tmp_path / "s/report.md").read_text()
    assert "7 trials, 0 of them pruned" in report and "actor_lr, critic_lr, alpha_lr" in report
    assert (tmp_path / "s/report.png").read_bytes()[:4] == b"\x89PNG"
    rows = list(csv.DictReader((tmp_path / "s/trials.csv").read_text().splitlines()))
    assert [float(row["discount"]) for row in rows] == [asked["discount"] for asked in played.asked]
    assert "What the score depends on" in report
    assert any("tuned/X-v0.yaml" in line for line in lines)


def test_suggestions_depend_on_the_seed_alone_and_not_on_where_it_was_interrupted(monkeypatch):
    monkeypatch.setattr(study, "RANDOM", 3)
    whole = Played()
    searched(monkeypatch, 6, whole)
    parts = Played(ends={4: "SIGINT"})  # the 4th is asked for again
    assert searched(monkeypatch, 6, parts, "parts")[0] == "SIGINT"
    assert searched(monkeypatch, 6, parts, "parts")[0] is None
    assert parts.asked[3] == parts.asked[4]
    assert whole.asked == parts.asked[:4] + parts.asked[5:]
    assert len({str(asked) for asked in whole.asked}) == 6
    other = Played()
    searched(monkeypatch, 2, other, "other", seed=1)
    assert other.asked[0] == whole.asked[0] and other.asked[1] != whole.asked[1]


def test_a_larger_number_goes_on_and_other_settings_are_refused(monkeypatch):
    searched(monkeypatch, 2, Played())
    with pytest.raises(ConfigError, match="s has 2 trials: give --optimize a larger number"):
        searched(monkeypatch, 2, Played())
    more = Played()
    searched(monkeypatch, 3, more)
    assert len(more.asked) == 1
    monkeypatch.setattr(search, "prepare", prepared)
    for flag, config in {
        "steps": Config(EnvConfig("X-v0"), train=TrainConfig(run_dir="s", steps=4000)),
        "env": Config(EnvConfig("Y-v0"), train=TrainConfig(run_dir="s", steps=3000)),
    }.items():
        with pytest.raises(ConfigError, match=f"^s holds a search with another --{flag}: "):
            search.optimize(config, 9, ("steps", "env"), None)


def test_trials_that_fail_count_and_three_in_a_row_end_the_search(monkeypatch):
    fails = TrainingFailed("diverged")
    played = Played(ends={2: fails, 4: "pruned", 5: fails, 6: fails, 7: fails})
    with pytest.raises(TrainingFailed, match="diverged"):
        searched(monkeypatch, 20, played)
    folder = SearchFolder(Path("s"))
    config, ranges, actions = folder.begun()
    states = [trial.state.name for trial in Study(folder, config, ranges, actions).trials]
    assert states == ["COMPLETE", "PRUNED", "COMPLETE", "PRUNED", "PRUNED", "PRUNED", "PRUNED"]
    folder.close()
    with pytest.raises(TrainingFailed, match="diverged"):
        searched(monkeypatch, 20, Played(ends={1: fails}), "first")


def test_what_the_user_had_is_kept_beside_it(monkeypatch, tmp_path):
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned/X-v0.yaml").write_text("tau: 0.3\n")
    _, lines = searched(monkeypatch, 1, Played())
    assert lines[-1].startswith("nothing was better than the settings it began with (-0.3")
    assert not (tmp_path / "tuned/X-v0.yaml.before").exists()
    _, lines = searched(monkeypatch, 2, Played(better=10.0))
    assert (tmp_path / "tuned/X-v0.yaml.before").read_text() == "tau: 0.3\n"
    assert "the one that was there is X-v0.yaml.before" in lines[-1]
    searched(monkeypatch, 3, Played(better=20.0))
    assert (tmp_path / "tuned/X-v0.yaml.before").read_text() == "tau: 0.3\n"


def test_the_flags_of_settings_give_them_again():
    flags = [
        "--env",
        "X-v0",
        "--steps",
        "70",
        "--tau",
        "0.5",
        "--no-layer-norm",
        "--env-kwargs",
        '{"size": 3}',
    ]
    given = parse(["--train", *flags])
    del given["train"]
    assert flags_of(Config.of_settings(dict(given)), given) == flags


def test_a_folder_with_something_else_and_a_second_search_are_refused(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    with pytest.raises(ConfigError, match="holds something else than a search"):
        SearchFolder(tmp_path / "full")
    first = SearchFolder(tmp_path / "s")
    with pytest.raises(ConfigError, match="another search is writing"):
        SearchFolder(tmp_path / "s")
    first.close()
    (tmp_path / "s/search.json").write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        SearchFolder(tmp_path / "s").begun()


def test_a_trial_that_is_worse_than_the_median_ends_early_and_unmeasured():
    folder = SearchFolder(Path("s"))
    ranges = [Range(("tau",), low=0.1, high=0.2)]
    trials = Study(folder, Config(), ranges, 1)
    stops = []

    def evaluated(trial, returns):
        pruning = Pruning(trial, interval=100, steps=400)
        pruning.on_start(SimpleNamespace(stop=lambda reason, measure: stops.append((reason, measure))))
        for number, value in enumerate(returns):
            pruning.on_evaluation(100 * (number + 1) + 3, Evaluation(np.array([value]), np.array([1]), None))

    for _ in range(study.COMPARED):
        trial = trials.ask()
        evaluated(trial, (1.0, 2.0, 3.0))
        assert trials.trials[trial.number].intermediate_values == {1: 1.0, 2: 2.0, 3: 3.0} and not stops
        trials.scored(trial, 3.0, {"return": 3.0})
    trial = trials.ask()
    evaluated(trial, (0.0,))
    evaluated(trial, (0.0, 2.0, 3.0, -9.0))  # lives the first again; the last is the final policy's
    assert not stops
    trials.scored(trial, 3.0, {"return": 3.0})
    evaluated(trials.ask(), (0.0, 1.9))
    assert stops == [("pruned", False)]
    folder.close()


def test_a_score_is_the_success_rate_where_there_is_one():
    returns, lengths = np.array([1.0, 5.0]), np.array([1, 1])
    assert score(Evaluation(returns, lengths, None)) == 3.0
    assert score(Evaluation(returns, lengths, np.array([True, False]))) == 0.5


def test_a_trial_that_was_left_goes_on_and_one_that_had_ended_begins_again(monkeypatch, tmp_path):
    ended = SimpleNamespace(outcome=SimpleNamespace(interrupted=False))
    left = SimpleNamespace(outcome=SimpleNamespace(interrupted=True))
    calls = []
    answers = {"resume": left, "train": ended}

    def answer(name):
        def call(*arguments, **keywords):
            calls.append(name)
            if isinstance(answers[name], Exception):
                raise answers[name]
            return answers[name]

        return call

    for name in answers:
        monkeypatch.setattr(trial_module, name, answer(name))
    path = tmp_path / "trial"
    config = Config(train=TrainConfig(steps=100))
    (path / "replay").mkdir(parents=True)
    (path / "checkpoints").mkdir()
    (path / "checkpoints/last.safetensors").touch()
    assert trial_module.play(None, config, path) is left and calls == ["resume"]
    assert (path / "replay").exists()
    answers["resume"] = ConfigError("nothing left to do")
    assert trial_module.play(None, config, path) is ended and calls[1:] == ["resume", "train"]
    assert not path.exists()


# Real ones

FLAGS = (
    *("--env", "Pendulum-v1", "--steps", "600", "--workers", "1", "--compile", "off", "--hidden-width", "16"),
    *("--warmup-steps", "100", "--batch-size", "32", "--update-ratio", "0.5", "--eval-episodes", "2"),
)


def command(folder, trials):
    return [sys.executable, "-m", "sac_dist", "--optimize", str(trials), "--run-dir", folder, *FLAGS]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_search_that_is_killed_goes_on_to_what_it_would_have_been(tmp_path):
    whole = subprocess.run(command("whole", 3), capture_output=True, text=True, timeout=200)
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(command("parts", 3), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not (tmp_path / "parts/trial-0001/metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=20)
    again = subprocess.run(command("parts", 3), capture_output=True, text=True, timeout=200)
    assert again.returncode == 0, again.stderr
    assert "going on with the search in parts" in again.stdout and "3 of 3 done" in again.stdout
    tables = [
        list(csv.DictReader((tmp_path / name / "trials.csv").read_text().splitlines()))
        for name in ("whole", "parts")
    ]
    for row in (*tables[0], *tables[1]):
        del row["seconds"]
    assert tables[0] == tables[1] and len(tables[0]) == 3
    assert not list(tmp_path.glob("*/trial-*/replay"))
    if not (tmp_path / "tuned").exists():
        assert "nothing was better than the settings it began with" in again.stdout
        return
    trained = subprocess.run(
        [sys.executable, "-m", "sac_dist", "--train", *FLAGS, "--no-video", "--run-dir", "next"],
        *(),
        **{"capture_output": True, "text": True, "timeout": 100},
    )
    assert (
        trained.returncode == 0
        and "settings tuned for Pendulum-v1 (tuned/Pendulum-v1.yaml)" in trained.stderr
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_saves_and_leaves_with_the_signals_status(tmp_path):
    process = subprocess.Popen(command("s", 9), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert any("1 of 9 done" in line for line in iter(process.stdout.readline, ""))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, err
    assert "SIGINT: " in out and "Traceback" not in err
    assert (tmp_path / "s/report.md").is_file() and "nothing was better" in out
