"""A call in a process of its own, and what a child process could leave on the machine when it is killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import forkserver, util
from pathlib import Path

import pytest
from tqdm import tqdm

from sac_dist.engine.processes import call_apart, settle_child
from sac_dist.engine.start_method import quiet_start, start_context
from sac_dist.settings import Config, ConfigError
from sac_dist.system.signals import StopSignals

pytestmark = pytest.mark.timeout(60)


def child(connection) -> None:
    settle_child()
    tqdm(total=1, disable=True)
    maps = Path("/proc/self/maps")
    connection.send((tempfile.gettempdir(), maps.exists() and "/dev/shm/" in maps.read_text()))


def test_a_child_has_no_named_semaphore_and_its_temporary_files_go_with_the_run():
    before = dict(os.environ)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=child, args=(theirs,))
    with quiet_start():
        process.start()
    assert dict(os.environ) == before
    folder, has_semaphore = ours.recv()
    process.join()
    assert process.exitcode == 0 and not has_semaphore and folder == util.get_temp_dir()


def test_the_compiler_is_loaded_ahead_only_where_something_is_compiled(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path))
        for there in (False, True):
            start_context(with_compiler=True)
            assert ("torch._inductor.select_algorithm" in forkserver._forkserver._preload_modules) is there
            (tmp_path / "sac_dist/update-0.bin").touch()
        start_context(with_compiler=False)
        assert "torch._inductor.select_algorithm" not in forkserver._forkserver._preload_modules


def test_a_call_apart_is_ended_by_a_signal():
    with StopSignals() as signals:
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        before = time.monotonic()
        with pytest.raises(ConfigError, match=r"^sleeping was ended by SIGUSR1$"):
            context = multiprocessing.get_context("spawn")
            call_apart(context, "sleeping", time.sleep, 100, signals=signals)
    assert time.monotonic() - before < 20 and not multiprocessing.active_children()


@pytest.mark.slow
def test_a_call_apart_returns_what_it_returns_and_harms_nobody():
    context = multiprocessing.get_context("spawn")
    assert call_apart(context, "dividing", divmod, 7, 2) == (3, 1)
    with pytest.raises(ConfigError, match=r"^sleeping did not finish in 3 s$"):
        call_apart(context, "sleeping", time.sleep, 100, timeout=3.0)
    with pytest.raises(ConfigError, match=r"^crashing was killed by SIGABRT$"):
        call_apart(context, "crashing", os.abort)
    with pytest.raises(ConfigError, match=r"^leaving ended with status 3$"):
        call_apart(context, "leaving", os._exit, 3)
    with pytest.raises(ConfigError, match="unknown setting"):
        call_apart(context, "reading", Config.from_dict, {"train": {"gravity": 1}})
    assert not multiprocessing.active_children()


def test_a_signal_that_comes_while_a_process_starts_is_handled_after_it():
    started = False
    with pytest.raises(KeyboardInterrupt), quiet_start():
        for _ in range(2):  # Python calls a handler between two instructions
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        started = True
    assert started


TO_THE_GROUP = """
import multiprocessing, os, signal
from multiprocessing import forkserver
from sac_dist.engine.start_method import quiet_start
if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    with quiet_start():
        forkserver.ensure_running()
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGTERM)
        child = context.Process(target=os.getpid)
        child.start()
    child.join()
    print(child.exitcode)
"""


def test_a_fork_server_outlives_a_signal_to_the_whole_group():
    done = subprocess.run([sys.executable, "-c", TO_THE_GROUP], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("0\n", "")
