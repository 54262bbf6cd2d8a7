"""The parts of a run as the supervisor keeps them: it hears them, and restarts or gives up what has died."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from sac_dist.engine.control import Control
from sac_dist.engine.evaluator import Result
from sac_dist.engine.guard import Guard
from sac_dist.engine.member import EpisodeDone, UpdatesDone
from sac_dist.engine.outcome import TrainingFailed
from sac_dist.engine.parts import Engine, Part
from sac_dist.system.signals import StopSignals

MORE_REPORTS = 0.2  # s in which the other processes meet what one of them has met


class GivenUp(Exception):
    """A part that the run cannot do without never works."""

    def __init__(self, part: Part) -> None:
        self.part = part


class Children:
    """``members`` train; ``others`` are the evaluator, the compiler and the engine's services.

    ``handle(part, message)`` gets every message; ``note`` shows the user a line.
    """

    def __init__(
        self,
        engine: Engine,
        control: Control,
        signals: StopSignals,
        guard: Guard,
        members: Sequence[Part],
        others: Sequence[Part],
        handle: Callable[[Part, Any], None],
        note: Callable[[str], None],
    ) -> None:
        self.engine, self.control, self.signals, self.guard = engine, control, signals, guard
        self.members, self.all = list(members), [*members, *others]
        self._handle, self._note = handle, note

    def receive(self, timeout: float) -> None:
        """Handle what arrives within ``timeout`` seconds, of every part that has been started."""
        started = [part for part in self.all if part.generation >= 0 and part.running]
        self.engine.wait(started, timeout)
        for part in started:
            for message in part.receive():
                if isinstance(message, (UpdatesDone, Result)) or (
                    isinstance(message, EpisodeDone) and not message.episode.unstable
                ):
                    part.failures = 0
                self._handle(part, message)

    def look_after(self) -> None:
        """Kill what hangs. Bury and, after a pause that grows, start again what died.

        Raises:
            GivenUp: a part died too often in a row.
            TrainingFailed: the run has lost its place.
        """
        self.guard.look()
        if (reason := self.engine.broken()) is not None and not self._told_to_stop():
            raise TrainingFailed(reason)
        for part in self.all:
            if part.generation < 0 or part.ended:
                continue
            if part.running and not part.process.is_alive():
                self._bury(part)
            elif part.restart_at is not None and time.monotonic() >= part.restart_at and self._wanted(part):
                part.start()

    def _wanted(self, part: Part) -> bool:
        """Whether a part that died has anything left to do: the members have not, once they were stopped."""
        return not (part in self.members and self.control.stopped())

    def _bury(self, part: Part) -> None:
        self.receive(0)  # its last words
        if not part.restarts:
            part.ended = True
            self.control.announce_compiled()
            if part.process.exitcode != 0:
                self._note(f"{part.describe_death()}: the update stays uncompiled")
        if part.ended:
            return
        part.bury(time.monotonic())
        if part.failures >= part.MAX_FAILURES:
            if part.essential:
                raise GivenUp(part)
            part.ended = True
            self._note(f"{part.last_death} {part.failures} times in a row; the run goes on without it")
        else:
            self._note(f"{part.last_death}{'; restarting it' if self._wanted(part) else ''}")

    def _told_to_stop(self) -> bool:
        """Whether this process has been too: a signal to the whole group, as batch systems send it, has
        reached another one first.
        """
        time.sleep(MORE_REPORTS)
        return self.signals.received is not None

    def kill(self) -> None:
        for part in self.all:
            part.kill()
