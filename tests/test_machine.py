"""Machines that fail under a run: no room, no folder, no file handles. One line, status 1, nothing left, the last whole checkpoint kept."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from test_engine import assert_all_gone, descendants, shared_memory, start, wait_for, worker_ids

from sac_dist import checkpoint
from sac_dist.replay_files import ReplayFiles

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(sys.platform != "linux", reason="prlimit, /dev/full and /proc are Linux's"),
]
FLAGS = ("--workers", "2", "--steps", "1000000", "--checkpoint-interval", "150")


@pytest.fixture
def temporary():
    with tempfile.TemporaryDirectory(prefix="sac-") as name:  # pytest's own is too long for a socket
        yield Path(name)


def begin(tmp_path: Path, temporary: Path, *flags: str) -> subprocess.Popen:
    """A run that has written a checkpoint and goes on."""
    process = start(tmp_path, *FLAGS, *flags, TMPDIR=str(temporary))
    worker_ids(tmp_path, process, 2)
    wait_for(tmp_path / "run/checkpoints/last.safetensors", process)
    return process


def assert_ends_in_order(temporary: Path, process: subprocess.Popen, family: list[int]) -> str:
    """The line that the run ends with; ``family``: its children."""
    errors = process.communicate(timeout=60)[1]
    lines = errors.strip().splitlines()
    assert process.returncode == 1 and lines[-1].startswith("sac-dist: ") and "Traceback" not in errors, errors
    assert_all_gone(family)
    assert not list(temporary.iterdir())
    return lines[-1]


def assert_whole(run: Path) -> None:
    """The last checkpoint loads, with its transitions, and nothing half written lies beside it."""
    saved = checkpoint.read(run / "checkpoints/last.safetensors")
    saved.build_agent()
    segment = ReplayFiles(run / "replay").read(saved.run["replay"])
    assert saved.run["counters"][0] <= segment.stop.sum() and len(segment.rows) > 0
    assert not list(run.rglob(".*"))


def metrics_to_full(process: subprocess.Popen, run: Path) -> None:
    (run / "metrics.csv").unlink()
    (run / "metrics.csv").symlink_to("/dev/full")


def checkpoint_to_full(process: subprocess.Popen, run: Path) -> None:
    (run / f"checkpoints/.last.{process.pid}.safetensors").symlink_to("/dev/full")  # what resources.replacing writes to first


def rewards_to_full(process: subprocess.Popen, run: Path) -> None:
    (run / f".reward_log.{process.pid}.npy").symlink_to("/dev/full")


def files_of_a_page(process: subprocess.Popen, run: Path) -> None:
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, 4096))  # a segment of the replay is larger


@pytest.mark.parametrize("damage", [metrics_to_full, checkpoint_to_full, rewards_to_full, files_of_a_page])
def test_a_file_that_has_no_room_ends_the_run(tmp_path, temporary, damage):
    before = shared_memory()
    process = begin(tmp_path, temporary)
    family = descendants(process.pid)
    damage(process, tmp_path / "run")
    line = assert_ends_in_order(temporary, process, family)
    assert "cannot write to run: " in line and ("No space left" in line or "File too large" in line)
    assert_whole(tmp_path / "run")
    assert shared_memory() == before


def test_a_full_disk_ends_the_run(tmp_path, temporary):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(disk)], capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        process = start(tmp_path, *FLAGS, "--run-dir", "disk/run", TMPDIR=str(temporary))
        worker_ids(tmp_path, process, 2)
        wait_for(disk / "run/checkpoints/last.safetensors", process)
        line = assert_ends_in_order(temporary, process, descendants(process.pid))
        assert "cannot write to disk/run: " in line and "No space left" in line
        assert_whole(disk / "run")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_best_policy_that_has_no_room(tmp_path, temporary):
    process = begin(tmp_path, temporary, "--eval-interval", "200", "--eval-episodes", "2")
    family = descendants(process.pid)
    (evaluator,) = (pid for pid in family if Path(f"/proc/{pid}/comm").read_text().strip() == "evaluator")
    resource.prlimit(evaluator, resource.RLIMIT_FSIZE, (1, 1))
    print(process.communicate(timeout=60))


def test_a_folder_that_is_removed_ends_the_run(tmp_path, temporary):
    process = begin(tmp_path, temporary)
    family = descendants(process.pid)
    shutil.rmtree(tmp_path / "run")
    assert "cannot write to run: " in assert_ends_in_order(temporary, process, family)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("handles", [8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 64])
def test_too_few_file_handles(tmp_path, temporary, handles):
    command = ["bash", "-c", f"ulimit -n {handles}; exec \"$@\"", "bash", sys.executable, "-m", "sac_dist"]
    (tmp_path / "c.yaml").write_text("hidden_width: 16\nwarmup_steps: 20\nbatch_size: 16\nbuffer_size: 5000\ncompile: 'off'\neval_interval: 0")
    flags = ["--train", "--env", "toy_envs:Point-v0", "--workers", "2", "--steps", "200", "--config", "c.yaml"]
    done = subprocess.run([*command, *flags], cwd=tmp_path, capture_output=True, text=True, timeout=60, env={**os.environ, "TMPDIR": str(temporary)})
    print(done.returncode, done.stderr[-1500:])
    assert not list(temporary.iterdir())


def test_file_handles_that_run_out_later(tmp_path, temporary):
    process = begin(tmp_path, temporary)
    family = descendants(process.pid)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, 3))
    print(assert_ends_in_order(temporary, process, family))
    assert_whole(tmp_path / "run")
