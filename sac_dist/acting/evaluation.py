"""How good a policy is on episodes it has never seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from sac_dist.acting.episode import TRAINING_SEEDS, Episode, run_episode


@dataclass(frozen=True)
class Evaluation:
    """E episodes of one policy."""

    returns: np.ndarray  # (E,) float64, undiscounted
    lengths: np.ndarray  # (E,) int64, environment steps
    successes: np.ndarray | None  # (E,) bool; None: the environment does not say

    @classmethod
    def of(cls, played: Sequence[Episode]) -> Evaluation:
        """The evaluation that these episodes, at least one, make up."""
        successes = [episode.success for episode in played]
        return cls(
            returns=np.array([episode.total_reward for episode in played]),
            lengths=np.array([episode.length for episode in played]),
            # an environment may speak of success only where there is one
            successes=None
            if all(success is None for success in successes)
            else np.array([bool(success) for success in successes]),
        )

    @property
    def success_rate(self) -> float | None:
        return None if self.successes is None else float(self.successes.mean())

    @property
    def success_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the success rate; all of (0, 1) where the environment does not say."""
        return (
            (0.0, 1.0)
            if self.successes is None
            else wilson_interval(int(self.successes.sum()), len(self.successes))
        )

    @property
    def mean_return(self) -> float:
        return float(self.returns.mean())

    @property
    def mean_length(self) -> float:
        return float(self.lengths.mean())

    def summary(self) -> dict[str, Any]:
        """The means, and the interval where there is a success rate, as plain JSON."""
        summary: dict[str, Any] = {
            "episodes": len(self.returns),
            "mean_return": self.mean_return,
            "mean_length": self.mean_length,
        }
        if self.successes is not None:
            summary |= {"success_rate": self.success_rate, "success_interval": list(self.success_interval)}
        return summary

    def __str__(self) -> str:
        """One line for the terminal."""
        text = f"return {self.mean_return:.2f} ± {self.returns.std():.2f}, {self.mean_length:.1f} steps"
        if self.successes is None:
            return f"{text}, {len(self.returns)} episodes"
        low, high = self.success_interval
        success = f"success {self.successes.sum()}/{len(self.successes)}"
        return f"{success} (95 % interval {low:.0%} to {high:.0%}), {text}"


def evaluation_seed(index: int) -> int:
    """The reset seed of evaluation episode ``index`` (0, 1, …): the same in every run, and never one of
    training's.
    """
    return TRAINING_SEEDS + index


class NoEpisodeEnded(Exception):
    """There is nothing to report: the time was up before."""


class _TimeIsUp(Exception):
    pass


def evaluate(
    env: gymnasium.Env,
    act: Callable[[np.ndarray], np.ndarray],
    episodes: int,
    first: int = 0,
    deadline: float = math.inf,
    success: str | None = None,
) -> Evaluation:
    """Play the evaluation episodes ``first`` … ``first + episodes - 1`` (at least one) with ``act``, see
    ``run_episode``; only those that end before ``time.monotonic()`` is ``deadline``. ``success`` is
    EnvConfig's.

    Raises:
        NoEpisodeEnded: not one did.
    """

    def act_in_time(observation: np.ndarray) -> np.ndarray:
        if time.monotonic() > deadline:
            raise _TimeIsUp
        return act(observation)

    played: list[Episode] = []
    try:
        for index in range(episodes):
            played.append(run_episode(env, act_in_time, evaluation_seed(first + index), success=success))
    except _TimeIsUp:
        if not played:
            raise NoEpisodeEnded from None
    return Evaluation.of(played)


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval (1927) of a success rate, in [0, 1]; ``z`` = 1.96 covers 95 %. (0, 1) for ``n``
    = 0.
    """
    if n == 0:
        return 0.0, 1.0
    rate = successes / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)
