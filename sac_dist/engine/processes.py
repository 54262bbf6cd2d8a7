"""Child processes, none of which outlives the run."""

from __future__ import annotations

import contextlib
import ctypes
import math
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import connection, util
from multiprocessing.context import BaseContext
from typing import Any

import torch
from tqdm import tqdm

from sac_dist.engine.parts import Part
from sac_dist.engine.start_method import AT_START, FOR_THE_GROUP, quiet_start
from sac_dist.settings import ConfigError
from sac_dist.system.shared import show_role
from sac_dist.system.signals import StopSignals

LOOK_FOR_SIGNALS = 0.1  # s between looks
PARENT_DIED = 3  # exit status of a child that lost its supervisor
IMPORTED = 4  # exit status of a child whose import of the calling script called train() again
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>: a signal for when the process that started this one dies


def settle_child() -> None:
    """First call of every child: its role as its name, one torch thread, no Ctrl-C or hang-up; the end of the
    supervisor is the child's end.
    """
    process = multiprocessing.current_process()
    show_role(process.name)
    process.daemon = False  # an environment may start processes of its own
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in FOR_THE_GROUP:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, AT_START)  # see quiet_start
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # Adam's moments decay to such slow numbers: an update took a third longer
    tqdm.set_lock(
        threading.RLock()
    )  # torch uses it; its own lock is a semaphore with a name, which stays in /dev/shm after SIGKILL
    parent = multiprocessing.parent_process()
    assert parent is not None, "settle_child belongs into a child process"

    starter = os.getppid()  # the supervisor, or the fork server between
    temporary = util.get_temp_dir()  # the supervisor's

    def watch() -> None:
        connection.wait([parent.sentinel])
        shutil.rmtree(temporary, ignore_errors=True)  # first: this process may die with the fork server
        if (
            starter != parent.pid
        ):  # and with it the siblings that cannot watch: stopped ones, or deaf in a simulator's C code
            with contextlib.suppress(OSError):
                os.kill(starter, signal.SIGKILL)
        os._exit(PARENT_DIED)

    with contextlib.suppress(OSError, AttributeError):  # Linux alone
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def call_apart(
    context: BaseContext,
    what: str,
    function: Callable[..., Any],
    *arguments: Any,
    timeout: float | None = None,
    signals: StopSignals | None = None,
) -> Any:
    """``function(*arguments)`` in a process of its own, so that a simulator can hang or crash there without
    harm to this one. One of ``signals`` ends it early.

    Raises ConfigError: the function's, or in a line that begins with ``what`` what became of the process.
    SystemExit where the process imports a script that trains.
    """
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, function, arguments), name="apart", daemon=True)  # type: ignore[attr-defined]
    try:
        with quiet_start():
            process.start()
        theirs.close()
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not ours.poll(LOOK_FOR_SIGNALS):
            if signals is not None and signals.received is not None:
                raise ConfigError(f"{what} was ended by {signals.received.name}")
            if time.monotonic() > deadline:
                raise ConfigError(f"{what} did not finish in {timeout:g} s")
        error, result = ours.recv()
    except EOFError:
        process.join()
        if process.exitcode == IMPORTED:
            raise SystemExit(  # the line alone: the traceback of the script's own call says nothing more
                "sac-dist: each process of a run imports the script that calls train() or resume(): put the "
                'call under if __name__ == "__main__":'
            ) from None
        raise ConfigError(f"{what} {_end_of(process)}") from None
    finally:
        if process.pid is not None:
            process.kill()
            process.join()
    if error is not None:
        raise ConfigError(error)
    return result


def refuse_to_train_while_imported() -> None:
    """End a child that trains because it imports the script whose child it is; ``call_apart`` says so in the
    parent.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(IMPORTED)


def _answer(pipe: connection.Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    settle_child()
    try:
        pipe.send((None, function(*arguments)))
    except ConfigError as error:
        pipe.send((str(error), None))


def _end_of(process: Any) -> str:
    code = process.exitcode
    return (
        f"was killed by {signal.Signals(-code).name}"
        if code is not None and code < 0
        else f"ended with status {code}"
    )


class Child(Part):
    """A process with a pipe to it.

    ``make_task(generation)`` gives the arguments of ``target`` after the connection.
    """

    def __init__(
        self,
        context: BaseContext,
        name: str,
        target: Callable[..., None],
        make_task: Callable[[int], tuple[Any, ...]],
        restarts: bool = True,
        essential: bool = True,
    ) -> None:
        super().__init__(name, restarts, essential)
        self._context, self._target, self._make_task = context, target, make_task

    def start(self) -> None:
        super().start()
        self.connection, theirs = self._context.Pipe()
        self.process = self._context.Process(  # type: ignore[attr-defined]
            target=self._target, args=(theirs, *self._make_task(self.generation)), name=self.name, daemon=True
        )
        with quiet_start():
            self.process.start()
        theirs.close()

    def receive(self) -> list[Any]:
        """All messages that have arrived; a message cut off by the sender's death is dropped."""
        messages = []
        with contextlib.suppress(EOFError, OSError):
            while self.connection.poll():
                messages.append(self.connection.recv())
        return messages

    def bury(self, now: float) -> None:
        self.process.join()
        self.connection.close()
        super().bury(now)

    def describe_death(self) -> str:
        return f"{self.name} {_end_of(self.process)}"

    def kill(self) -> None:
        if self.generation >= 0 and self.process.is_alive():
            self.process.kill()
        if self.generation >= 0 and self.process.pid is not None:  # else its start failed
            self.process.join(5)
