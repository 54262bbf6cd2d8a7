"""Nobody in: strangers at the replay manager's socket."""

import base64
import contextlib
import json
import multiprocessing
import os
import pickle
import socket
import stat
import struct
import sys
import threading
import time
from multiprocessing import connection, util
from pathlib import Path

import pytest
from test_engine import alive, config, descendants, role_of
from test_replay import wait_until

from sac_dist.book.replay_manager import KEY_TIMEOUT, ReplayManager
from sac_dist.data.schema import Schema
from sac_dist.engine.train import train
from sac_dist.storage import checkpoint

pytestmark = pytest.mark.timeout(120)
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
NOBODY = 65534


class Payload:
    """A pickle that makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


# The socket


def hello(kind: str, marker: Path) -> bytes:
    """What a stranger sends first; a message is its length and its bytes."""
    payload = pickle.dumps(Payload(marker))
    messages = {
        "silence": b"",
        "garbage": os.urandom(200),
        "half a message": struct.pack("!i", 200) + b"#CHALLENGE#",
        "a huge message": struct.pack("!i", 2**31 - 1) + b"x",
        "a huger message": struct.pack("!iQ", -1, 2**62) + b"x",
        "a negative length": struct.pack("!i", -7) + b"x",
        "a pickle": struct.pack("!i", len(payload)) + payload,
        "a pickle alone": payload,
    }
    return messages[kind]


KINDS = (
    "silence",
    "garbage",
    "half a message",
    "a huge message",
    "a huger message",
    "a negative length",
    "a pickle",
    "a pickle alone",
)


def strangers(address: str, count: int, marker: Path) -> list[socket.socket]:
    """So many connections that stay open, of every kind in turn."""
    found = []
    for number in range(count):
        stranger = socket.socket(socket.AF_UNIX)
        stranger.settimeout(10)
        while True:
            try:
                stranger.connect(address)
                break
            except BlockingIOError:  # the queue is full
                time.sleep(0.001)
        with contextlib.suppress(OSError):
            stranger.sendall(hello(KINDS[number % len(KINDS)], marker))
        found.append(stranger)
    return found


def handles(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.slow
@linux
def test_a_thousand_strangers_change_nothing_for_a_run(tmp_path):
    seen = {"let go": False}
    published = tmp_path / "run/replay-manager.json"

    def attack() -> None:
        wait_until(lambda: len(list(tmp_path.glob("run/checkpoints/last*"))) == 1, 60)
        (manager,) = [pid for pid in descendants(os.getpid()) if role_of(pid) == "replay-manager"]
        assert stat.S_IMODE(published.stat().st_mode) == 0o600
        address, seen["key"] = json.loads(published.read_text()).values()
        seen["family"] = {pid: everything_about(pid) for pid in (os.getpid(), *descendants(os.getpid()))}
        seen["files"] = {
            path: path.read_bytes()
            for folder in (tmp_path / "run", Path(util.get_temp_dir()))
            for path in all_files(folder)
            if path != published
        }
        before = handles(manager)
        crowd = strangers(address, 1000, tmp_path / "marker")
        seen["steps"] = checkpoint.read(tmp_path / "run/checkpoints/last.safetensors").run["counters"][0]
        with pytest.raises(multiprocessing.AuthenticationError):
            connection.Client(address, authkey=b"a wrong key")
        wait_until(lambda: handles(manager) <= before, KEY_TIMEOUT + 10)  # although they are all still there
        seen["let go"] = alive(manager)
        for stranger in crowd:
            stranger.close()

    attacker = threading.Thread(target=attack)
    attacker.start()
    run = train(config(tmp_path, env="toy_envs:Slow-v0", workers=2, time=14.0, checkpoint_interval=100))
    attacker.join()
    assert run.outcome.reason == "time" and 0 < seen["steps"] < run.outcome.steps, "it went on meanwhile"
    assert seen["let go"] and not (tmp_path / "marker").exists()
    key = bytes.fromhex(seen["key"])
    assert len(key) == 32 and len(seen["family"]) >= 4 and len(seen["files"]) >= 3
    for place, text in {**seen["family"], **seen["files"]}.items():
        for form in (key, key.hex().encode(), base64.b64encode(key), repr(key).encode()):
            assert form not in text, place


def everything_about(pid: int) -> bytes:
    """What others can list of a process."""
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ", "comm"))


def all_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if stat.S_ISREG(path.lstat().st_mode)]


@pytest.mark.slow
@linux
def test_the_key_is_new_for_each_run_and_only_it_opens():
    first, second = ReplayManager.launch(), ReplayManager.launch()
    try:
        assert first._authkey != second._authkey
        key = bytes(first._authkey)
        # The nearest wrong one differs by a bit. A key that is cut would not do: HMAC fills it up with zeros,
        # and one in 256 ends with one.
        for wrong in (b"", bytes(second._authkey), key[:-1] + bytes([key[-1] ^ 1]), b"\0" * 32):
            with pytest.raises(multiprocessing.AuthenticationError):
                connection.Client(first.address, authkey=wrong)
        connection.Client(first.address, authkey=key).close()
        replay = first.ReplayBuffer(10, Schema.vector(1, 1))
        time.sleep(KEY_TIMEOUT + 1)
        assert len(replay) == 0, "who has shown the key may be silent for longer"
    finally:
        first.shutdown()
        second.shutdown()


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_does_not_even_reach_the_socket():
    manager = ReplayManager.launch()
    try:
        assert stat.S_IMODE(os.stat(os.path.dirname(manager.address)).st_mode) == 0o700
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                socket.socket(socket.AF_UNIX).connect(manager.address)
            except PermissionError:
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        manager.shutdown()
