"""SharedArray: the same memory in every process, nothing left behind, nothing leaked."""

import copy
import errno
import gc
import multiprocessing
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from sac_dist.settings import ConfigError
from sac_dist.system.shared import SharedArray

pytestmark = pytest.mark.timeout(60)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def resident_shared_memory() -> int:
    """Bytes of shared memory that this process has touched."""
    return 1024 * int(
        next(
            line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssShmem")
        ).split()[1]
    )


def round_trip(array: SharedArray) -> SharedArray:
    """Through a multiprocessing connection, as from another process."""
    left, right = multiprocessing.Pipe()
    with left, right:
        left.send(array)
        return right.recv()


def add_one(array: SharedArray) -> None:
    array.array += 1


def add_one_to_received(connection) -> None:
    add_one(connection.recv())


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("shape", [3, (2, 5), (), (0, 4)])
def test_is_a_zeroed_numpy_array(shape, dtype):
    array = SharedArray(shape, dtype)
    expected = np.zeros(shape, dtype)
    assert (
        array.array.dtype == expected.dtype
        and array.array.shape == expected.shape
        and array.nbytes == expected.nbytes
    )
    np.testing.assert_array_equal(array.array, expected)
    assert array.array.flags.writeable and array.array.flags.aligned


def test_tensor_is_the_same_memory():
    array = SharedArray((2, 3))
    tensor = array.tensor()
    tensor[1, 2] = 7
    assert array.array[1, 2] == 7 and tuple(tensor.shape) == (2, 3)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_given_it_writes_to_the_same_memory(method):
    context = multiprocessing.get_context(method)
    array = SharedArray((4,), np.int64)
    for generation in range(1, 4):  # respawned workers
        process = context.Process(target=add_one, args=(array,))
        process.start()
        process.join()
        assert array.array.tolist() == [generation] * 4


def test_a_process_that_receives_it_writes_to_the_same_memory():
    context = multiprocessing.get_context("spawn")
    array = SharedArray((4,), np.int64)
    ours, theirs = context.Pipe()
    process = context.Process(target=add_one_to_received, args=(theirs,))
    process.start()
    ours.send(array)
    process.join()
    assert array.array.tolist() == [1, 1, 1, 1]


def test_without_memfd_a_nameless_file_does_the_same(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    array = SharedArray((4,), np.int64)
    round_trip(array).array[:] = 3
    assert array.array.tolist() == [3, 3, 3, 3] and not list(tmp_path.iterdir())


@linux
def test_round_trips_leak_no_files():
    array = SharedArray((4,), np.int64)
    round_trip(array)  # starts the thread that hands descriptors on
    before = open_files()
    for _ in range(200):
        round_trip(array).array[0] += 1
    assert array.array[0] == 200 and open_files() == before


@linux
def test_files_close_and_memory_goes_with_the_last_view():
    files, memory = open_files(), resident_shared_memory()
    array = SharedArray((2**23,), np.uint8)
    array.array[:] = 1
    view = array.array[:10]
    del array
    assert (
        view.tolist() == [1] * 10 and resident_shared_memory() >= memory + 2**23
    )  # the view keeps the mapping
    del view
    assert open_files() == files and resident_shared_memory() < memory + 2**22


@linux
def test_pages_take_memory_once_written():
    before = resident_shared_memory()
    array = SharedArray((2**28,), np.uint8)
    array.array[:: 2**24] = 1
    assert resident_shared_memory() - before < 2**22


@linux
def test_has_no_name_in_dev_shm():
    array = SharedArray((1000,))
    copy = round_trip(array)
    address = f"{array.array.ctypes.data:x}", f"{copy.array.ctypes.data:x}"
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.startswith(address)]
    assert len(lines) == 2 and all("/memfd:sac_dist (deleted)" in line for line in lines)


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_other_pickles_are_refused(duplicate):
    with pytest.raises(TypeError, match="only be pickled to another process"):
        duplicate(SharedArray((4,)))


def test_more_than_the_memory_is_refused_with_the_sizes():
    with pytest.raises(
        ConfigError,
        match=r"^an array of shape \(1000000, 1000000\) needs 3814697\.3 MiB .* [0-9.]+ MiB are available$",
    ):
        SharedArray((10**6, 10**6))


@linux
@pytest.mark.parametrize("step", ["os.ftruncate", "mmap.mmap"])
def test_memory_that_runs_out_is_refused_and_leaks_nothing(monkeypatch, step):
    def fail(*arguments):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    before = open_files()
    monkeypatch.setattr(step, fail)
    with pytest.raises(ConfigError, match=r"shape \(4,\)") as caught:
        SharedArray((4,))
    del caught
    assert open_files() <= before  # a thread of an earlier test may have closed its own meanwhile
