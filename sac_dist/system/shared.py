"""Arrays in anonymous memory that several processes map, and what belongs to having several.

The memory has no name: nothing can be left in /dev/shm, its size limit (64 MB in Docker) does not apply, and
the kernel frees it with the last process that maps it, however that process ends.
"""

from __future__ import annotations

import contextlib
import errno
import math
import mmap
import os
import platform
import tempfile
import threading
import weakref
from collections.abc import Callable
from multiprocessing import reduction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from sac_dist.settings import ConfigError
from sac_dist.settings.allowance import cgroup_folders, read_number

if TYPE_CHECKING:
    import torch

KEEPS_ORDER = platform.machine() in (
    "x86_64",
    "AMD64",
)  # this processor, of one core's reads, and of its writes


class SharedArray:
    """A zero-filled array whose memory every process that unpickles it maps too.

    It is pickled as an argument of a ``multiprocessing.Process`` (spawn, forkserver) or through a
    multiprocessing connection, queue or manager, which all carry its file descriptor along; any other pickle
    raises TypeError. A page takes memory once it is written to. The memory is unmapped when this object and
    every view of ``array`` are gone.

    Args:
        shape: any shape, as for ``np.zeros``.
        dtype: any plain dtype: float32, float64, int64, uint8, …

    Raises:
        ConfigError: the machine or container does not have so much memory.
    """

    array: npt.NDArray[Any]

    def __init__(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> None:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        check_memory(nbytes, f"an array of shape {shape}")
        try:
            fd = _anonymous_file(max(nbytes, 1))  # an empty file cannot be mapped
            self._map(fd, shape, np.dtype(dtype))
        except OSError as error:
            if error.errno in (errno.ENOMEM, errno.ENOSPC, errno.EFBIG):
                raise _too_large(nbytes, f"an array of shape {shape}") from error
            raise

    def _map(self, fd: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Takes over ``fd``: it is kept to be handed on to other processes, and closed with this object."""
        weakref.finalize(self, os.close, fd)
        self._fd = fd
        self.array = np.ndarray(shape, dtype, buffer=mmap.mmap(fd, 0))

    @property
    def nbytes(self) -> int:
        return self.array.nbytes

    def tensor(self) -> torch.Tensor:
        """A CPU tensor over the same memory, with the array's shape and dtype."""
        # the manager's process holds arrays but never needs torch, which takes a second to import
        import torch

        return torch.from_numpy(self.array)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a SharedArray can only be pickled to another process by multiprocessing: save a copy of "
            "its .array instead"
        )


class DoubleBuffer:
    """A row of float64 that is replaced whole, and float32 numbers that follow from it.

    Where it is shared, one process at a time calls :meth:`write`; it writes beside the present row and then
    says which counts, so that it may be killed anywhere. The float32 numbers are written in place: a reader
    may see some of them a moment before the others.

    Args:
        size: numbers of the row.
        followers: how many float32 follow from it, in ``numbers``.
    """

    numbers: npt.NDArray[np.float32]  # (followers,)

    def __init__(self, size: int, followers: int) -> None:
        self._size, self._followers = size, followers
        self._shared: SharedArray | None = None
        self._bind(np.zeros(2 * size + 1 + -(-followers // 2)))

    def _bind(self, memory: npt.NDArray[np.float64]) -> None:
        self._memory = memory
        rows, turn, numbers = np.split(memory, [2 * self._size, 2 * self._size + 1])
        self._rows, self._turn = rows.reshape(2, -1), turn.view(np.int64)
        self.numbers = numbers.view(np.float32)[: self._followers]

    def share_memory(self) -> None:
        """From now on every process that it is sent to sees the same."""
        if self._shared is None:
            self._shared = SharedArray(self._memory.shape, np.float64)
            self._shared.array[:] = self._memory
            self._bind(self._shared.array)

    def __getstate__(self) -> dict[str, Any]:
        memory = self._memory if self._shared is None else None
        return {"sizes": (self._size, self._followers), "shared": self._shared, "memory": memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._size, self._followers = state["sizes"]
        self._shared = state["shared"]
        # what Ray unpickles can only be read
        self._bind(state["memory"].copy() if self._shared is None else self._shared.array)

    @property
    def first(self) -> float:
        """The row's first number."""
        return self._rows.item(self._turn.item(0) % 2, 0)

    def read(self) -> npt.NDArray[np.float64]:
        """A copy of the row (size,)."""
        while True:
            turn = self._turn.item(0)
            memory_fence()
            row = self._rows[turn % 2].copy()
            memory_fence()
            if self._turn.item(0) == turn:
                return row

    def write(self, row: npt.ArrayLike, numbers: npt.ArrayLike) -> None:
        turn = self._turn.item(0) + 1
        self._rows[turn % 2] = row
        self.numbers[:] = numbers
        memory_fence()
        self._turn[0] = turn
        memory_fence()


def check_memory(nbytes: int, what: str) -> None:
    """Raise ConfigError, with the sizes, if the machine or container does not have so many bytes left."""
    if nbytes > available_memory():
        raise _too_large(nbytes, what)


def _too_large(nbytes: int, what: str) -> ConfigError:
    return ConfigError(
        f"{what} needs {nbytes / 2**20:.1f} MiB of memory, and {available_memory() / 2**20:.1f} MiB are "
        "available"
    )


def available_memory() -> int:
    """Bytes that can still be allocated: free RAM and swap, or what is left of the container's limit where
    that is less.
    """
    try:
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        kib = {words[0]: int(words[1]) for words in lines}
        available = (kib["MemAvailable:"] + kib["SwapFree:"]) * 1024
    except (OSError, KeyError):  # not Linux
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for folder in cgroup_folders("memory"):
        left = _left_in_cgroup(folder)
        available = available if left is None else min(available, left)
    return available


def _left_in_cgroup(folder: Path) -> int | None:
    """Bytes below the group's limit, of version 2 or 1, counting as free what it holds of files' contents,
    which the kernel gives back; None: no limit.
    """
    for limit_name, used_name, prefix in (
        ("memory.max", "memory.current", ""),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        limit, used = read_number(folder / limit_name), read_number(folder / used_name)
        if limit is None:
            continue
        try:
            lines = [line.split() for line in (folder / "memory.stat").read_text().splitlines()]
            counted = {words[0]: int(words[1]) for words in lines}
        except (OSError, IndexError, ValueError):
            counted = {}
        given_back = sum(counted.get(f"{prefix}{kind}_file", 0) for kind in ("active", "inactive"))
        return max(0, limit - max(0, (used or 0) - given_back))
    return None


def show_role(role: str) -> None:
    """Give this process its role as the name that top and ps show; at most 15 characters count, and only on
    Linux.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(role)


def memory_fence() -> None:
    """Let other processes see this thread's memory accesses so far before its later ones.

    x86 keeps the order of reads and that of writes anyway, ARM does not, and Python has no barrier of its
    own; freeing a lock and taking one is one.
    """
    if KEEPS_ORDER:
        return
    lock = threading.Lock()  # a lock of its own, since a fork copies a shared one in any state
    for _ in range(2):
        lock.acquire()
        lock.release()


def _anonymous_file(nbytes: int) -> int:
    """A nameless file of zeros: in memory on Linux, an unlinked temporary file elsewhere."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("sac_dist")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        os.ftruncate(fd, nbytes)
    except OSError:
        os.close(fd)
        raise
    return fd


def _reduce(shared: SharedArray) -> tuple[Callable[..., SharedArray], tuple[Any, ...]]:
    return _rebuild, (reduction.DupFd(shared._fd), shared.array.shape, shared.array.dtype)


def _rebuild(duplicate: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> SharedArray:
    shared = SharedArray.__new__(SharedArray)
    shared._map(duplicate.detach(), shape, dtype)
    return shared


# Registered with multiprocessing's pickler alone, so that every other one meets __reduce__.
reduction.register(SharedArray, _reduce)
