"""What a child process could leave on the machine when it is killed."""

import multiprocessing
import os
import tempfile
from multiprocessing import util
from pathlib import Path

import pytest
from tqdm import tqdm

from sac_dist.engine.processes import quiet_start, settle_child

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
