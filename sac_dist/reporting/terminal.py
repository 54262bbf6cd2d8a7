"""What a run shows on the terminal while it trains."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from sac_dist.acting.evaluation import Evaluation
from sac_dist.reporting.sinks import Progress, Sink
from sac_dist.settings import Config


class TerminalSink(Sink):
    """A tqdm bar over the nearest budget on a terminal; elsewhere (a log file, CI) a line per evaluation.

    Rates are over the last few seconds, so that a start-up or a slow phase does not hide in the mean.
    """

    WINDOW = 5.0  # s
    PAUSE = 0.2  # s between looks

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.config = Config()
        self.history: list[tuple[float, int, int]] = []
        self.bar: tqdm | None = None

    def start(self, folder: Path, config: Config, state: Mapping[str, Any] | None) -> None:
        """Show the bar over the budgets of ``config``."""
        self.config = config
        if self.stream.isatty():
            layout = "{percentage:3.0f}%|{bar:24}| {elapsed}<{remaining}{postfix}"
            self.bar = tqdm(total=1.0, file=self.stream, bar_format=layout, dynamic_ncols=True)

    def progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if self.history and now - self.history[-1][0] < self.PAUSE:
            return
        self.history.append((now, progress.clock, progress.updates))
        while len(self.history) > 2 and now - self.history[0][0] > self.WINDOW:
            self.history.pop(0)
        if self.bar is None:
            return
        self.bar.n = self.share_done(progress)
        success, mean_return = progress.recent_success, progress.recent_return
        parts = [] if success is None else [f"success {success:.0%}"]
        parts += [] if mean_return is None else [f"return {mean_return:.1f}"]
        steps_per_s, updates_per_s = self.rates()
        parts += [
            f"{progress.clock:,} {self.config.data.clock_unit}",
            f"{steps_per_s:.0f} steps/s",
            f"{updates_per_s:.0f} updates/s",
        ]
        with suppress(OSError):
            self.bar.set_postfix_str(" · ".join(parts), refresh=True)

    def rates(self) -> tuple[float, float]:
        """Environment steps and updates per second over the last seconds."""
        if len(self.history) < 2 or self.history[-1][0] == self.history[0][0]:
            return 0.0, 0.0
        (start, steps, updates), (end, more_steps, more_updates) = self.history[0], self.history[-1]
        return (more_steps - steps) / (end - start), (more_updates - updates) / (end - start)

    def share_done(self, progress: Progress) -> float:
        """Of the budget that will be reached first, 0 … 1."""
        train, data = self.config.train, self.config.data
        clock = (
            data.offline_updates(0)
            if data.offline
            else None
            if train.steps is None
            else train.steps + data.offline_updates(train.steps)
        )
        pairs = (
            (progress.clock, clock),
            (progress.episodes, train.episodes),
            (progress.seconds, train.time),
        )
        return min(1.0, max((done / budget for done, budget in pairs if budget is not None), default=0.0))

    def evaluation(self, step: int, evaluation: Evaluation) -> None:
        steps_per_s, updates_per_s = self.rates()
        self.note(
            f"{step:>9,} {self.config.data.clock_unit}  evaluation: {evaluation}  "
            f"({steps_per_s:.0f} steps/s, {updates_per_s:.0f} updates/s)"
        )

    def note(self, text: str) -> None:
        """A line that stays."""
        with suppress(OSError):  # nobody reads any more: a closed terminal or pipe is no reason to end a run
            if self.bar is not None:
                self.bar.write(text, file=self.stream)
            else:
                print(text, file=self.stream, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            with suppress(OSError):
                self.bar.close()
