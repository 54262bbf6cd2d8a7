"""The signals that end a run in order."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

# SIGHUP: a terminal or ssh connection closes. SIGUSR1: a batch system says that the time is nearly up.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """While entered, ``STOPPING`` but SIGINT raise SystemExit: a command that has nothing to save ends at
    once, and what it has started and made ends with it.
    """

    def leave(number: int, frame: object) -> NoReturn:
        sys.exit(128 + number)

    handled = [number for number in STOPPING[1:] if signal.getsignal(number) is signal.SIG_DFL]
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, leave) for number in handled} if in_main_thread else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """The handlers of ``STOPPING`` are called after the block: one that raised in the middle of the start of
    a process would leave one that nobody knows.

    Blocking signals is not enough: a library's thread gets them, and the main one calls the handler.
    """
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        came.append(number)

    in_main_thread = threading.current_thread() is threading.main_thread()
    handled = [number for number in STOPPING if in_main_thread and callable(signal.getsignal(number))]
    before = {number: signal.signal(number, note) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for missed in came:
            signal.raise_signal(missed)


class StopSignals:
    """While entered, the first of ``STOPPING`` is noted in ``received``, so that the run ends in order; the
    second raises KeyboardInterrupt. A signal that was ignored stays so: nohup does that to SIGHUP.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():  # signals belong to it
            for number in STOPPING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
