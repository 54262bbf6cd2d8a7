"""What a callback is: a user's own code that a run calls at its events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sac_dist.acting.episode import Episode
from sac_dist.acting.evaluation import Evaluation
from sac_dist.algorithms.agent import SACAgent
from sac_dist.settings import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class TrainingRun:
    """A run that goes on, as its callbacks see it."""

    folder: Path
    config: Config
    agent: SACAgent
    """The networks, for reading: other processes train these very tensors meanwhile, so two reads may differ
    by an update, and who writes to them spoils the run. ``agent.act(observation, deterministic=True)`` is the
    present policy. With ``--engine ray`` they are a copy, as new as the last checkpoint."""
    stop: Callable[..., None]
    """``stop(reason)`` ends the run in order: it is saved, the final policy is measured unless ``measure`` is
    False, and the Outcome's reason is ``reason``. The first reason counts."""
    scalars: Callable[[Mapping[str, float]], None]
    """``scalars(values)`` adds columns to the next row; several values of one column are averaged.
    Raises ValueError for a column of :data:`sac_dist.reporting.columns.COLUMNS`."""
    figure: Callable[[str, Figure | bytes | Path], None]
    """``figure(name, figure)`` passes a matplotlib Figure, or a PNG as bytes or path, on to every sink."""


class Callback:
    """Subclass this and override the events you need; every method here does nothing.

    Events come in the main process of the run, one at a time and never in a worker: a callback needs no locks
    and may keep what it likes on ``self``. The workers train on meanwhile, but evaluations, checkpoints and
    the watch over the workers wait for it: keep it to a second or so. ``clock`` counts environment steps of
    all workers, and the updates of offline phases with them. A resumed run starts with fresh callbacks.

    A method that raises ends the run: it is saved, and TrainingFailed names the callback, its file and the
    line. That callback gets no further event.
    """

    def on_start(self, run: TrainingRun) -> None:
        """Before the first step; keep ``run`` to use it later."""

    def on_steps(self, clock: int) -> None:
        """The clock has gone on; up to ten times a second, so not at every step."""

    def on_episode(self, clock: int, episode: Episode) -> None:
        """A training episode has ended."""

    def on_update(self, clock: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a gradient update. Not of each: a worker reports its newest update with each episode,
        and a process that only updates reports every second.
        """

    def on_evaluation(self, clock: int, evaluation: Evaluation) -> None:
        """An evaluation is finished; ``clock`` is that of the policy which it measured."""

    def on_checkpoint(self, clock: int, path: Path) -> None:
        """The run is saved in ``path``: whole, and on the disk."""

    def on_end(self, outcome: Any) -> None:
        """The run has ended in order and is saved; ``outcome`` is the
        :class:`~sac_dist.engine.outcome.Outcome`. A signal or another callback's failure is such an end too,
        a worker that fails for good or a full disk is not.
        """
