"""A CoppeliaSim in this process, launched and ended; what its library changes in the process is put back."""

from __future__ import annotations

import ctypes
import fcntl
import locale
import os
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pyrep import PyRep
from pyrep.backend import sim

from envs.backends.base import BackendError

LAUNCH_WAIT = 20.0  # s that a launch waits for others before it
ENCODING = locale.setlocale(locale.LC_CTYPE)
_running = False  # PyRep crashes when a second simulator is launched in a process
_get_handler, _set_handler = ctypes.pythonapi.PyOS_getsig, ctypes.pythonapi.PyOS_setsig
_get_handler.restype = _set_handler.restype = ctypes.c_void_p
_get_handler.argtypes, _set_handler.argtypes = [ctypes.c_int], [ctypes.c_int, ctypes.c_void_p]


def launch(scene: str | None, window: bool) -> Any:
    """A PyRep whose simulator runs, with the scene loaded or an empty one.

    Raises BackendError where one runs already in this process.
    """
    global _running
    if _running:
        raise BackendError("a CoppeliaSim already runs in this process: close its environment first")
    simulator = PyRep()
    with one_at_a_time(), own_signals(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that PyRep has no class for a lamp
        simulator.launch(scene or "", headless=not window)
    _running = True
    return simulator


def end(simulator: Any) -> None:
    global _running
    with own_signals():
        simulator.stop()
        simulator.shutdown()
    _running = False


def version() -> str:
    """Of the simulator that runs, such as 4.1.0."""
    number = sim.ffi.new("int *")
    sim.lib.simGetInt32Parameter(sim.sim_intparam_program_version, number)
    return f"{number[0] // 10000}.{number[0] // 100 % 100}.{number[0] % 100}"


def own_encoding() -> None:
    """The first step of a simulation sets the locale to "C", in which Python opens files as ASCII."""
    locale.setlocale(locale.LC_CTYPE, ENCODING)


@contextmanager
def own_signals() -> Iterator[None]:
    """At its launch the library takes SIGINT and SIGTERM for itself, at its end it leaves the default. The
    process's own handlers come back, whoever set them, and so soon that hardly a signal is lost.
    """
    handlers = {number: _get_handler(number) for number in (signal.SIGINT, signal.SIGTERM)}
    over = threading.Event()

    def keep() -> None:
        waits = True
        while waits:
            waits = not over.wait(0.005)
            for number, handler in handlers.items():
                _set_handler(number, handler)

    keeper = threading.Thread(target=keep, name="signals", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Launches of processes with the same temporary folder come one after another; one that waits too long
    goes ahead.
    """
    with open(Path(tempfile.gettempdir()) / f"coppeliasim-{os.getuid()}.lock", "w") as lock:
        deadline = time.monotonic() + LAUNCH_WAIT
        while time.monotonic() < deadline:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.05)
        yield
