"""The manager's process: who gets in, who may write, and what it leaves behind."""

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from test_replay import ACTION, OBSERVATION, SCHEMA, extend, linux, numbers_of, push, wait_until

from sac_dist.book.replay_manager import ReplayManager, ServedReplay
from sac_dist.data.ring import ReplayBuffer
from sac_dist.settings import ConfigError


@pytest.fixture(scope="module")
def manager():
    manager = ReplayManager.launch()
    yield manager
    manager.shutdown()


def push_through(replay, results: Connection) -> None:
    """A worker with a proxy: leases a shard and writes to it."""
    shard = replay.lease()
    buffer = replay.handle(shard)
    extend(buffer, [7, 7, 7])
    results.send((shard, replay.get_length(), len(buffer)))


def push_seven(buffer: ReplayBuffer) -> None:
    push(buffer, 7)


def test_a_proxy_works_as_in_the_book(manager):
    replay = manager.ReplayBuffer(100, SCHEMA, seed=0)
    with pytest.raises(ValueError, match="empty"):
        replay.sample(1)
    for number in range(20):
        state = np.full(OBSERVATION, number)
        replay.push(state, np.full(ACTION, -number), number, state + 1, number == 19)
    assert replay.get_length() == len(replay) == 20
    state, action, reward, next_state, done = replay.sample(64)
    assert (
        state.shape == next_state.shape == (64, OBSERVATION)
        and action.shape == (64, ACTION)
        and reward.shape == done.shape == (64,)
    )
    assert all(
        type(array) is np.ndarray and array.dtype == np.float32
        for array in (state, action, reward, next_state, done)
    )
    assert (
        (state == reward[:, None]).all()
        and (action == -reward[:, None]).all()
        and (next_state == reward[:, None] + 1).all()
    )
    assert ((reward == 19) == done).all()
    rows = np.zeros((5, OBSERVATION))
    replay.extend(rows, np.zeros((5, ACTION)), np.zeros(5), rows, np.zeros(5), np.ones(5))
    assert replay.state()["written"] == [25] and replay.state()["capacity"] == 100
    with pytest.raises(ValueError, match="reward must be finite"):
        replay.push(state[0], action[0], np.nan, state[0], False)


def test_pushes_of_many_clients_all_arrive_whole():
    served = ServedReplay(ReplayBuffer(2000, SCHEMA))  # in the manager, each client is a thread
    threads = [
        threading.Thread(target=lambda: [push_with(served, number) for number in range(250)])
        for _ in range(4)
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sorted(numbers_of(served.handle().snapshot().rows)) == sorted(list(range(250)) * 4)


def push_with(replay, number: int) -> None:
    state = np.full(OBSERVATION, number)
    replay.push(state, np.full(ACTION, number), number, state, number, number)


def test_leases_are_exclusive_and_come_back(manager):
    replay = manager.ReplayBuffer(90, SCHEMA, 3)
    assert [replay.lease(), replay.lease()] == [0, 1]
    push_with(replay, 1)  # takes the third
    with pytest.raises(ValueError, match=r"all 3 shards .* have a writer"):
        replay.lease()
    for taken in (2, 7):  # the proxies' own, and none
        with pytest.raises(ValueError, match="not leased"):
            replay.release(taken)
    with pytest.raises(ValueError, match="written to by push"):
        replay.handle(2)
    replay.release(0)
    assert replay.lease() == 0


def test_a_proxy_without_a_free_shard_says_so(manager):
    replay = manager.ReplayBuffer(10, SCHEMA)
    push(replay.handle(0), 1)  # a handle counts as a lease
    with pytest.raises(ValueError, match="create it with more shards"):
        push_with(replay, 2)
    assert len(replay) == 1


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_write_to_the_managers_memory(method):
    context = multiprocessing.get_context(method)
    manager = ReplayManager.launch(context)
    try:
        replay = manager.ReplayBuffer(100, SCHEMA, 3)
        ours, theirs = context.Pipe()
        with_proxy = context.Process(target=push_through, args=(replay, theirs))
        with_proxy.start()
        assert ours.recv() == (0, 3, 3)
        with_proxy.join()
        buffer = replay.handle(1)
        with_handle = context.Process(target=push_seven, args=(buffer.for_shard(2),))
        with_handle.start()
        with_handle.join()
        push_seven(buffer)
        assert replay.state()["written"] == buffer.state()["written"] == [3, 1, 1]
        assert (replay.sample(10)[0] == 7).all() and (
            buffer.sample(10, np.random.default_rng(0)).action == 7
        ).all()
    finally:
        manager.shutdown()
    assert len(buffer) == 5 and not manager.is_alive()  # the memory lives as long as a handle


@linux
def test_only_this_user_and_the_key_get_in(manager):
    assert stat.S_IMODE(Path(manager.address).parent.stat().st_mode) == 0o700
    assert stat.S_ISSOCK(Path(manager.address).stat().st_mode)
    key = bytes(manager._authkey)
    command_line = Path(f"/proc/{manager._process.pid}/cmdline").read_bytes()
    assert len(key) == 32 and key not in command_line and key.hex().encode() not in command_line
    with pytest.raises(multiprocessing.AuthenticationError):
        ReplayManager(manager.address, b"a wrong key").connect()


def test_ctrl_c_is_left_to_the_main_process(manager):
    os.kill(manager._process.pid, signal.SIGINT)
    time.sleep(0.2)
    assert manager.is_alive() and len(manager.ReplayBuffer(10, SCHEMA)) == 0


def test_a_socket_folder_too_long_for_the_kernel_is_refused(monkeypatch):
    monkeypatch.setattr("multiprocessing.util.get_temp_dir", lambda: "/tmp/" + "x" * 100)
    with pytest.raises(ConfigError, match="TMPDIR"):
        ReplayManager.launch()


OWNER = """
import os, sys, time
from test_replay import *
from test_replay_manager import *
if __name__ == "__main__":
    manager = ReplayManager.launch(multiprocessing.get_context(sys.argv[1]))
    replay = manager.ReplayBuffer(10_000, SCHEMA, 2)
    buffer = replay.handle(0)
    extend(buffer, range(12_000))
    print(manager._process.pid, os.path.dirname(manager.address), flush=True)
    sys.stdin.readline()
"""


@linux
@pytest.mark.parametrize("ending", ["kill", "exit"])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_nothing_survives_the_process_that_owns_it(tmp_path, method, ending):
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    with subprocess.Popen(
        [sys.executable, str(script), method], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdin is not None and owner.stdout is not None
        manager, folder = owner.stdout.readline().split()
        assert runs(manager) and os.path.exists(folder)
        for pid in (
            owner.pid,
            manager,
        ):  # nothing under a name, so nothing to leave there; others' files come and go meanwhile
            maps = Path(f"/proc/{pid}/maps").read_text()
            assert "/memfd:sac_dist" in maps and "/dev/shm" not in maps
        if ending == "kill":
            owner.kill()
        else:
            owner.stdin.close()
        owner.wait(20)
        wait_until(lambda: not runs(manager), 5)
        wait_until(lambda: not os.path.exists(folder), 5)


def runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_proxy_that_outlives_its_manager_says_so(number):
    manager = ReplayManager.launch()
    proxies = [manager.ReplayBuffer(10, SCHEMA) for _ in range(2)]
    proxies[0].lease()
    for each in proxies[0].lease, lambda: proxies[0].sample(1):
        with pytest.raises(ValueError, match=r"shards of the replay buffer|empty"):
            each()
    os.kill(manager._process.pid, number)
    manager._process.join()
    manager.shutdown()
    rows = np.zeros(3)
    calls = {
        "push": (rows, rows, 0, rows, 0),
        "extend": (rows, rows, rows, rows, rows),
        "sample": (3,),
        "release": (0,),
    }
    for proxy in proxies:
        for name in proxy._exposed_:
            with pytest.raises(ConfigError, match="is no longer served") as error:
                getattr(proxy, name)(*calls.get(name, ()))
            assert "\n" not in str(error.value)
