"""The sinks and callbacks of a run: they are called one after the other, and none can break the run."""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sac_dist.reporting.callbacks import Callback
from sac_dist.reporting.sinks import Sink
from sac_dist.settings import Config, ConfigError


class ReportingFailed(RuntimeError):
    """A callback or a sink has raised: the message names it, its file and the line, and is for the terminal.
    The exception itself is the ``__cause__``.
    """


class Listeners:
    """One that raises is not called again, but for a sink's ``close``; the first such failure is kept for the
    run to end in order. Only an OSError of a sink that writes the run's own files is raised from here.
    """

    def __init__(
        self, sinks: Sequence[Sink], callbacks: Sequence[Callback], failed: Callable[[str], None]
    ) -> None:
        """``failed`` is told the class of one that has raised."""
        self.sinks, self.callbacks = _names(sinks), list(callbacks)
        self.failure: ReportingFailed | None = None
        self._failed = failed
        self._silenced: set[int] = set()

    def start_sinks(self, folder: Path, config: Config, states: Mapping[str, Any]) -> None:
        """``states`` as ``sink_states()`` returned them. Raises ConfigError if a sink refuses to start, and
        whatever a sink of the run's own files makes of a damaged state.
        """
        for name, sink in self.sinks.items():
            self._tell(sink, "start", folder, config, states.get(name))

    def tell_sinks(self, event: str, *values: Any) -> None:
        for sink in self.sinks.values():
            self._tell(sink, event, *values)

    def tell_callbacks(self, event: str, *values: Any) -> None:
        for callback in self.callbacks:
            self._tell(callback, event, *values)

    def sink_states(self) -> dict[str, dict[str, Any]]:
        """What each sink wants to find again, by name."""
        return {name: self._sink_state(sink) for name, sink in self.sinks.items()}

    def close_sinks(self) -> None:
        """Close every sink, then raise the first OSError of the run's own files. Nothing is told after."""
        errors = []
        for sink in self.sinks.values():
            try:
                self._tell(sink, "close")
            except OSError as error:
                errors.append(error)
        self.sinks = {}
        if errors:
            raise errors[0]

    def _sink_state(self, sink: Sink) -> dict[str, Any]:
        state = self._tell(sink, "state")
        try:
            json.dumps(state)
        except (TypeError, ValueError) as error:
            self._fail(sink, "state", error)
            state = None
        return state or {}

    def _tell(self, listener: Sink | Callback, event: str, *values: Any) -> Any:
        if id(listener) in self._silenced:
            if event == "close":
                with contextlib.suppress(Exception):
                    return getattr(listener, event)()
            return None
        try:
            return getattr(listener, event)(*values)
        except (Exception, SystemExit) as error:
            starts = event == "start"
            if isinstance(listener, Sink) and listener.in_run_folder:
                if starts or isinstance(error, OSError):
                    raise
            elif starts and isinstance(error, ConfigError):
                raise
            self._fail(listener, event, error)
            return None

    def _fail(self, listener: Sink | Callback, event: str, error: BaseException) -> None:
        self._silenced.add(id(listener))
        name = type(listener).__name__
        if self.failure is None:
            kind = "sink" if isinstance(listener, Sink) else "callback"
            words = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
            place = _place(listener, event, error)
            self.failure = ReportingFailed(f"the {kind} {name}.{event} failed at {place}: {words}")
            self.failure.__cause__ = error
        self._failed(name)


def _names(sinks: Sequence[Sink]) -> dict[str, Sink]:
    """Each sink under its class's name, numbered from the second of a class on: its key in a checkpoint."""
    named: dict[str, Sink] = {}
    for sink in sinks:
        name = type(sink).__name__
        number = sum(type(other) is type(sink) for other in named.values()) + 1
        named[name if number == 1 else f"{name}-{number}"] = sink
    return named


def _place(listener: Sink | Callback, event: str, error: BaseException) -> str:
    """File and line of the listener's own code that ``error`` came through last."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is the call from here
    if frames:
        own = [frame for frame in frames if frame.filename == frames[0].filename]
        return f"{own[-1].filename}:{own[-1].lineno}"
    method = getattr(listener, event, None)  # the call does not fit it, or what it returned is wrong
    code = getattr(getattr(method, "__func__", method), "__code__", None)
    return "its call" if code is None else f"{code.co_filename}:{code.co_firstlineno}"
