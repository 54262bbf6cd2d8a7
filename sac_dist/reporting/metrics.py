"""What a run writes down while it trains: metrics.csv, reward_log.npy and TensorBoard events."""

from __future__ import annotations

import csv
import io
import os
import socket
import time
from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sac_dist.acting.episode import Episode
from sac_dist.acting.evaluation import Evaluation
from sac_dist.settings import ConfigError
from sac_dist.system.files import read_npy, replacing, write_npy

RECENT = 100  # training episodes in a running mean
COLUMNS = (
    "step", "episodes", "updates", "wall_time_s", "steps_per_s", "updates_per_s",
    "train_return", "train_success", "train_length",
    "eval_step", "eval_return", "eval_success", "eval_length", "eval_episodes",
)  # fmt: skip


class RunLog:
    """The log of one run folder, owned by one process.

    metrics.csv has one row per ``flush``; a cell is empty where nothing happened since the last row. Its
    columns are ``COLUMNS``, then whatever keys ``updates`` and ``flush`` were given, in order of appearance
    (a new one widens the file). ``train_*`` are means over the last 100 episodes, update metrics are means
    over what came since the last row. reward_log.npy holds the float32 returns of all training episodes in
    order.
    """

    def __init__(self, run_dir: str | os.PathLike[str], resume: Mapping[str, Any] | None = None) -> None:
        """Start the log of the existing folder ``run_dir``, or go on from ``resume``, the ``state()`` in its
        checkpoint.

        What the files hold beyond that state is dropped, since it will be lived again. Raises ConfigError if
        a new run would overwrite another's log, or if the log to go on with cannot be read.
        """
        self.run_dir = Path(run_dir)
        self.metrics_path = self.run_dir / "metrics.csv"
        self.rewards_path = self.run_dir / "reward_log.npy"
        self._columns = list(COLUMNS)
        self._rows = 0
        self._returns = array("f")
        self._recent: deque[tuple[float, int, bool | None]] = deque(maxlen=RECENT)
        self._flushed = (0, 0, 0.0)  # step, updates and wall time of the last row, for the rates
        self._new_episodes = False
        self._evaluations: list[dict[str, float | None]] = []
        self._sums: dict[str, tuple[float, int]] = {}  # key → sum and count since the last row
        self._events: EventFile | None = None  # made at the first row
        self._earlier_s = 0.0
        self._started = time.monotonic()
        if resume is not None:
            try:
                self._restore(resume)
            except ConfigError:
                raise
            except (
                ArithmeticError,
                AttributeError,
                LookupError,
                MemoryError,
                TypeError,
                ValueError,
            ) as error:
                raise ConfigError(f"the state of {self.run_dir}'s log is damaged: {error!r}") from error
        elif self.metrics_path.exists():
            raise ConfigError(f"{self.metrics_path} exists: a new run needs a new folder")
        else:
            self._rewrite([])

    @property
    def wall_time_s(self) -> float:
        """Seconds this run has lasted, over all its resumes."""
        return self._earlier_s + time.monotonic() - self._started

    @property
    def step(self) -> int:
        """The clock of the last row."""
        return self._flushed[0]

    @property
    def episodes(self) -> int:
        return len(self._returns)

    @property
    def recent_return(self) -> float | None:
        """Mean return of the last 100 training episodes; None before the first."""
        return _mean(total_reward for total_reward, _, _ in self._recent)

    @property
    def recent_length(self) -> float | None:
        return _mean(length for _, length, _ in self._recent)

    @property
    def recent_success(self) -> float | None:
        """Success rate of the last 100 training episodes; None if the environment does not say."""
        return _mean(success for _, _, success in self._recent if success is not None)

    def episode(self, step: int, episode: Episode) -> None:
        """Note a finished training episode; ``step``: environment steps of the run so far."""
        self._returns.append(episode.total_reward)
        self._recent.append((episode.total_reward, episode.length, episode.success))
        self._new_episodes = True

    def evaluation(self, step: int, evaluation: Evaluation) -> None:
        """Note an evaluation of the policy as it was at ``step``; the next ``flush`` writes it."""
        row = {
            "eval_step": step,
            "eval_return": evaluation.mean_return,
            "eval_success": evaluation.success_rate,
            "eval_length": evaluation.mean_length,
            "eval_episodes": len(evaluation.returns),
        }
        self._evaluations.append(row)

    def updates(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note the metrics of a gradient update (or means over several); 0-d tensors will do."""
        for key, value in metrics.items():
            total, count = self._sums.get(key, (0.0, 0))
            self._sums[key] = total + float(value), count + 1

    def flush(self, step: int, counters: Mapping[str, float]) -> None:
        """Write a row, or one for each evaluation if there were several.

        ``step`` counts the environment steps, and the updates of offline phases with them.
        ``counters`` holds ``updates``, the gradient updates of the run so far, and any further column.
        """
        now, updates = self.wall_time_s, int(counters.get("updates", 0))
        last_step, last_updates, last_time = self._flushed
        elapsed = max(now - last_time, 1e-9)
        row: dict[str, Any] = {
            "step": step,
            "episodes": self.episodes,
            "wall_time_s": now,
            "steps_per_s": (step - last_step) / elapsed,
            "updates_per_s": (updates - last_updates) / elapsed,
        }
        if self._new_episodes:
            row |= {
                "train_return": self.recent_return,
                "train_success": self.recent_success,
                "train_length": self.recent_length,
            }
        row |= {key: total / count for key, (total, count) in self._sums.items()} | dict(counters)
        for earlier in self._evaluations[:-1]:
            self._append(
                {key: row[key] for key in ("step", "episodes", "wall_time_s")} | dict(counters) | earlier
            )
        self._append(row | (self._evaluations[-1] if self._evaluations else {}))
        self._flushed = (step, updates, now)
        self._new_episodes, self._evaluations, self._sums = False, [], {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to hold so that the log can go on from here (plain JSON). Brings
        reward_log.npy up to date.
        """
        self._write_rewards()
        return {
            "rows": self._rows,
            "episodes": self.episodes,
            "recent": [list(episode) for episode in self._recent],
            "step": self._flushed[0],
            "updates": self._flushed[1],
            "wall_time_s": self.wall_time_s,
            "pending": {"episodes": self._new_episodes, "evaluations": self._evaluations, "sums": self._sums},
        }

    def close(self) -> None:
        """Write reward_log.npy and end the TensorBoard file; may be called twice."""
        self._write_rewards()
        if self._events is not None:
            self._events.file.close()

    def _restore(self, state: Mapping[str, Any]) -> None:
        rows = read_metrics(self.metrics_path)[: state["rows"]] if self.metrics_path.exists() else []
        self._columns = list(dict.fromkeys([*COLUMNS, *(rows[0] if rows else [])]))
        self._rewrite(rows)
        returns = read_returns(self.rewards_path)[: state["episodes"]]
        lost = np.full(
            state["episodes"] - len(returns), np.nan, np.float32
        )  # a deleted log must not stop a run
        self._returns = array("f", np.concatenate([returns, lost]).tobytes())
        self._write_rewards()
        self._recent.extend(
            (total_reward, length, success) for total_reward, length, success in state["recent"]
        )
        self._earlier_s = state["wall_time_s"]
        self._flushed = (state["step"], state["updates"], self._earlier_s)
        pending = state["pending"]
        self._new_episodes, self._evaluations = pending["episodes"], list(pending["evaluations"])
        self._sums = {key: (total, count) for key, (total, count) in pending["sums"].items()}

    def _append(self, cells: Mapping[str, Any]) -> None:
        row = {key: value for key, value in cells.items() if value is not None}
        new = [key for key in row if key not in self._columns]
        if new:
            self._columns += new
            self._rewrite(read_metrics(self.metrics_path))
        with self.metrics_path.open("a", newline="", encoding="utf-8") as file:
            file.write(_lines([row], self._columns))
        self._rows += 1
        self._tensorboard(row)

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        header = {column: column for column in self._columns}
        with replacing(self.metrics_path) as temporary:
            temporary.write_text(_lines([header, *rows], self._columns), encoding="utf-8", newline="")
        self._rows = len(rows)

    def _write_rewards(self) -> None:
        with replacing(self.rewards_path) as temporary:
            write_npy(
                temporary,
                np.frombuffer(self._returns, np.float32) if self._returns else np.empty(0, np.float32),
            )

    def _tensorboard(self, row: Mapping[str, Any]) -> None:
        if self._events is None:
            self._events = EventFile(self.run_dir, row["step"])
        scalars = {}
        for key, value in row.items():
            group, _, name = key.partition("_")
            if key not in COLUMNS:
                tag = f"update/{key}"
            elif group in ("train", "eval"):
                tag = f"{group}/{name}"
            else:
                tag = f"run/{key}"
            scalars[tag] = float(value)
        self._events.add(row["step"], scalars)


class EventFile:
    """A TensorBoard file that is written at once, so that a full disk is met here.

    (TensorBoard's own writer has a thread that writes every 120 s of the wall clock, and its traceback when
    that fails.)
    """

    def __init__(self, folder: Path, step: int) -> None:
        """What older files of the folder hold of ``step`` and after it is not shown."""
        from tensorboard.compat.proto.event_pb2 import (  # slow to import, so not before the first row
            Event,
            SessionLog,
        )
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._epoch = (
            time.time() - time.monotonic()
        )  # events are a run's time apart, whatever happens to the clock
        number = len(list(folder.glob("events.out.tfevents.*")))
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{number}"
        self.file = open(folder / name, "wb")  # noqa: SIM115 (closed by RunLog.close)
        self._records = RecordWriter(self.file)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._write(Event(step=step, summary=Summary(value=values)))

    def _write(self, event: Any) -> None:
        event.wall_time = self._epoch + time.monotonic()
        self._records.write(event.SerializeToString())
        self._records.flush()


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv as text by column, without a last line that a crash cut short. Raises
    ConfigError if it is no text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    whole = text[: text.rfind("\n") + 1]
    try:
        rows = list(csv.DictReader(io.StringIO(whole, newline=""), restval=None))
    except csv.Error as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return [row for row in rows if None not in row and None not in row.values()]


def read_returns(path: Path) -> np.ndarray:
    """The (episodes,) float32 returns in a reward_log.npy; none if there is no such file. Raises ConfigError
    if it holds anything else.
    """
    if not path.exists():
        return np.empty(0, np.float32)
    try:
        returns = read_npy(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if returns.ndim != 1 or returns.dtype.kind != "f":
        raise ConfigError(f"{path} is not a list of returns")
    return returns.astype(np.float32)


def _lines(rows: Iterable[Mapping[str, Any]], columns: list[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        cells = (row.get(column, "") for column in columns)
        writer.writerow([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in cells])
    return text.getvalue()


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None
