"""The signals that end a run in order."""

from __future__ import annotations

import signal
import threading
from typing import Any

# SIGHUP: a terminal or an ssh connection that closes. SIGUSR1: what batch systems send before the time is up.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


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
