"""How a run ends."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from sac_dist.acting.evaluation import Evaluation
from sac_dist.settings import ConfigError


class TrainingFailed(RuntimeError):
    """The run cannot go on; what was learned so far is saved. The message is for the terminal."""


class TargetReached(ConfigError):
    """A run that was to go on has reached its success target before."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``reason`` is the budget that was reached, or the signal's name."""

    reason: str
    steps: int
    updates: int
    episodes: int
    seconds: float
    evaluation: Evaluation | None  # of the final policy over unseen episodes; None: it was not measured
    finished: bool = True  # a budget or the target was reached, even if a signal has come since

    @property
    def interrupted(self) -> bool:
        return self.reason in signal.Signals.__members__
