"""What a process may use of its machine: processors, memory, a place for a cache, a name for its run."""

import os
import shlex
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from sac_dist.reporting.commands import command
from sac_dist.settings import AgentConfig, Config, ConfigError, CQLSettings, TrainConfig, allowance
from sac_dist.settings.allowance import usable_processors
from sac_dist.storage import run_folder
from sac_dist.storage.run_folder import RunFolder
from sac_dist.system import files
from sac_dist.system.files import cache_folder, cache_obstacle
from sac_dist.system.shared import SharedArray, available_memory

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform != "linux", reason="control groups and affinity are Linux's"),
]
MIB = 2**20


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    """Writes the files of a control group that this process pretends to be in; starts without limits."""
    monkeypatch.setattr(allowance, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(allowance, "OWN_GROUPS", tmp_path / "groups")

    def write(own_groups: str, **texts: str) -> None:
        (tmp_path / "groups").write_text(own_groups)
        for name, text in texts.items():
            path = tmp_path / "cgroup" / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def test_processors_are_those_of_the_affinity_mask():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_processors() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert usable_processors() <= len(before)


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu_dot_max": "150000 100000\n"}, 1),
        ("0::/\n", {"cpu_dot_max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu_dot_max": "max 100000\n"}, 64),
        (
            "0::/job/step\n",
            {"job__cpu_dot_max": "300000 100000\n", "job__step__cpu_dot_max": "max 100000"},
            3,
        ),
        ("0::/not/visible\n", {"cpu_dot_max": "200000 100000\n"}, 2),
        (
            "5:cpu,cpuacct:/docker/x\n",
            {"cpu__cpu_dot_cfs_quota_us": "400000\n", "cpu__cpu_dot_cfs_period_us": "100000\n"},
            4,
        ),
        (
            "5:cpu,cpuacct:/\n",
            {"cpu__cpu_dot_cfs_quota_us": "-1\n", "cpu__cpu_dot_cfs_period_us": "100000\n"},
            64,
        ),
        ("", {}, 64),
        ("0::/\n", {"cpu_dot_max": "what\n"}, 64),
    ],
)
def test_processors_end_at_the_quota_of_the_control_groups(monkeypatch, cgroup, own, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    cgroup(own, **files)
    assert usable_processors() == expected


def test_the_default_number_of_workers_is_what_may_be_used():
    assert TrainConfig().workers == usable_processors()


@pytest.mark.parametrize(
    ("limit", "used", "cached", "names"),
    [
        ("memory_dot_max", "memory_dot_current", "", ""),
        ("memory__memory_dot_limit_in_bytes", "memory__memory_dot_usage_in_bytes", "total_", "memory__"),
    ],
)
def test_memory_that_the_container_uses_is_not_available(cgroup, limit, used, cached, names):
    cgroup("0::/\n")
    unlimited = available_memory()
    cgroup("0::/\n", **{limit: f"{100 * MIB}\n"})
    assert available_memory() == min(unlimited, 100 * MIB)
    cgroup("0::/\n", **{used: f"{90 * MIB}\n"})
    assert available_memory() == 10 * MIB
    stat = f"{cached}inactive_file {20 * MIB}\n{cached}active_file {10 * MIB}\nanon 5\n"
    cgroup("0::/\n", **{f"{names}memory_dot_stat": stat})
    assert available_memory() == 40 * MIB
    with pytest.raises(ConfigError, match=r"needs 50\.0 MiB of memory, and 40\.0 MiB are available"):
        SharedArray((50 * MIB // 4,))
    cgroup("0::/\n", **{used: f"{200 * MIB}\n"})
    assert available_memory() == 0


def test_memory_ends_at_the_limit_of_a_group_further_out(cgroup):
    cgroup("0::/job/step\n", job__memory_dot_max=f"{30 * MIB}", job__step__memory_dot_max="max\n")
    assert available_memory() == 30 * MIB


# A home that cannot be written


def test_a_cache_that_can_be_written_is_taken_and_made(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    assert cache_folder() == tmp_path / "new/sac_dist" and cache_folder().is_dir()
    assert cache_obstacle() is None


@pytest.mark.parametrize("home", ["/proc/nowhere", None])
def test_without_a_home_the_cache_is_temporary_and_its_owners_alone(tmp_path, monkeypatch, home):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if home is None:  # a user that the system does not know
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", home)
    own = tmp_path / f"sac_dist-{os.getuid()}"
    assert cache_folder() == own / "sac_dist" and own.stat().st_mode & 0o077 == 0
    assert "cannot be written: compiled code is kept in" in cache_obstacle()
    own.chmod(0o777)  # anybody could put code there
    with pytest.raises(ConfigError, match="set XDG_CACHE_HOME"):
        cache_folder()
    own.chmod(0o700)
    monkeypatch.setattr(files.os, "getuid", lambda: 12345)
    (tmp_path / "sac_dist-12345").symlink_to(own)
    with pytest.raises(ConfigError, match="set XDG_CACHE_HOME"):
        cache_folder()


@pytest.mark.slow
def test_a_run_without_a_home_trains_and_says_so_once(tmp_path):
    flags = (
        "--train --env toy_envs:Point-v0 --workers 2 --steps 200 --eval-interval 0 --no-video --run-dir run"
    )
    with tempfile.TemporaryDirectory() as temporary:  # of a name that is short enough for a socket
        environment = {**os.environ, "HOME": "/proc/nowhere", "TMPDIR": temporary}
        environment.pop("XDG_CACHE_HOME", None)
        done = subprocess.run(
            [sys.executable, "-m", "sac_dist", *flags.split()],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
        )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("cannot be written: compiled code is kept in") == 1, done.stderr


# Names


def test_runs_of_one_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    made, ready = [], threading.Barrier(8)

    def make() -> None:
        ready.wait()
        made.append(RunFolder.create_default("package:Id-v0"))

    now = run_folder.datetime(2026, 1, 2, 3, 4, 5)
    monkeypatch.setattr(run_folder, "datetime", type("Fixed", (), {"now": staticmethod(lambda: now)}))
    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = sorted(folder.path.name for folder in made)
    first = "package-Id-v0-20260102-030405"
    assert names == sorted([first, *(f"{first}-{number}" for number in range(2, 9))])
    for folder in made:
        folder.unlock()


def test_a_command_for_the_user_works_when_it_is_pasted(tmp_path):
    words = command("--inspect", Path("my runs") / "it's.npz")
    assert shlex.split(words)[1:] == ["-m", "sac_dist", "--inspect", "my runs/it's.npz"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # as in its environment
    done = subprocess.run(
        words,
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and "my runs/it's.npz" in done.stderr and "No module" not in done.stderr


def test_rewards_of_each_batch_do_not_go_with_returns_of_the_data():
    with pytest.raises(ConfigError, match="normalize_rewards and cal_ql contradict each other"):
        Config(agent=AgentConfig(normalize_rewards=True), algorithms={"cql": CQLSettings(cal_ql=True)})
