"""The replay buffer as a service: a BaseManager process hands out shards and answers the book's calls.

``ReplayManager.launch()`` makes a buffer in that process. A run's buffer lies in its main process's memory
and is served beside it: ``ReplayManager.of_run(folder)`` finds it from any process of the same user.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import socket
import struct
import threading
from collections.abc import Callable
from multiprocessing import AuthenticationError, util
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.managers import BaseManager, BaseProxy, Server
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.data import ring
from sac_dist.data.schema import Rows, Schema
from sac_dist.settings import ConfigError
from sac_dist.system.shared import show_role

PUBLISHED = "replay-manager.json"  # in a run's folder: where its buffer is served
KEY_TIMEOUT = 3  # s that a client has to show the key
SAMPLED = ("observation", "action", "reward", "next_observation", "terminated")  # as the book samples them


class ServedReplay:
    """What lives in the manager's process behind a ReplayProxy: a buffer and the leases of its shards."""

    def __init__(self, buffer: ring.ReplayBuffer, seed: int | None = None, of_run: bool = False) -> None:
        """``of_run``: each shard has a writer among the run's own processes, so clients only sample."""
        self._buffer = buffer.for_shard(None)
        self._rng = np.random.default_rng(seed)
        self._of_run = of_run
        self._leased = set(range(buffer.shards)) if of_run else set[int]()
        self._lock = threading.RLock()  # every client has a thread of its own here

    def push(self, *transition: npt.ArrayLike) -> None:
        with self._lock:
            self._writer().push(*transition)

    def extend(self, *transitions: npt.ArrayLike) -> None:
        with self._lock:
            self._writer().extend(*transitions)

    def _writer(self) -> ring.ReplayBuffer:
        if self._buffer.shard is None:
            self._buffer = self._buffer.for_shard(self.lease())
        return self._buffer

    def sample(self, batch_size: int) -> tuple[Rows, ...]:
        with self._lock:
            rows = self._buffer.sample_rows(batch_size, self._rng)
            schema, seen = self._buffer.schema, self._buffer.seen
            parts = {name: part.copy() for name, part in schema.views(rows).items()}
            if seen is not None:
                parts["observation"] = schema.observations_of(parts["observation"], seen.now)
                parts["next_observation"] = schema.observations_of(parts["next_observation"], seen.following)
            return tuple(parts[name] for name in SAMPLED)

    def get_length(self) -> int:
        return self._buffer.get_length()

    __len__ = get_length

    def state(self) -> dict[str, Any]:
        return self._buffer.state()

    def lease(self) -> int:
        with self._lock:
            free = set(range(self._buffer.shards)) - self._leased
            if not free:
                raise ValueError(
                    f"all {self._buffer.shards} shards of the replay buffer have a writer: create it "
                    "with more shards"
                )
            shard = min(free)
            self._leased.add(shard)
            return shard

    def release(self, shard: int) -> None:
        with self._lock:
            if self._of_run or shard not in self._leased or shard == self._buffer.shard:
                raise ValueError(f"shard {shard} of the replay buffer is not leased")
            self._leased.remove(shard)

    def handle(self, shard: int | None = None) -> ring.ReplayBuffer:
        with self._lock:
            if self._of_run:
                raise ValueError("a run's processes alone map its buffer: sample from this proxy")
            if shard is not None and shard == self._buffer.shard:
                raise ValueError(
                    f"shard {shard} of the replay buffer is written to by push and extend of its proxies"
                )
            handle = self._buffer.for_shard(shard)
            if shard is not None:
                self._leased.add(shard)
            return handle


class ReplayProxy(BaseProxy):
    """The book's replay buffer: every call is a message to the manager's process, numpy arrays in and out.

    ``push`` and ``extend`` of all proxies share one shard, leased at the first call. For the speed of memory
    take a handle.

    Every call raises ConfigError once the manager's process, or the run that it served, has ended.
    """

    _exposed_ = ("push", "extend", "sample", "get_length", "__len__", "state", "lease", "release", "handle")

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return self._callmethod(method, arguments)
        except (OSError, EOFError, AuthenticationError) as error:
            raise ConfigError(
                f"the replay buffer is no longer served ({type(error).__name__}): its run or its manager has "
                "ended"
            ) from None

    def push(self, *transition: npt.ArrayLike) -> None:
        """As ReplayBuffer.push. ValueError if every shard is leased."""
        self._call("push", *transition)

    def extend(self, *transitions: npt.ArrayLike) -> None:
        """As ReplayBuffer.extend. ValueError if every shard is leased."""
        self._call("extend", *transitions)

    def sample(self, batch_size: int) -> tuple[Rows, ...]:
        """(state, action, reward, next_state, done): float32 arrays (batch_size, …), done being
        ``terminated``.
        """
        return tuple(self._call("sample", batch_size))

    def get_length(self) -> int:
        return int(self._call("get_length"))

    __len__ = get_length

    def state(self) -> dict[str, Any]:
        """As ReplayBuffer.state."""
        return dict(self._call("state"))

    def lease(self) -> int:
        """A shard nobody else writes to, until it is released. ValueError if there is none."""
        return int(self._call("lease"))

    def release(self, shard: int) -> None:
        """Give a leased shard back, for a next writer that goes on where the last one stopped."""
        self._call("release", shard)

    def handle(self, shard: int | None = None) -> ring.ReplayBuffer:
        """The buffer's memory itself, to write to ``shard`` (which counts as leased) or only to read."""
        handle: ring.ReplayBuffer = self._call("handle", shard)
        return handle


class PatientServer(Server):
    """multiprocessing's server, which would keep a thread and a file handle for ever for a client that
    connects and says nothing.
    """

    def handle_request(self, conn: Connection) -> None:
        _limit_waiting(conn, KEY_TIMEOUT)
        super().handle_request(conn)

    def accept_connection(self, conn: Connection, name: str) -> None:
        """A client that has shown the key stays, and may be silent."""
        _limit_waiting(conn, 0)
        super().accept_connection(conn, name)


def _limit_waiting(conn: Connection, seconds: int) -> None:
    """Reading from ``conn`` fails after so many seconds; 0: never."""
    same = socket.socket(fileno=conn.fileno())
    try:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", seconds, 0))
    finally:
        same.detach()


class ReplayManager(BaseManager):
    """A process that serves replay buffers to whoever connects to it.

    ``ReplayManager.launch().ReplayBuffer(capacity, schema, shards)`` makes one there and gives a ReplayProxy;
    ``ReplayManager.launch(buffer=buffer).given()`` gives one of a buffer that the caller has made. Its memory
    belongs to every process that holds a handle: what dies with the manager is the service.

    It listens on a local socket in a folder of mode 0700, knows its clients by a random key, ignores Ctrl-C,
    and ends with the process that launched it. Whoever ends last of the two removes the folder.
    """

    _Server = PatientServer
    ReplayBuffer: Callable[..., ReplayProxy]  # (capacity, schema, shards=1, seed=None), as ReplayBuffer
    _process: Any  # BaseManager's own, after start()

    @classmethod
    def of_run(cls, folder: str | os.PathLike[str]) -> ReplayProxy:
        """The replay buffer of the run that is going on in ``folder``, to sample from: its workers write to
        it.

        Raises:
            ConfigError: no run is going on there, or it is another user's.
        """
        try:
            published = json.loads((Path(folder) / PUBLISHED).read_text())
            manager = RunReplayManager(published["address"], bytes.fromhex(published["key"]))
            manager.connect()
            proxy = manager.replay()
            # A thread's proxies share one connection to an address: an earlier one may be to a dead manager.
            vars(proxy._tls).pop("connection", None)  # type: ignore[attr-defined]
            return proxy
        except FileNotFoundError:
            raise ConfigError(
                f"no run on this machine is going on in {folder}: start one there first"
            ) from None
        except (OSError, ValueError, LookupError, EOFError, AuthenticationError) as error:
            raise ConfigError(
                f"the replay buffer of {folder} cannot be reached ({type(error).__name__}: {error}): is its "
                "run still going on, and yours?"
            ) from None

    def is_alive(self) -> bool:
        """Whether the manager's process still runs."""
        return bool(self._process.is_alive())

    @classmethod
    def launch(cls, context: BaseContext | None = None) -> ReplayManager:
        """Start the process with a multiprocessing context (default: spawn); ``shutdown()`` or the caller's
        end ends it.

        Raises:
            ConfigError: see socket_address.
        """
        address = socket_address()
        folder = os.path.dirname(address)
        manager = cls(address, os.urandom(32), ctx=context or multiprocessing.get_context("spawn"))
        # If this process is itself a child, the folder is its parent's, which still needs it.
        manager.start(_end_with_parent, (folder if multiprocessing.parent_process() is None else None,))
        return manager


def _make(capacity: int, schema: Schema, shards: int = 1, seed: int | None = None) -> ServedReplay:
    return ServedReplay(ring.ReplayBuffer(capacity, schema, shards), seed)


ReplayManager.register("ReplayBuffer", _make, ReplayProxy)


class RunReplayManager(BaseManager):
    """Both ends of a run's buffer; see ReplayManager.of_run and serve."""

    replay: Callable[[], ReplayProxy]


RunReplayManager.register("replay", proxytype=ReplayProxy)


def publish(folder: Path, address: str, key: bytes) -> Path:
    """Write where a run's buffer is served into its folder, for its user's eyes alone; returns the file."""
    path = folder / PUBLISHED
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({"address": address, "key": key.hex()}, file)
    return path


def serve(buffer: ring.ReplayBuffer, address: str, key: bytes) -> None:
    """Answer the book's calls on ``buffer``; does not return. A socket of a predecessor is replaced."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address)
    served = ServedReplay(buffer, of_run=True)
    RunReplayManager.register("replay", lambda: served, ReplayProxy)
    registry = RunReplayManager._registry  # type: ignore[attr-defined]
    PatientServer(registry, address, key, "pickle").serve_forever()


def socket_address() -> str:
    """A new name in multiprocessing's own temporary folder, of mode 0700 and removed at exit. Raises
    ConfigError if that cannot be.
    """
    try:
        folder = util.get_temp_dir()
    except OSError as error:
        raise ConfigError(
            f"there is no folder for temporary files: {error.strerror or error}; set TMPDIR to one"
        ) from None
    address = os.path.join(folder, f"replay-{os.urandom(8).hex()}")
    if len(os.fsencode(address)) > 100:  # the kernel's limit is 107 on Linux, 103 on macOS
        raise ConfigError(
            f"the temporary folder {folder} has too long a name for a socket: set TMPDIR to a shorter one"
        )
    return address


def _end_with_parent(folder: str | None) -> None:
    show_role("replay-manager")

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()  # returns as soon as it is dead, SIGKILL included
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
