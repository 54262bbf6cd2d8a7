"""Machines that fail a run: no room, no folder, no file handles. One line, a status, nothing left, and the
last whole checkpoint kept.
"""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reports import file_reporter
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from test_engine import OFTEN_LOGGED, assert_all_gone, descendants, shared_memory, start, wait_for, worker_ids
from test_replay import wait_until

from sac_dist.algorithms.agent import SACAgent
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.schema import Schema
from sac_dist.engine import machine
from sac_dist.engine import train as engine_train
from sac_dist.settings import AgentConfig, Config, ConfigError, EnvConfig, TrainConfig
from sac_dist.storage import checkpoint
from sac_dist.storage.run_folder import RunFolder
from sac_dist.storage.segments import ReplayFiles
from sac_dist.system.files import replacing, write_npy

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(sys.platform != "linux", reason="prlimit, /dev/full and /proc are Linux's"),
]
FLAGS = ("--workers", "2", "--steps", "1000000", "--checkpoint-interval", "150")


@pytest.fixture
def temporary():
    with tempfile.TemporaryDirectory(prefix="sac-") as name:  # pytest's own is too long for a socket
        yield Path(name)


@pytest.fixture
def begin(tmp_path, temporary):
    """Starts a run and returns it once it has written a checkpoint."""
    runs = []

    def begin(*flags: str, run: Path = tmp_path / "run") -> subprocess.Popen:
        runs.append(start(tmp_path, *FLAGS, *flags, program=OFTEN_LOGGED, TMPDIR=str(temporary)))
        worker_ids(tmp_path, runs[0], 2)
        wait_for(run / "checkpoints/last.safetensors", runs[0])
        return runs[0]

    yield begin
    for process in runs:
        process.kill()
        process.wait()


def assert_ends_in_order(temporary: Path, process: subprocess.Popen, family: list[int]) -> str:
    """The line that the run ends with; ``family``: its children."""
    errors = process.communicate(timeout=60)[1]
    lines = errors.strip().splitlines()
    assert process.returncode == 1 and lines[-1].startswith("sac-dist: ") and "Traceback" not in errors, (
        errors
    )
    assert_all_gone(family)
    assert not list(temporary.iterdir())
    return lines[-1]


def assert_whole(run: Path) -> None:
    """The last checkpoint loads, with its transitions, and nothing half written lies beside it."""
    saved = checkpoint.read(run / "checkpoints/last.safetensors")
    saved.build_agent()
    segment = ReplayFiles(run / "replay", saved.schema).read(saved.run["replay"])
    assert saved.run["counters"][0] <= segment.stop.sum() and len(segment.rows) > 0
    assert not list(run.rglob(".*"))


# While it runs


def lead_to_full(path: Path) -> None:
    """What the run writes under this temporary name finds no room; while the run has such a file, wait for
    its renaming.
    """

    def led() -> bool:
        try:
            path.symlink_to("/dev/full")
        except FileExistsError:
            return False
        return True

    wait_until(led, 10)


def metrics_to_full(process: subprocess.Popen, run: Path) -> None:
    wait_until(
        lambda: len((run / "metrics.csv").read_text().splitlines()) > 1, 30
    )  # after that rows are only appended
    (run / "metrics.link").symlink_to("/dev/full")
    (run / "metrics.link").rename(run / "metrics.csv")


def rewards_to_full(process: subprocess.Popen, run: Path) -> None:
    lead_to_full(run / f".reward_log.{process.pid}.npy")  # what resources.replacing writes to first


def checkpoint_to_full(process: subprocess.Popen, run: Path) -> None:
    lead_to_full(run / f"checkpoints/.last.{process.pid}.safetensors")


def files_of_a_page(process: subprocess.Popen, run: Path) -> None:
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, 4096))  # a segment of the replay is larger


@pytest.mark.slow
@pytest.mark.parametrize("damage", [metrics_to_full, rewards_to_full, checkpoint_to_full, files_of_a_page])
def test_a_file_that_has_no_room_ends_the_run(tmp_path, temporary, begin, damage):
    before = shared_memory()
    process = begin()
    family = descendants(process.pid)
    damage(process, tmp_path / "run")
    line = assert_ends_in_order(temporary, process, family)
    assert "cannot write to run: " in line and ("No space left" in line or "File too large" in line)
    assert_whole(tmp_path / "run")
    assert shared_memory() == before


@pytest.mark.slow
def test_a_best_policy_that_has_no_room_ends_the_run(tmp_path, temporary, begin):
    process = begin("--eval-interval", "200", "--eval-episodes", "2")
    family = descendants(process.pid)
    (evaluator,) = (pid for pid in family if Path(f"/proc/{pid}/comm").read_text().strip() == "evaluator")
    resource.prlimit(evaluator, resource.RLIMIT_FSIZE, (1, 1))
    line = assert_ends_in_order(temporary, process, family)
    assert "cannot write to run: " in line and "File too large" in line
    assert_whole(tmp_path / "run")


@pytest.mark.slow
def test_a_full_disk_ends_the_run(tmp_path, temporary, begin):
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=140k", "none", str(disk)], capture_output=True
        ).returncode
        != 0
    ):
        pytest.skip("mounting a small disk is not allowed here")
    try:
        process = begin("--run-dir", "disk/run", run=disk / "run")
        line = assert_ends_in_order(temporary, process, descendants(process.pid))
        assert "cannot write to disk/run: " in line and "No space left" in line
        assert_whole(disk / "run")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_a_folder_that_is_removed_ends_the_run(tmp_path, temporary, begin):
    process = begin()
    family = descendants(process.pid)
    (tmp_path / "run").rename(
        tmp_path / "gone"
    )  # in one step: else the run may write into what is being removed
    assert "cannot write to run: " in assert_ends_in_order(temporary, process, family)


@pytest.mark.slow
def test_a_folder_that_becomes_read_only_ends_the_run(tmp_path, temporary, begin):
    process = begin()
    family, run, side = descendants(process.pid), str(tmp_path / "run"), str(tmp_path / "side")
    os.mkdir(side)
    if subprocess.run(["mount", "--bind", run, side], capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:  # nothing is open for writing in the side mount, and its copy is read-only from the start
        subprocess.run(["mount", "-o", "remount,bind,ro", side], check=True)
        subprocess.run(["mount", "--bind", side, run], check=True)
        line = assert_ends_in_order(temporary, process, family)
        assert "cannot write to run: " in line and "Read-only file system" in line
    finally:
        subprocess.run(["umount", "-l", run], check=False)
        subprocess.run(["umount", "-l", side], check=True)
    assert checkpoint.read(tmp_path / "run/checkpoints/last.safetensors").run["counters"][0] > 0


@pytest.mark.slow
def test_file_handles_that_run_out_end_the_run(tmp_path, temporary, begin):
    process = begin()
    family = descendants(process.pid)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (20, 20))  # it has more
    assert "Too many open files" in assert_ends_in_order(temporary, process, family)
    assert_whole(tmp_path / "run")


# Before it starts


def refused(tmp_path: Path, temporary: Path, *flags: str, handles: int = 1024) -> str:
    """The one line that a run which cannot start ends with; it leaves nothing."""
    command = [
        "bash",
        "-c",
        f'ulimit -n {handles}; exec "$@"',
        "bash",
        sys.executable,
        "-m",
        "sac_dist",
        "--train",
        "--workers",
        "2",
    ]
    flags = ("--env", "toy_envs:Point-v0", "--compile", "off", "--steps", "100", "--run-dir", "run", *flags)
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run(
        [*command, *flags], cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environment
    )
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and last.startswith("sac-dist: ") and "Traceback" not in done.stderr, (
        done.stderr
    )
    assert not list(temporary.iterdir()) and not list(tmp_path.iterdir())
    return last


@pytest.mark.slow
def test_too_few_file_handles_are_met_before_the_start(tmp_path, temporary):
    line = refused(tmp_path, temporary, handles=60)
    assert (
        "a run with 2 processes that train needs 72 file handles, 60 are allowed" in line
        and "ulimit -n" in line
    )


@pytest.mark.slow
def test_too_little_memory_is_met_before_the_start(tmp_path, temporary):
    line = refused(tmp_path, temporary, "--buffer-size", "100000000000")
    assert "100,000,000,000 transitions: that is 3433227.5 MiB" in line and "--buffer-size at most" in line


@pytest.mark.parametrize(
    ("agent", "train", "words"),
    [
        ({"hidden_width": 200_000}, {}, "of 200,000 units: .*; give --hidden-width at most"),
        ({"hidden_depth": 10**9}, {}, "1,000,000,000 hidden layers .*; ask for less of each"),
        ({"critics": 10**9}, {}, "and 1,000,000,000 critics of 2, .*; ask for less of each"),
        ({}, {"batch_size": 10**8}, "batches of 100,000,000 transitions: .*; give --batch-size at most"),
        ({}, {"buffer_size": 10**12}, "a buffer of .*; give --buffer-size at most"),
    ],
)
def test_whatever_is_larger_than_the_memory_is_met_with_the_size_that_fits(monkeypatch, agent, train, words):
    monkeypatch.setattr(machine, "available_memory", lambda: 2**33)
    schema, plain = Schema.vector(17, 7), TrainConfig(workers=2)
    with pytest.raises(ConfigError, match=words) as error:
        machine.check_machine(Config(agent=AgentConfig(**agent), train=replace(plain, **train)), schema)
    largest = str(error.value).rpartition("at most ")[2]
    if largest.isdigit():
        agent, train = ({name: int(largest) for name in part} for part in (agent, train))
        config = Config(agent=AgentConfig(**agent), train=replace(plain, **train))
        machine.check_machine(config, schema)


def test_the_memory_that_a_run_is_taken_to_need_is_what_an_agent_holds():
    schema, config = Schema.vector(17, 7), AgentConfig(hidden_width=256, hidden_depth=3, critics=3)
    held = 2 * SACAgent(schema, config).memory.nbytes
    assert 0.9 * held < machine.network_bytes(schema, config) <= held


def test_a_run_that_cannot_be_made_leaves_no_folder(tmp_path, monkeypatch):
    def fail(*_):
        raise ConfigError("no memory")

    tried = engine_train.Tried(Schema.vector(2, 2), [], "none", 200, False, False)
    monkeypatch.setattr(engine_train, "Supervisor", fail)
    monkeypatch.setattr(engine_train, "_try_environment", lambda *_: tried)
    train = TrainConfig(workers=1, compile="off", run_dir=str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="no memory"):
        engine_train.train(Config(EnvConfig("Pendulum-v1"), train=train), quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_is_met_before_the_start(tmp_path, temporary):
    assert "cannot write the run folder /proc/run" in refused(tmp_path, temporary, "--run-dir", "/proc/run")


@pytest.mark.slow
def test_a_socket_that_cannot_be_made_is_met_before_the_start(tmp_path, temporary):
    deep = temporary / ("x" * 100)
    deep.mkdir()
    assert "set TMPDIR" in refused(tmp_path, deep)


# The parts by themselves


def test_a_lock_ends_with_its_process(tmp_path):
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            folder = RunFolder.create(tmp_path / "run")
            folder.last.touch()
            os.write(theirs, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.read(ours, 1)
    with pytest.raises(ConfigError, match="another run is writing"):
        RunFolder.open(tmp_path / "run")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / "run/lock").exists()
    RunFolder.open(tmp_path / "run").unlock()


def test_a_resumed_run_removes_its_own_temporaries_alone(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.unlock()
    folder.last.touch()
    mine = [
        folder.checkpoints / ".last.4711.safetensors",
        folder.path / ".metrics.4711.csv",
        folder.videos / ".final.1.mp4",
    ]
    theirs = [folder.path / ".gitignore", folder.checkpoints / ".DS_Store", folder.path / ".git"]
    for path in (*mine, *theirs[:-1]):
        path.touch()
    theirs[-1].mkdir()
    RunFolder.open(tmp_path / "run").unlock()
    assert all(path.exists() for path in theirs) and not any(path.exists() for path in mine)


def test_what_has_no_room_leaves_the_old_file(tmp_path):
    rows = np.zeros((100, 100), np.float32)
    write_npy(tmp_path / "a.npy", rows[:1])
    with pytest.raises(OSError, match="No space left on device"), replacing(tmp_path / "a.npy") as path:
        path.symlink_to("/dev/full")
        write_npy(path, rows)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows[:1])
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("shards", [1, 3])
def test_the_files_of_the_last_checkpoint_stay_until_the_next_is_in_place(tmp_path, shards):
    """Also where a run that is resumed with other workers has counted up to the same number of transitions."""
    replay, files = ReplayBuffer(300, Schema.vector(1, 1)), ReplayFiles(tmp_path, Schema.vector(1, 1))
    for _ in range(3):
        column = np.arange(100.0)[:, None]
        replay.extend(column, column / 100, column[:, 0], column, np.zeros(100), np.zeros(100))
        saved = files.write(files.copy_new(replay))
    again, resumed = (
        ReplayBuffer(300, Schema.vector(1, 1), shards),
        ReplayFiles(tmp_path, Schema.vector(1, 1)),
    )
    resumed.load(saved, again)
    assert len(resumed.copy_new(again).rows) == 0, "workers need not wait for what was just read"
    resumed.write(resumed.copy_new(again))
    assert len(ReplayFiles(tmp_path, Schema.vector(1, 1)).read(saved).rows) == 300
    again.extend(column, column / 100, column[:, 0], column, np.zeros(100), np.zeros(100))
    newer = resumed.write(resumed.copy_new(again))
    assert len(ReplayFiles(tmp_path, Schema.vector(1, 1)).read(saved).rows) == 300
    resumed.prune()
    np.testing.assert_array_equal(
        np.sort(ReplayFiles(tmp_path, Schema.vector(1, 1)).read(newer).rows, 0),
        np.sort(again.snapshot().rows, 0),
    )


def test_a_clock_that_jumps_changes_no_time_of_a_log(tmp_path, monkeypatch):
    log = file_reporter(tmp_path)
    now = time.time()
    for number, jump in enumerate((0, 3600, -86400, 1e9)):
        monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
        log.row(number, {"updates": number})
    log.close()
    monkeypatch.undo()
    assert log.wall_time_s < 60
    (path,) = tmp_path.glob("events.out.tfevents.*")
    times = [event.wall_time for event in EventFileLoader(str(path)).Load()]
    assert len(times) == 6 and times == sorted(times) and now - 1 < times[0] and times[-1] - times[0] < 60
