"""metrics.csv and reward_log.npy of a run's folder: the sink that writes them, and how they are read."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sac_dist.acting.episode import Episode
from sac_dist.reporting.columns import COLUMNS
from sac_dist.reporting.sinks import Sink
from sac_dist.settings import Config, ConfigError
from sac_dist.system.files import read_npy, replacing, write_npy


class CsvSink(Sink):
    """metrics.csv has one line per row; a cell is empty where nothing happened since the last row. Its
    columns are ``COLUMNS``, then the others in order of appearance (a new one widens the file).
    reward_log.npy holds the float32 returns of all training episodes in order.

    What the files hold beyond the state that a run goes on from is dropped, since it will be lived again.
    """

    in_run_folder = True

    def __init__(self) -> None:
        self._columns = list(COLUMNS)
        self._rows = 0  # in the file
        self._returns = array("f")
        self._unwritten = False  # whether reward_log.npy lacks something

    def start(self, folder: Path, config: Config, state: Mapping[str, Any] | None) -> None:
        """Raises ConfigError if a new run would overwrite another's log, or the log to go on with cannot be
        read.
        """
        self.metrics_path, self.rewards_path = folder / "metrics.csv", folder / "reward_log.npy"
        if state is not None:
            self._restore(state["rows"], state["episodes"])
        elif self.metrics_path.exists():
            raise ConfigError(f"{self.metrics_path} exists: a new run needs a new folder")
        else:
            self._rewrite([])
            self._unwritten = True

    def episode(self, step: int, episode: Episode) -> None:
        self._returns.append(episode.total_reward)
        self._unwritten = True

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        new = [column for column in values if column not in self._columns]
        if new:
            self._columns += new
            self._rewrite(read_metrics(self.metrics_path))
        with self.metrics_path.open("a", newline="", encoding="utf-8") as file:
            file.write(_lines([values], self._columns))
        self._rows += 1

    def state(self) -> dict[str, Any]:
        """Brings reward_log.npy up to date."""
        self._write_rewards()
        return {"rows": self._rows, "episodes": len(self._returns)}

    def close(self) -> None:
        if self._unwritten:
            self._write_rewards()

    def _restore(self, count: int, episodes: int) -> None:
        rows = read_metrics(self.metrics_path)[:count] if self.metrics_path.exists() else []
        self._columns = list(dict.fromkeys([*COLUMNS, *(rows[0] if rows else [])]))
        self._rewrite(rows)
        returns = read_returns(self.rewards_path)[:episodes]
        lost = np.full(episodes - len(returns), np.nan, np.float32)  # a deleted log must not stop a run
        self._returns = array("f", np.concatenate([returns, lost]).tobytes())
        self._write_rewards()

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        header = {column: column for column in self._columns}
        with replacing(self.metrics_path) as temporary:
            temporary.write_text(_lines([header, *rows], self._columns), encoding="utf-8", newline="")
        self._rows = len(rows)

    def _write_rewards(self) -> None:
        returns = np.frombuffer(self._returns, np.float32) if self._returns else np.empty(0, np.float32)
        with replacing(self.rewards_path) as temporary:
            write_npy(temporary, returns)
        self._unwritten = False


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
