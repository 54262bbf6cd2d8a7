"""What a sink is: a place that the records of a run go to, such as a file, a service or the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sac_dist.acting.episode import Episode
from sac_dist.acting.evaluation import Evaluation
from sac_dist.settings import Config


@dataclass(frozen=True)
class Progress:
    """Where a run stands now."""

    clock: int  # environment steps, and updates of offline phases
    updates: int
    episodes: int
    seconds: float  # over all resumes
    recent_return: float | None  # mean of the last 100 training episodes; None before the first
    recent_success: float | None  # None too where the environment does not report success


class Sink:
    """Subclass this and override what the sink takes; every method here does nothing.

    All calls come from the main process of the run, one at a time. ``step`` is the run's clock: environment
    steps, and the updates of offline phases with them. A run that is resumed goes back to its last
    checkpoint, so steps after it come a second time.

    A method that raises ends the run: it is saved, and TrainingFailed names the sink, its file and the line.
    """

    in_run_folder = (
        False  # it writes in the run's folder: its OSError means that the folder cannot be written
    )

    def start(self, folder: Path, config: Config, state: Mapping[str, Any] | None) -> None:
        """Before everything else. ``state``: what ``state()`` returned at the checkpoint that a resumed run
        goes on from; None in a new run, or if the run had no such sink then. Raise ConfigError, with one
        line, if the run must not begin.
        """

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A row: every 1,000 steps, and one for each further evaluation. Its keys are the columns of
        :mod:`sac_dist.reporting.columns`; only what is new since the last row is there.
        """

    def episode(self, step: int, episode: Episode) -> None:
        """A training episode has ended."""

    def evaluation(self, step: int, evaluation: Evaluation) -> None:
        """The policy as it was at ``step`` has been measured; the next row holds the means."""

    def progress(self, progress: Progress) -> None:
        """About ten times a second while the run trains."""

    def figure(self, step: int, name: str, png: bytes) -> None:
        """A picture, as the bytes of a PNG file: what a callback draws, and at the end ``learning_curve``."""

    def video(self, step: int, name: str, path: Path) -> None:
        """A finished video, an mp4: ``final``, of the best policy, after the training."""

    def note(self, text: str) -> None:
        """A message for the user, of one line or several. When a signal arrives, it may come in the midst of
        another call.
        """

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold so that the sink can go on from here; plain JSON."""
        return {}

    def close(self) -> None:
        """The last call, however the run ended."""
