"""What the supervisor asks of the place where a run's parts live: processes of this machine, or actors of a
cluster.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sac_dist.acting.hand import Hand
from sac_dist.acting.reels import Reels
from sac_dist.algorithms.agent import SACAgent
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.segment import Replay, ReplaySegment
from sac_dist.data.transitions import Transitions
from sac_dist.engine.control import Control
from sac_dist.settings import Config

# Of a member's start, counted from 0 within this run: the generation that seeds it, and the state to go on
# from.
StateOfStart = Callable[[int], tuple[int, dict[str, Any] | None]]


class Part:
    """What the supervisor keeps of a part of the run, wherever that lives: it is started again with back-off
    when it dies.

    A subclass has ``start``, ``receive``, ``kill`` and ``process``, which says ``is_alive()`` and
    ``exitcode``.
    """

    MAX_FAILURES = 5  # deaths in a row, without a sign of progress, before it is given up
    BACKOFF = 0.5  # s before the first restart; doubles each time
    process: Any

    def __init__(self, name: str, restarts: bool = True, essential: bool = True) -> None:
        self.name, self.restarts = name, restarts
        self.essential = essential  # the run ends with it
        self.failures = 0
        self.generation = -1  # counts the starts
        self.ended = False  # it has nothing left to do
        self.last_words = ""  # why it died last, where that is known
        self.last_death = ""  # how
        self.restart_at: float | None = None

    @property
    def running(self) -> bool:
        return self.restart_at is None and not self.ended

    @property
    def alive(self) -> bool:
        """Whether it has been started and has not ended, as far as this process can see."""
        return self.generation >= 0 and self.running and bool(self.process.is_alive())

    def start(self) -> None:
        """Start it, or start it again."""
        self.generation += 1
        self.restart_at = None
        self.last_words = ""

    def bury(self, now: float) -> None:
        """After a death: schedule the next start."""
        self.last_death = self.describe_death()
        self.restart_at = now + self.BACKOFF * 2**self.failures
        self.failures += 1

    def receive(self) -> list[Any]:
        """All messages that have arrived."""
        raise NotImplementedError

    def describe_death(self) -> str:
        raise NotImplementedError

    def kill(self) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class EngineInputs:
    """What the supervisor shares with its engine."""

    config: Config
    agent: SACAgent
    control: Control
    data: Transitions | None  # that the updates sample from beside the replay
    stored: Callable[[], ReplaySegment | None]  # all that the run's files hold of the replay; None: nothing
    note: Callable[[str], None]  # shows the user a line
    reels: Reels | None = None  # what a page shows, where the parts share memory with it
    hand: Hand | None = None  # of who steers from the page


class Engine(ABC):
    """Makes the parts of one run and carries what they share."""

    def __init__(self, inputs: EngineInputs) -> None:
        self.config, self.agent, self.control = inputs.config, inputs.agent, inputs.control
        # what people did in place of the policy; None: nobody can
        self.corrections: ReplayBuffer | None = None

    @property
    @abstractmethod
    def replay(self) -> Replay: ...

    @abstractmethod
    def prefill(self, demos: Transitions) -> None:
        """Put demonstrations into the empty replay, an equal part into each shard."""

    @abstractmethod
    def member(self, rank: int, state_of_start: StateOfStart) -> Part:
        """Worker ``rank``, or after the workers the learner; not started yet."""

    @abstractmethod
    def evaluator(self, best_path: Path, best_score: Callable[[], float | None]) -> Part:
        """The evaluator, not started yet; ``best_score`` is asked at each start."""

    def services(self, folder: Path) -> list[Part]:
        """Parts that the training does without, not started yet; ``folder``: the run's."""
        return []

    @abstractmethod
    def wait(self, parts: Sequence[Part], timeout: float) -> None:
        """Until one of ``parts`` may have sent something or died, for at most so many seconds."""

    @abstractmethod
    def broken(self) -> str | None:
        """Why the run cannot go on here, in a line; called often, so that the engine can look after what it
        alone knows of.
        """

    @abstractmethod
    def gather(self) -> dict[str, torch.Tensor]:
        """The networks' newest state, as SACAgent.state_dict; ``agent`` holds it too, if it is finite."""

    @abstractmethod
    def ask(self, evaluator: Part, request: object) -> None:
        """Have the networks as they are now evaluated. Raises OSError if the evaluator has just died."""

    @abstractmethod
    def close(self) -> None:
        """End what the engine has started; the parts have been killed."""
