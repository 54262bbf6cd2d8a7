"""The driver's side of the exchange: one thread that carries counters, messages and weights between it and
all actors.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError

from sac_dist.engine.control import Control
from sac_dist.engine.parts import Part
from sac_dist.engine.ray.actors import Instructions, Report, Versioned
from sac_dist.engine.ray.cluster import Heartbeat

POLL = 0.05  # s until a newly started actor is looked at
BESIDE = "link"  # the group of an actor's calls that go on beside its work


class Running:
    """What a process object is locally."""

    pid = None  # on another machine

    def __init__(self) -> None:
        self.alive, self.answered, self.exitcode = True, False, None
        self.since = time.monotonic()

    def is_alive(self) -> bool:
        return self.alive


class ActorPart(Part):
    """A worker, the learner or the evaluator in an actor. ``make(start)`` starts one; ``bury_row`` books what
    dies with it.
    """

    def __init__(
        self, name: str, row: int, link: Link, make: Callable[[int], Any], bury_row: Callable[[int], None]
    ) -> None:
        super().__init__(name)
        self.row, self.is_worker = row, name.startswith("worker")
        self.actor: Any = None
        self.told: tuple[int, int | None] = (
            0,
            None,
        )  # version of the stores and of the weights that it knows
        self._link, self._make, self._bury_row = link, make, bury_row
        self.messages: deque[Any] = deque()

    def start(self) -> None:
        super().start()
        self.process = Running()
        self.how = "died"
        self.actor = self._make(self.generation)
        self.told = self._link.stores_version, None
        self.actor.run.remote()
        self._link.add(self)

    def receive(self) -> list[Any]:
        return [self.messages.popleft() for _ in range(len(self.messages))]

    def call(self, method: str, *arguments: Any) -> Any:
        """Begin a call beside the actor's work; returns its reference."""
        return getattr(self.actor, method).options(concurrency_group=BESIDE).remote(*arguments)

    def lost(self, error: Exception) -> None:
        """The exchange has failed for good."""
        text = str(error).strip()
        self.how = "died with its node" if "node has died" in text else "died"
        if "creation task" in text:
            self.last_words = text.splitlines()[-1]
        self.process.alive = False

    def bury(self, now: float) -> None:
        self.kill()
        self._bury_row(self.row)
        super().bury(now)

    def describe_death(self) -> str:
        status = self.process.exitcode
        return f"{self.name} {self.how}" if status is None else f"{self.name} ended with status {status}"

    def kill(self) -> None:
        if self.actor is not None:
            self._link.remove(self)
            if not self._link.heart.stopped:
                with contextlib.suppress(RayError):
                    ray.kill(self.actor)
            self.process.alive = False


class Link:
    """Keeps one exchange with each actor under way. Rows of ``control`` are written here as their actors
    report them.
    """

    def __init__(self, control: Control, stores: list[Any], heart: Heartbeat) -> None:
        self.control, self.stores, self.stores_version, self.heart = control, stores, 0, heart
        self.weights: Versioned | None = None
        self.arrived = threading.Event()  # something the supervisor may want to look at
        self._lock = threading.RLock()  # of the table of calls, and of a part's death against its report
        self._calls: dict[Any, ActorPart] = {}
        self._ended = False
        self._thread = threading.Thread(target=self._carry, name="link", daemon=True)
        self._thread.start()

    def add(self, part: ActorPart) -> None:
        with self._lock:
            self._calls[part.call("exchange", self._instructions(part))] = part

    def remove(self, part: ActorPart) -> None:
        with self._lock:
            self._calls = {call: other for call, other in self._calls.items() if other is not part}

    def replace_store(self, store: int, handle: Any) -> None:
        """From now on every actor is told of the new one."""
        self.stores = [handle if k == store else old for k, old in enumerate(self.stores)]
        self.stores_version += 1

    def end(self) -> None:
        self._ended = True
        self._thread.join(5)

    def _instructions(self, part: ActorPart) -> Instructions:
        version, weights = self.stores_version, self.weights if part.is_worker else None
        stores = self.stores if part.told[0] != version else None
        newer = weights if weights is not None and weights[0] != part.told[1] else None
        part.told = version, part.told[1] if weights is None else weights[0]
        return Instructions(self.control.others(part.row), self.control.row(-1), stores, newer)

    def _carry(self) -> None:
        while not self._ended:
            with self._lock:
                calls = list(self._calls)
            if not calls:
                time.sleep(POLL)
                continue
            ready, waiting = ray.wait(calls, num_returns=1, timeout=POLL)
            if ready and waiting:
                ready += ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]
            for call in ready:
                self._take(call)

    def _take(self, call: Any) -> None:
        try:
            report: Report | RayError = ray.get(call)
        except RayError as error:
            report = error
        with self._lock:
            part = self._calls.pop(call, None)
            if part is None:  # it has been killed meanwhile
                return
            if isinstance(report, RayError):
                part.lost(report)
                self.arrived.set()
                return
            self._book(part, report)
            if report.status is None:
                self._calls[part.call("exchange", self._instructions(part))] = part

    def _book(self, part: ActorPart, report: Report) -> None:
        part.process.answered = True
        self.control.put(part.row, report.row)
        if not part.is_worker and report.weights is not None:
            self.weights = report.weights
        part.messages.extend(report.messages)
        if report.status is not None:
            part.process.exitcode, part.process.alive = report.status, False
        if report.messages or report.status is not None:
            self.arrived.set()
