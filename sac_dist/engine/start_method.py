"""How child processes are started. Loads in no time: the command line calls ``start_early`` before it loads
torch.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import BaseContext

from sac_dist.system.files import cache_folder
from sac_dist.system.signals import deferred_signals

# One thread each. Those of a learner that takes more (execution/threads.py) soon go to sleep where they wait
# for each other: on a busy machine they would else be twice as slow as one. Freed memory is kept: giving an
# update's tensors back to the system and faulting them in again costs up to a quarter of a large update. (32
# MiB is the C library's largest mmap threshold.)
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "GOMP_SPINCOUNT": "1000",
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}


# What a terminal or a batch system sends to the whole process group: the supervisor alone acts on it.
FOR_THE_GROUP = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
# What children are deaf to until they are settled. A fork server, which never is, can start them to the end.
AT_START = (*FOR_THE_GROUP, signal.SIGTERM)


def start_context(with_compiler: bool) -> BaseContext:
    """The start method of all children: forkserver with torch and the environments loaded once, else spawn.

    ``with_compiler``: also what a compiled update needs, if there is one to be loaded. Until then that would
    only keep the first worker waiting.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    compiled = with_compiler and any(cache_folder().glob("update-*.bin"))
    compiler = (
        ["torch._dynamo.aot_compile", "torch._inductor.select_algorithm"] if compiled else []
    )  # seconds
    context.set_forkserver_preload(
        ["sac_dist.engine.worker", "sac_dist.engine.learner", "sac_dist.engine.evaluator", *compiler]
    )
    return context


def context_on(device: str, context: BaseContext) -> BaseContext:
    """The start method of a child that uses ``device``, where others have ``context``.

    CUDA works in no process that was forked from one that has looked for a GPU, as the compiler does while it
    loads.
    """
    return context if device == "cpu" else multiprocessing.get_context("spawn")


def environment() -> dict[str, str]:
    """Variables that every process of a run has."""
    cache = cache_folder()
    return _ENVIRONMENT | {
        "XDG_CACHE_HOME": str(
            cache.parent
        ),  # where the home cannot be written it is another than the default
        "TORCHINDUCTOR_CACHE_DIR": os.environ.get("TORCHINDUCTOR_CACHE_DIR") or str(cache / "torch"),
    }


@contextlib.contextmanager
def quiet_start(deaf_to: tuple[signal.Signals, ...] = AT_START) -> Iterator[None]:
    """Children started inside are ``deaf_to`` these signals from their first instruction, and have
    ``_ENVIRONMENT`` before they load a library.

    Signal masks and environment are inherited; setting them in the child would leave its start-up
    unprotected. A signal that comes meanwhile reaches this process afterwards.
    Their temporary files lie in multiprocessing's folder, which is removed at the end: a child that is killed
    cannot remove its own.
    """
    variables = environment() | {"TMPDIR": util.get_temp_dir()}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None)
    from_stdin = script is not None and not os.path.exists(script)  # children would look for a file "<stdin>"
    if from_stdin:
        del main.__file__
    with deferred_signals():
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, deaf_to)
        try:
            resource_tracker.ensure_running()  # multiprocessing unblocks SIGINT when it starts it
            signal.pthread_sigmask(signal.SIG_BLOCK, deaf_to)
            yield
        finally:
            if from_stdin:
                main.__file__ = script
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def start_early(with_compiler: bool) -> None:
    """Have the fork server load its libraries while this process still loads its own. Where it cannot start,
    machine.py says why later.
    """
    if start_context(with_compiler).get_start_method() == "forkserver":
        with quiet_start(), contextlib.suppress(OSError):
            forkserver.ensure_running()
