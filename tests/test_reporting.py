"""Callbacks and sinks: what reaches them, what they can do to a run, and what they cannot."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from reports import file_reporter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import sac_dist
from sac_dist import Callback, Config, ConfigError, EnvConfig, Sink, TrainConfig
from sac_dist.acting.episode import Episode
from sac_dist.acting.evaluation import Evaluation
from sac_dist.engine.outcome import TrainingFailed
from sac_dist.engine.train import resume, train
from sac_dist.reporting.builtin import sinks_of
from sac_dist.reporting.metrics import CsvSink, read_metrics
from sac_dist.reporting.reporter import Reporter
from sac_dist.reporting.sinks import Progress
from sac_dist.reporting.terminal import TerminalSink
from sac_dist.settings import AgentConfig, DataConfig
from sac_dist.storage import checkpoint

pytestmark = pytest.mark.timeout(120)
EPISODE = Episode(3.0, 10, True, True)
EVALUATION = Evaluation(np.full(10, 5.0), np.full(10, 7), np.arange(10) < 8)
HERE = Path(__file__).name


class Recorder(Callback):
    """Keeps each event."""

    def __init__(self) -> None:
        self.events: list[tuple] = []

    def on_start(self, run):
        self.run = run
        self.events.append(("start",))

    def on_steps(self, clock):
        self.events.append(("steps", clock))

    def on_episode(self, clock, episode):
        self.events.append(("episode", clock, episode))

    def on_update(self, clock, metrics):
        self.events.append(("update", clock, dict(metrics)))

    def on_evaluation(self, clock, evaluation):
        self.events.append(("evaluation", clock, evaluation))

    def on_checkpoint(self, clock, path):
        self.events.append(("checkpoint", clock, path))

    def on_end(self, outcome):
        self.events.append(("end", outcome))

    def names(self) -> set[str]:
        return {event[0] for event in self.events}


class Counting(Sink):
    """Its rows, and how many there were before the run was resumed."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict]] = []
        self.pictures: list[tuple[int, str, bytes]] = []
        self.earlier, self.closed = 0, 0

    def start(self, folder, config, state):
        self.earlier = 0 if state is None else state["rows"]

    def scalars(self, step, values):
        self.rows.append((step, dict(values)))

    def figure(self, step, name, png):
        self.pictures.append((step, name, png))

    def state(self):
        return {"rows": self.earlier + len(self.rows)}

    def close(self):
        self.closed += 1


def raises(event: str, kind: type = Callback, error: BaseException | None = None):
    """A callback or sink whose ``event`` raises."""

    def fail(self, *values):
        self.calls += 1
        raise error or ZeroDivisionError("a bug\nof mine")

    return type("Broken", (kind,), {event: fail, "calls": 0})()


def picture(colour: str = "red") -> Figure:
    figure = Figure(figsize=(1, 0.5), dpi=100)
    figure.set_facecolor(colour)
    return figure


# Events


def test_callbacks_get_every_event_with_the_clock(tmp_path):
    seen = Recorder()
    reporter = file_reporter(tmp_path, callbacks=[seen])
    agent = object()
    reporter.start(agent)
    for clock in (5, 5, 9):
        reporter.progress(clock, 0, 0)
    reporter.episode(10, EPISODE)
    reporter.update(10, {"alpha": 0.5})
    reporter.evaluation(8, EVALUATION)
    reporter.checkpoint(10, tmp_path / "last")
    reporter.end("the outcome")
    assert seen.run.agent is agent and seen.run.folder == tmp_path and seen.run.config == Config()
    assert seen.events == [
        ("start",),
        ("steps", 5),
        ("steps", 9),
        ("episode", 10, EPISODE),
        ("update", 10, {"alpha": 0.5}),
        ("evaluation", 8, EVALUATION),
        ("checkpoint", 10, tmp_path / "last"),
        ("end", "the outcome"),
    ]


def test_a_callback_adds_columns_and_figures(tmp_path):
    seen, sink = Recorder(), Counting()
    reporter = file_reporter(tmp_path, sinks=[sink], callbacks=[seen])
    reporter.start(object())
    reporter.episode(7, EPISODE)
    seen.run.scalars({"mine": 2})
    seen.run.scalars({"mine": 4})
    seen.run.figure("drawn", picture())
    reporter.row(10, {"updates": 0})
    reporter.close()
    assert read_metrics(tmp_path / "metrics.csv")[0]["mine"] == "3" and sink.rows[0][1]["mine"] == 3
    assert "eval_return" not in sink.rows[0][1], "only what is new"
    step, name, png = sink.pictures[0]
    assert (step, name) == (7, "drawn") and png.startswith(b"\x89PNG")
    events = EventAccumulator(str(tmp_path)).Reload()
    (image,) = events.Images("drawn")
    assert (image.step, image.width, image.height, image.encoded_image_string) == (7, 100, 50, png)
    assert events.Scalars("update/mine")[0].value == 3


def test_a_callback_cannot_take_a_column_of_the_run(tmp_path):
    class Taker(Recorder):
        def on_episode(self, clock, episode):
            self.run.scalars({"mine": 1, "step": -1})

    reporter = file_reporter(tmp_path, callbacks=[Taker()])
    reporter.start(object())
    reporter.episode(7, EPISODE)
    reporter.row(10, {"updates": 0})
    assert "ValueError: 'step' is a column of the run itself" in str(reporter.failure)
    assert f"{HERE}:{Taker.on_episode.__code__.co_firstlineno + 1}: " in str(reporter.failure)
    assert read_metrics(tmp_path / "metrics.csv")[0]["step"] == "10"


def test_the_first_reason_to_stop_counts(tmp_path):
    seen = Recorder()
    reporter = file_reporter(tmp_path, callbacks=[seen])
    reporter.start(object())
    assert reporter.stop_reason is None
    seen.run.stop("plateau")
    seen.run.stop("another")
    assert reporter.stop_reason == "plateau" and reporter.failure is None
    seen.run.stop("another", measure=False)
    assert reporter.measures  # as the first reason asked


# What they raise


@pytest.mark.parametrize("error", [None, OSError("its own file"), SystemExit(3)])
def test_a_callback_that_raises_is_named_and_silenced(tmp_path, error):
    broken, seen = raises("on_episode", error=error), Recorder()
    reporter = file_reporter(tmp_path, callbacks=[broken, seen])
    for clock in (1, 2):
        reporter.episode(clock, EPISODE)
    reporter.row(2, {"updates": 0})
    reporter.close()
    line = raises.__code__.co_firstlineno + 5
    words = str(reporter.failure)
    assert words.startswith(f"the callback Broken.on_episode failed at {__file__}:{line}: ")
    assert words.endswith("ZeroDivisionError: a bug of mine" if error is None else str(error))
    assert reporter.failure.__cause__ is error or error is None
    assert reporter.stop_reason == "failure of Broken" and broken.calls == 1
    assert len(seen.events) == 2, "the others go on until the run has ended"
    assert read_metrics(tmp_path / "metrics.csv")[0]["episodes"] == "2"


def test_the_line_is_the_callbacks_own_however_deep_the_error(tmp_path):
    class Deep(Callback):
        def on_steps(self, clock):
            json.loads("{")

    reporter = file_reporter(tmp_path, callbacks=[Deep()])
    reporter.progress(1, 0, 0)
    line = Deep.on_steps.__code__.co_firstlineno + 1
    assert f"{HERE}:{line}: JSONDecodeError" in str(reporter.failure)


def test_a_method_with_other_arguments_is_named(tmp_path):
    class Other(Callback):
        def on_steps(self):
            pass

    reporter = file_reporter(tmp_path, callbacks=[Other()])
    reporter.progress(1, 0, 0)
    assert f"{HERE}:{Other.on_steps.__code__.co_firstlineno}: TypeError" in str(reporter.failure)


@pytest.mark.parametrize("event", ["start", "scalars", "episode", "evaluation", "note", "state", "close"])
def test_a_sink_that_raises_is_named_and_the_others_go_on(tmp_path, event):
    broken, sink = raises(event, Sink, OSError("its own file")), Counting()
    reporter = file_reporter(tmp_path, sinks=[broken, sink])
    reporter.note("a line")
    reporter.episode(1, EPISODE)
    reporter.evaluation(1, EVALUATION)
    reporter.row(1, {"updates": 0})
    reporter.row(2, {"updates": 0})
    assert reporter.state()["sinks"]["Counting"] == {"rows": 2}
    reporter.close()
    assert f"the sink Broken.{event} failed at {__file__}:" in str(reporter.failure) and broken.calls == 1
    assert len(sink.rows) == len(read_metrics(tmp_path / "metrics.csv")) == 2 and sink.closed == 1


def test_a_sink_that_has_raised_is_still_closed(tmp_path):
    class Broken(Counting):
        def scalars(self, step, values):
            raise ValueError

    sink = Broken()
    reporter = file_reporter(tmp_path, sinks=[sink])
    reporter.row(1, {"updates": 0})
    reporter.close()
    reporter.close()
    assert sink.closed == 1 and "Broken.scalars" in str(reporter.failure)


def test_a_state_that_is_no_json_ends_the_run_and_not_the_checkpoint(tmp_path):
    class Odd(Sink):
        def state(self):
            return {"array": np.zeros(2)}

    reporter = file_reporter(tmp_path, sinks=[Odd()])
    json.dumps(reporter.state())
    assert "the sink Odd.state failed at" in str(reporter.failure)
    assert "not JSON serializable" in str(reporter.failure)


def test_the_runs_own_files_raise(tmp_path, monkeypatch):
    reporter = file_reporter(tmp_path)
    (tmp_path / "metrics.csv").unlink()
    (tmp_path / "metrics.csv").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        reporter.row(1, {"updates": 0})
    assert reporter.failure is None


def test_a_sink_may_refuse_to_start(tmp_path):
    first = Counting()
    with pytest.raises(ConfigError, match="log in first"):
        Reporter(tmp_path, Config(), [first, raises("start", Sink, ConfigError("log in first"))])
    assert first.closed == 1


def test_a_refused_run_leaves_the_log_that_is_there(tmp_path):
    reporter = file_reporter(tmp_path)
    reporter.episode(1, EPISODE)
    reporter.close()
    with pytest.raises(ConfigError, match="exists"):
        file_reporter(tmp_path)
    assert np.load(tmp_path / "reward_log.npy").tolist() == [3.0]


# Resume


def test_sinks_go_on_from_their_own_states(tmp_path):
    sinks = [Counting(), Counting()]
    reporter = file_reporter(tmp_path, sinks=sinks)
    reporter.row(1, {"updates": 0})
    sinks[1].rows.append((0, {}))
    state = json.loads(json.dumps(reporter.state()))
    reporter.close()
    again = [Counting(), Counting(), Recorder2()]
    file_reporter(tmp_path, state, again).close()
    assert [sink.earlier for sink in again[:2]] == [1, 2] and again[2].state_given is None


class Recorder2(Sink):
    def start(self, folder, config, state):
        self.state_given = state


def test_a_log_of_0_1_0_goes_on(tmp_path):
    reporter = file_reporter(tmp_path)
    reporter.episode(1, EPISODE)
    reporter.row(1, {"updates": 0})
    state = reporter.state()
    old = {key: value for key, value in state.items() if key != "sinks"} | {"rows": 1}
    reporter.row(2, {"updates": 0})
    reporter.close()
    resumed = file_reporter(tmp_path, old)
    resumed.row(3, {"updates": 0})
    resumed.close()
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv")] == ["1", "3"]
    assert np.load(tmp_path / "reward_log.npy").tolist() == [3.0]


@pytest.mark.parametrize("sinks", [None, 3, [], {"CsvSink": 3}, {"CsvSink": {"rows": "x", "episodes": 1}}])
def test_a_damaged_state_of_the_sinks_is_refused(tmp_path, sinks):
    state = file_reporter(tmp_path).state() | {"sinks": sinks}
    with pytest.raises(ConfigError):
        file_reporter(tmp_path, state)


def test_a_figure_at_once_after_a_resume_hides_no_row(tmp_path):
    reporter = file_reporter(tmp_path)
    reporter.row(10, {"updates": 0})
    state = reporter.state()
    reporter.row(15, {"updates": 0})  # lost
    reporter.close()
    resumed = file_reporter(tmp_path, state)
    resumed.figure("drawn", picture())
    resumed.row(20, {"updates": 0})
    resumed.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("run/updates")] == [10, 20]
    assert [event.step for event in events.Images("drawn")] == [10]


# The terminal, and which sinks there are


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_terminal_shows_lines_and_on_a_terminal_a_bar():
    plain, bar = TerminalSink(io.StringIO()), TerminalSink(Terminal())
    for sink in (plain, bar):
        sink.start(Path("."), Config(train=TrainConfig(steps=100)), None)
        sink.progress(Progress(50, 10, 2, 1.0, 1.5, 0.25))
        sink.note("a line")
        sink.evaluation(50, EVALUATION)
        sink.close()
    lines = plain.stream.getvalue().splitlines()
    assert lines[0] == "a line" and "50 steps  evaluation: " in lines[1] and len(lines) == 2
    data = DataConfig(demos=("x",), offline_steps=20)
    plain.start(Path("."), Config(data=data), None)
    plain.evaluation(50, EVALUATION)
    assert "50 steps and offline updates  evaluation: " in plain.stream.getvalue()
    assert DataConfig(offline=("x",), offline_steps=20).clock_unit == "offline updates"
    shown = bar.stream.getvalue()
    assert " 50%|" in shown and "success 25% · return 1.5 · 50 steps" in shown and "a line" in shown


def test_sinks_are_one_list():
    own = Counting()
    assert [type(sink).__name__ for sink in sinks_of(Config(), False, [own])] == [
        *("CsvSink", "TensorBoardSink", "TerminalSink", "Counting"),
    ]
    assert not any(isinstance(sink, TerminalSink) for sink in sinks_of(Config(), True, [own]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"callbacks": [Recorder]}, r"callbacks: Recorder is a class; give an object of it, Recorder\(\)"),
        ({"callbacks": [CsvSink()]}, r"callbacks: .* is no sac_dist.Callback"),
        ({"sinks": [print]}, r"sinks: .* is no sac_dist.Sink"),
    ],
)
def test_what_is_no_callback_or_sink_is_refused_at_once(tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        train(Config(train=TrainConfig(run_dir=str(tmp_path / "run"))), **arguments)
    assert not (tmp_path / "run").exists()


def test_wandb_without_its_package_is_refused_in_a_line(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()  # W&B's own files, which Python takes for a package
    monkeypatch.chdir(tmp_path)
    without = [place for place in sys.path if not (Path(place) / "wandb").is_dir()]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *without])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(
        ConfigError, match=r"^--wandb needs the package wandb: pip install 'sac-dist\[wandb\]'$"
    ):
        train(Config(train=TrainConfig(wandb="x")))
    assert [path.name for path in tmp_path.iterdir()] == ["wandb"]


def test_slow_libraries_are_not_imported_before_they_are_needed():
    program = (
        "import sys, sac_dist.engine.train; print(*{'tensorboard', 'wandb', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr


# Real runs


def config(tmp_path: Path, **settings) -> Config:
    small = {"workers": 1, "warmup_steps": 20, "batch_size": 16, "buffer_size": 5000, "eval_interval": 0}
    small |= {"compile": "off", "update_ratio": 1.0, "run_dir": str(tmp_path / "run"), "steps": 1_000_000}
    agent = AgentConfig(hidden_width=16, hidden_depth=1)
    return Config(EnvConfig("toy_envs:Point-v0"), agent, TrainConfig(**(small | settings)))


@pytest.mark.slow
def test_a_callback_sees_a_run_and_stops_it(tmp_path):
    class Stop(Recorder):
        def on_evaluation(self, clock, evaluation):
            super().on_evaluation(clock, evaluation)
            self.action = self.run.agent.act(np.zeros(2, np.float32), deterministic=True)
            if self.names() >= {"steps", "episode", "update", "checkpoint"}:
                self.run.stop("plateau")

    callback, sink = Stop(), Counting()
    settings = config(tmp_path, eval_interval=100, eval_episodes=2, checkpoint_interval=100)
    run = train(settings, sinks=[sink], callbacks=[callback], quiet=True)
    assert run.outcome.reason == "plateau" and not run.outcome.interrupted
    assert len(run.outcome.evaluation.returns) == 100, "the final policy is measured"
    assert callback.names() == {"start", "steps", "episode", "update", "evaluation", "checkpoint", "end"}
    assert callback.events[0] == ("start",) and callback.events[-1] == ("end", run.outcome)
    assert callback.run.folder == run.folder.path and callback.action.shape == (2,)
    assert len(sink.rows) == len(read_metrics(run.folder.path / "metrics.csv")) and sink.closed == 1
    assert [name for _, name, _ in sink.pictures] == ["learning_curve"]
    saved = checkpoint.read_run(run.folder.last)
    assert saved.run["log"]["sinks"]["Counting"] == {"rows": len(sink.rows)}
    episodes = sum(event[0] == "episode" for event in callback.events)
    assert episodes == saved.run["counters"][2] == run.outcome.episodes


@pytest.mark.slow
@pytest.mark.parametrize("event", ["on_start", "on_update"])
def test_a_callback_that_raises_ends_the_run_saved(tmp_path, event):
    settings = config(tmp_path, checkpoint_interval=100_000)
    with pytest.raises(TrainingFailed) as caught:
        train(settings, callbacks=[raises(event)], quiet=True)
    words, last = str(caught.value), tmp_path / "run" / "checkpoints" / "last.safetensors"
    assert f"the callback Broken.{event} failed at {__file__}:" in words and "\n" not in words
    assert words.endswith(f"ZeroDivisionError: a bug of mine; saved to {last}")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    saved = checkpoint.read_run(last)
    steps = saved.run["counters"][0]
    settings = config(tmp_path, steps=steps + 200)
    assert resume(tmp_path / "run", settings, quiet=True).outcome.steps >= steps + 200


@pytest.mark.slow
def test_a_run_in_wandb_offline_and_its_resume(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()  # it reads the environment once
    settings = config(tmp_path, steps=300, wandb="project", eval_interval=100, eval_episodes=2)
    first = train(settings, quiet=True)
    wandb.teardown()  # its process writes the file, which otherwise lasts as long as this one
    (folder,) = (first.folder.path / "wandb").glob("offline-run-*")
    (written,) = folder.glob("*.wandb")
    state = checkpoint.read_run(first.folder.last).run["log"]["sinks"]["WandbSink"]
    assert written.name == f"run-{state['id']}.wandb"
    rows = history(written)
    assert rows and all("step" in row for row in rows)
    keys = {key for row in rows for key in row}
    assert {"run/updates", "train/return", "eval/return", "update/critic_loss"} <= keys
    assert "learning_curve.width" in keys, "the picture"
    assert wandb.run is None, "the user's own W&B stays as it was"
    settings = config(tmp_path, steps=500, wandb="project", eval_interval=100, eval_episodes=2)
    resume(first.folder.path, settings, quiet=True)
    names = {path.name for path in (first.folder.path / "wandb").glob("offline-run-*/*.wandb")}
    assert names == {f"run-{state['id']}.wandb"}, "the same W&B run goes on"
    assert len(list((first.folder.path / "wandb").glob("offline-run-*"))) == 2


def history(path: Path) -> list[dict]:
    """The rows in W&B's file of a run that was offline: after 7 bytes, LevelDB's log format."""
    from wandb.proto import wandb_internal_pb2

    data, rows, whole, place = path.read_bytes(), [], b"", 7
    while place + 7 <= len(data):
        if 2**15 - place % 2**15 < 7:  # records do not begin in the last bytes of a block
            place += 2**15 - place % 2**15
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, the last part of one
            items = wandb_internal_pb2.Record.FromString(whole).history.item
            rows += [{".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}]
            whole = b""
    return [row for row in rows if row]


@pytest.mark.slow
def test_wandb_where_nobody_is_logged_in_leaves_no_folder(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()  # it reads the environment once
    with pytest.raises(ConfigError, match=r"^--wandb project: .*WANDB_MODE=offline$"):
        train(config(tmp_path, wandb="project", steps=100), quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_example_stops_on_a_plateau_and_draws(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(sac_dist.__file__).parents[1] / "examples"))
    import callback

    reason = callback.main(
        *("toy_envs:Point-v0", 2, tmp_path / "run"),
        **{"workers": 1, "eval_interval": 200, "eval_episodes": 2, "steps": 20_000, "compile": "off"},
    )
    assert reason == "plateau"
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert rows[-1]["evaluations_without_progress"] != ""
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    assert len(events.Images("eval/returns")) >= 3 and len(events.Images("learning_curve")) == 1
