"""The one place that a run reports to: it keeps the means and passes all on to sinks and callbacks."""

from __future__ import annotations

import contextlib
import io
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sac_dist.acting.episode import Episode
from sac_dist.acting.evaluation import Evaluation
from sac_dist.algorithms.agent import SACAgent
from sac_dist.reporting.callbacks import Callback, TrainingRun
from sac_dist.reporting.columns import COLUMNS, INTERVENTION_RATE
from sac_dist.reporting.listeners import Listeners, ReportingFailed
from sac_dist.reporting.sinks import Progress, Sink
from sac_dist.settings import Config, ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECENT = 100  # training episodes in a running mean
DAMAGED = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)


class Reporter:
    """Told by the supervisor alone. What a callback or a sink raises does not come out of here: ``failure``
    and ``stop_reason`` say it, so that the run can end in order. An OSError of the run's own files does.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        sinks: Sequence[Sink] = (),
        callbacks: Sequence[Callback] = (),
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        """Start the sinks in the existing ``folder``, new or going on from ``saved``, the ``state()`` in a
        checkpoint.

        Raises ConfigError if ``saved`` is damaged or a sink refuses to start.
        """
        self.folder, self.config = folder, config
        self.stop_reason: str | None = None
        self.measures = True  # the final policy
        self.episodes = 0
        self._listeners = Listeners(sinks, callbacks, lambda name: self.stop(f"failure of {name}"))
        self._recent: deque[tuple[float, int, bool | None]] = deque(maxlen=RECENT)
        self._last_row = (0, 0, 0.0)  # step, updates and wall time, for the rates
        self._clock = 0
        self._told_steps = 0  # the clock of the last on_steps
        self._new_episodes = False
        self._evaluations: list[dict[str, float | None]] = []  # since the last row
        self._sums: dict[str, tuple[float, int]] = {}  # key → sum and count since the last row
        self._earlier_s = 0.0
        self._started = time.monotonic()
        try:
            states: Mapping[str, Any] = {}
            if saved is not None:
                self._restore(saved)
                states = saved.get("sinks", {"CsvSink": saved})  # 0.1.0 had no "sinks"
            self._listeners.start_sinks(folder, config, states)
        except BaseException as error:
            self._close_quietly()
            if isinstance(error, DAMAGED) and not isinstance(error, ConfigError):
                raise ConfigError(f"the state of {folder}'s log is damaged: {error!r}") from error
            raise

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close() if kind is None else self._close_quietly()

    @property
    def failure(self) -> ReportingFailed | None:
        """The first failure of a callback or a sink; the run must end."""
        return self._listeners.failure

    @property
    def wall_time_s(self) -> float:
        """Seconds this run has lasted, over all its resumes."""
        return self._earlier_s + time.monotonic() - self._started

    @property
    def last_row(self) -> int:
        """The clock of the last row."""
        return self._last_row[0]

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

    # Events, in the order of a run

    def note(self, text: str) -> None:
        """A message for the user."""
        self._listeners.tell_sinks("note", text)

    def start(self, agent: SACAgent) -> None:
        """The run is about to train ``agent``."""
        run = TrainingRun(self.folder, self.config, agent, self.stop, self._add_columns, self.figure)
        self._listeners.tell_callbacks("on_start", run)

    def stop(self, reason: str, measure: bool = True) -> None:
        """Ask for the end of the run, and for its final policy's measure; the first reason counts."""
        if self.stop_reason is None:
            self.stop_reason, self.measures = reason, measure

    def progress(self, clock: int, updates: int, episodes: int) -> None:
        """The present totals; call it often."""
        now = Progress(clock, updates, episodes, self.wall_time_s, self.recent_return, self.recent_success)
        self._listeners.tell_sinks("progress", now)
        if clock > self._told_steps:
            self._clock = max(self._clock, clock)
            self._told_steps = clock
            self._listeners.tell_callbacks("on_steps", clock)

    def episode(self, clock: int, episode: Episode) -> None:
        """A training episode has ended."""
        self._clock = max(self._clock, clock)
        self.episodes += 1
        self._recent.append((episode.total_reward, episode.length, episode.success))
        self._new_episodes = True
        if episode.intervened is not None:
            self._add_scalars({INTERVENTION_RATE: episode.intervened / episode.length})
        self._listeners.tell_sinks("episode", clock, episode)
        self._listeners.tell_callbacks("on_episode", clock, episode)

    def update(self, clock: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a gradient update (or means over several); 0-d tensors will do."""
        self._add_scalars(metrics)
        self._listeners.tell_callbacks("on_update", clock, metrics)

    def evaluation(self, clock: int, evaluation: Evaluation) -> None:
        """The policy as it was at ``clock`` has been measured; the next row holds it."""
        row = {
            "eval_step": clock,
            "eval_return": evaluation.mean_return,
            "eval_success": evaluation.success_rate,
            "eval_length": evaluation.mean_length,
            "eval_episodes": len(evaluation.returns),
        }
        self._evaluations.append(row)
        self._listeners.tell_sinks("evaluation", clock, evaluation)
        self._listeners.tell_callbacks("on_evaluation", clock, evaluation)

    def row(self, clock: int, counters: Mapping[str, float]) -> None:
        """Write a row, or one for each evaluation if there were several.

        ``counters`` holds ``updates``, the gradient updates of the run so far, and any further column.
        """
        now, updates = self.wall_time_s, int(counters.get("updates", 0))
        last_step, last_updates, last_time = self._last_row
        elapsed = max(now - last_time, 1e-9)
        row: dict[str, Any] = {
            "step": clock,
            "episodes": self.episodes,
            "wall_time_s": now,
            "steps_per_s": (clock - last_step) / elapsed,
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
            shared = {key: row[key] for key in ("step", "episodes", "wall_time_s")}
            self._scalars(clock, shared | dict(counters) | earlier)
        self._scalars(clock, row | (self._evaluations[-1] if self._evaluations else {}))
        self._last_row, self._clock = (clock, updates, now), max(self._clock, clock)
        self._new_episodes, self._evaluations, self._sums = False, [], {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to hold so that the reports can go on from here (plain JSON)."""
        return {
            "episodes": self.episodes,
            "recent": [list(episode) for episode in self._recent],
            "step": self._last_row[0],
            "updates": self._last_row[1],
            "wall_time_s": self.wall_time_s,
            "pending": {"episodes": self._new_episodes, "evaluations": self._evaluations, "sums": self._sums},
            "sinks": self._listeners.sink_states(),
        }

    def checkpoint(self, clock: int, path: Path) -> None:
        """The run is saved in ``path``."""
        self._listeners.tell_callbacks("on_checkpoint", clock, path)

    def end(self, outcome: Any) -> None:
        """The run has ended in order and is saved."""
        self._listeners.tell_callbacks("on_end", outcome)

    def figure(self, name: str, figure: Figure | bytes | Path) -> None:
        """A picture: a matplotlib Figure, or a PNG as bytes or path."""
        self._listeners.tell_sinks("figure", self._clock, name, _png(figure))

    def video(self, name: str, path: Path) -> None:
        """A finished mp4."""
        self._listeners.tell_sinks("video", self._clock, name, path)

    def close(self) -> None:
        """End every sink. Raises the first OSError of the run's own files."""
        self._listeners.close_sinks()

    # Inside

    def _add_scalars(self, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            total, count = self._sums.get(key, (0.0, 0))
            self._sums[key] = total + float(value), count + 1

    def _add_columns(self, values: Mapping[str, float]) -> None:
        if taken := [key for key in values if key in COLUMNS]:
            raise ValueError(f"{taken[0]!r} is a column of the run itself: give yours another name")
        self._add_scalars(values)

    def _scalars(self, clock: int, row: Mapping[str, Any]) -> None:
        self._listeners.tell_sinks(
            "scalars", clock, {key: value for key, value in row.items() if value is not None}
        )

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.episodes = int(state["episodes"])
        self._recent.extend(
            (total_reward, length, success) for total_reward, length, success in state["recent"]
        )
        self._earlier_s = float(state["wall_time_s"])
        self._last_row = (int(state["step"]), int(state["updates"]), self._earlier_s)
        self._clock = self._told_steps = self._last_row[0]
        pending = state["pending"]
        self._new_episodes, self._evaluations = pending["episodes"], list(pending["evaluations"])
        self._sums = {key: (total, count) for key, (total, count) in pending["sums"].items()}

    def _close_quietly(self) -> None:
        """After an error, which must not be hidden by another one."""
        with contextlib.suppress(OSError):
            self.close()


def _png(figure: Figure | bytes | Path) -> bytes:
    if isinstance(figure, bytes):
        return figure
    if isinstance(figure, Path):
        return figure.read_bytes()
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None
