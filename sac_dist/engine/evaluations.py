"""When a run's policy is evaluated, and what the results mean for the run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from sac_dist.acting.evaluation import Evaluation
from sac_dist.engine.children import Children
from sac_dist.engine.control import OFFLINE_UPDATES, Control
from sac_dist.engine.evaluator import TARGET_EPISODES, Request, Result
from sac_dist.engine.parts import Engine, Part
from sac_dist.settings import Config

SHORTEST_LIMIT = 60.0  # s that an evaluation may take; from then on as long as the training before it
ATTEMPTS = 2  # at the evaluation of the final policy: an evaluator that dies in it may have met bad luck


class Evaluations:
    """Asks the evaluator and keeps what it answers. ``note`` shows the user a line."""

    def __init__(self, config: Config, control: Control, engine: Engine, note: Callable[[str], None]) -> None:
        self.config, self.control, self.engine, self._note = config, control, engine, note
        self.best_score: float | None = None
        self.best_rate: float | None = None  # of successes over TARGET_EPISODES episodes
        self.evaluated = 0  # the clock of the last evaluation
        self.last: Evaluation | None = None
        self.target_reached = False
        self.pending = False
        self.confirming = False  # what is pending has come to the episodes that confirm the target
        self.obstacle = ""  # why the last request was not answered by a result
        self._asked = 0  # the evaluator's generation when it got the request
        self._told_of_no_success = False
        self.evaluator: Part

    def request(self, episodes: int, trained_s: float) -> None:
        """Have the present policy measured; nothing happens if the evaluator has died just now."""
        offline = self.control.total(OFFLINE_UPDATES)
        request = Request(self.control.clock(), episodes, max(SHORTEST_LIMIT, trained_s), offline)
        with contextlib.suppress(OSError):
            self.engine.ask(self.evaluator, request)
            self.pending, self.confirming, self.obstacle = True, False, ""
            self._asked = self.evaluator.generation

    @property
    def waiting(self) -> bool:
        """Whether an answer is to come; it is not once the evaluator has died."""
        evaluator = self.evaluator
        if self.pending and (evaluator.restart_at is not None or evaluator.generation != self._asked):
            self.give_up(evaluator.last_death)
        return self.pending

    def take(self, result: Result) -> None:
        self.pending = self.confirming = False
        self.last, self.evaluated = result.evaluation, result.steps
        if result.is_best:
            self.best_score = result.score
        if result.cut:
            self._note(f"that evaluation was cut to {len(self.last.returns)} episodes: its time was up")
        target, rate = self.config.train.success_target, self.last.success_rate
        counts = rate is not None and len(self.last.returns) >= TARGET_EPISODES
        if rate is not None and counts:
            self.best_rate = max(rate, self.best_rate or 0.0)
        if target is None:
            return
        if rate is None and not self._told_of_no_success:
            self._told_of_no_success = True
            self._note(
                f"--success-target cannot be reached: {self.config.env.name} reports no success, neither "
                "info['success'] nor info['is_success']; the run ends by its other budgets"
            )
        elif rate is not None and counts and rate >= target:
            self.target_reached = True

    def give_up(self, obstacle: str) -> None:
        """The request will have no result."""
        self.pending, self.confirming, self.obstacle = False, False, obstacle

    def measure_final(self, children: Children, trained_s: float) -> None:
        """``last`` becomes the final policy's evaluation, or None and a line why it was not measured."""
        if self.target_reached:
            return  # the policy that reached it has been measured already
        self._wait_for(children, lambda: self.waiting)
        self.last = None
        self.evaluator.essential = False
        for attempt in range(ATTEMPTS):
            self._wait_for(children, lambda: self.evaluator.restart_at is not None)
            if not self._may_go_on(children):
                break
            again = " once more" if attempt else ""
            self._note(f"evaluating the final policy on {TARGET_EPISODES} unseen episodes{again}")
            self.request(TARGET_EPISODES, trained_s)
            self._wait_for(children, lambda: self.waiting)
            if self.last is not None:
                return
        signal = children.signals.received
        reason = signal.name if signal is not None else self.obstacle or self.evaluator.last_death
        self._note(f"the final policy was not measured: {reason}")

    def _may_go_on(self, children: Children) -> bool:
        return self.evaluator.alive and children.signals.received is None

    def _wait_for(self, children: Children, condition: Callable[[], bool]) -> None:
        """While ``condition`` holds and no signal has come."""
        while condition() and not self.evaluator.ended and children.signals.received is None:
            children.receive(0.1)
            children.look_after()
