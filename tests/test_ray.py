"""``--engine ray`` on a cluster of three nodes of this machine: the same files and counts as locally, and
what happens when parts die.
"""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_engine import alive, assert_all_gone, descendants, shared_memory, start, wait_for

from sac_dist.formats import files
from sac_dist.storage import checkpoint

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'sac_dist[ray]'")
pytestmark = pytest.mark.timeout(400)

NODE = {"num_cpus": 2, "object_store_memory": 100 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    for _ in range(2):
        cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()


def begin(cluster, tmp_path: Path, *flags: str, env: str = "toy_envs:Slow-v0") -> subprocess.Popen:
    return start(tmp_path, "--engine", "ray", "--address", cluster.address, *flags, env=env)


def processes(name: str) -> list[int]:
    """The processes below this one whose name begins so."""
    found = []
    for pid in descendants(os.getpid()):
        try:
            if Path(f"/proc/{pid}/comm").read_text().startswith(name):
                found.append(pid)
        except OSError:
            continue
    return found


def one(name: str, process: subprocess.Popen) -> int:
    deadline = time.monotonic() + 60
    while not (found := processes(name)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"{name} did not start"
        time.sleep(0.1)
    return found[0]


def last(tmp_path: Path) -> Path:
    return tmp_path / "run/checkpoints/last.safetensors"


def finish(process: subprocess.Popen, status: int = 0) -> str:
    errors = process.communicate(timeout=240)[1]
    assert process.returncode == status and "Traceback" not in errors, errors
    return errors


def saved(tmp_path: Path) -> tuple[int, int, int]:
    """Steps, updates, and the transitions that the replay's files count."""
    run = checkpoint.read(last(tmp_path)).run
    return run["counters"][0], run["counters"][1], sum(run["replay"]["segments"][-1]["stop"])


@pytest.mark.slow
def test_normalised_observations_are_the_workers_and_travel_with_the_policy(cluster, tmp_path):
    flags = "--workers", "2", "--steps", "600", "--replay-shards", "2", "--normalize-observations"
    errors = finish(begin(cluster, tmp_path, *flags, env="toy_envs:Point-v0"))
    policy, found = checkpoint.read(last(tmp_path)).build_agent(), files.read(tmp_path / "run").observation
    moments = policy.normalization.moments
    assert 400 < moments.number <= len(found), errors  # the last ones were stored after the last sample
    np.testing.assert_allclose(moments.mean, found.mean(axis=0), atol=0.15)
    np.testing.assert_allclose(moments.variance, found.var(axis=0), rtol=0.3)


@pytest.mark.slow
def test_goals_in_hindsight_come_from_the_stores_and_are_learned_from(cluster, tmp_path):
    flags = "--workers", "2", "--steps", "15000", "--replay-shards", "2", "--eval-interval", "500"
    errors = finish(begin(cluster, tmp_path, *flags, "--success-target", "0.9", env="toy_goals:Goal-v0"))
    assert "80% of each batch get a goal in hindsight" in errors and "ended by success_target" in errors


@pytest.mark.slow
def test_a_run_gives_the_same_files_and_holds_the_ratio(cluster, tmp_path):
    flags = (
        "--workers",
        "2",
        "--steps",
        "600",
        "--replay-shards",
        "2",
        "--update-ratio",
        "1.5",
        "--checkpoint-interval",
        "200",
    )
    errors = finish(
        begin(
            cluster,
            tmp_path,
            *flags,
            "--eval-interval",
            "200",
            "--eval-episodes",
            "3",
            env="toy_envs:Point-v0",
        )
    )
    folder = tmp_path / "run"
    names = "config.yaml metrics.csv reward_log.npy learning_curve.png checkpoints/last.safetensors checkpoints/best.safetensors"
    for name in names.split():
        assert (folder / name).stat().st_size > 0, name
    steps, updates, stored = saved(tmp_path)
    assert steps >= 600 and updates == int(1.5 * (steps - 20)) and stored == steps, errors
    assert checkpoint.read(folder / "checkpoints/best.safetensors").build_agent().act(np.zeros(2)).shape == (
        2,
    )
    with open(folder / "metrics.csv") as file:
        row = list(csv.DictReader(file))[-1]
    assert int(row["step"]) == steps and float(row["updates"]) == updates and int(row["eval_episodes"]) == 100
    assert "error" not in errors.lower() and "warn" not in errors.lower(), errors


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_every_counted_transition_is_stored(cluster, tmp_path):
    process = begin(cluster, tmp_path, "--workers", "2", "--steps", "1500", "--checkpoint-interval", "300")
    wait_for(last(tmp_path), process)
    os.kill(one("worker-0", process), signal.SIGKILL)
    errors = finish(process)
    assert errors.count("worker-0 died; restarting it") == 1, errors
    steps, updates, stored = saved(tmp_path)
    assert steps >= 1500 and updates == steps - 20 and stored == steps


@pytest.mark.slow
def test_a_killed_learner_is_replaced_and_its_lost_updates_are_made_up(cluster, tmp_path):
    process = begin(cluster, tmp_path, "--workers", "2", "--steps", "2000", "--checkpoint-interval", "300")
    wait_for(last(tmp_path), process)
    os.kill(one("learner", process), signal.SIGKILL)
    errors = finish(process)
    assert errors.count("learner died; restarting it") == 1 and "worker" not in errors, errors
    steps, updates, stored = saved(tmp_path)
    assert steps >= 2000 and updates == steps - 20 and stored == steps


@pytest.mark.slow
def test_a_killed_store_comes_back_from_the_checkpoint_and_its_loss_is_counted(cluster, tmp_path):
    process = begin(
        cluster,
        tmp_path,
        "--workers",
        "2",
        "--steps",
        "2000",
        "--replay-shards",
        "2",
        "--checkpoint-interval",
        "300",
    )
    wait_for(last(tmp_path), process)
    os.kill(one("ray::Store", process), signal.SIGKILL)
    errors = finish(process)
    (line,) = [line for line in errors.splitlines() if "of its transitions are back" in line]
    back, lost = (int(word) for word in line.split(":")[1].replace(",", "").split() if word.isdecimal())
    assert back > 0, line
    steps, updates, stored = saved(tmp_path)
    assert steps >= 2000 and updates == steps - 20 and abs(steps - stored - lost) < 60, (line, steps, stored)


@pytest.mark.slow
def test_a_lost_node_is_survived_by_its_run(cluster, tmp_path, capfd):
    node = cluster.add_node(**NODE)
    process = begin(
        cluster,
        tmp_path,
        "--workers",
        "4",
        "--steps",
        "3000",
        "--checkpoint-interval",
        "300",
        "--replay-shards",
        "3",
    )
    wait_for(last(tmp_path), process)
    cluster.remove_node(node, allow_graceful=False)
    errors = finish(process)
    steps, updates, _ = saved(tmp_path)
    assert "restarting it" in errors and steps >= 3000 and updates == steps - 20, errors
    assert "raylet" not in capfd.readouterr().out + errors, "Ray's own words stay in its logs"


@pytest.mark.slow
def test_local_to_the_cluster_and_back(cluster, tmp_path):
    flags = ("--workers", "2", "--checkpoint-interval", "200", "--learner", "central")
    finish(start(tmp_path, *flags, "--steps", "300", env="toy_envs:Point-v0"))
    for steps, more in (
        (600, ("--engine", "ray", "--address", cluster.address)),
        (900, ("--engine", "local")),
    ):
        command = ["-m", "sac_dist", "--resume", "run", "--steps", str(steps), *more]

        result = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=200
        )
        assert result.returncode == 0, result.stderr
        taken, updates, stored = saved(tmp_path)
        assert taken >= steps and updates == taken - 20 and stored == taken
        assert checkpoint.read(last(tmp_path)).config.train.engine == more[1]
        # every trajectory is whole: no more of them than episodes, and what each pause broke off
        played, found = checkpoint.read(last(tmp_path)).run["counters"][2], files.read(tmp_path / "run")
        assert len(found) == taken and played <= len(found.starts) <= played + 3 * 2


@pytest.mark.slow
def test_too_few_cpus_are_said_before_anything_is_written(cluster, tmp_path):
    errors = finish(begin(cluster, tmp_path, "--workers", "50", env="toy_envs:Point-v0"), status=2)
    assert (
        len(errors.strip().splitlines()) == 1
        and "50 workers of 1 CPUs need 50, and the cluster has 6" in errors
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_a_cluster_of_its_own_leaves_nothing(tmp_path, number, status):
    before = shared_memory()
    process = start(
        tmp_path,
        "--engine",
        "ray",
        "--address",
        "local",
        "--workers",
        "2",
        "--steps",
        "100000",
        "--checkpoint-interval",
        "200",
    )
    wait_for(last(tmp_path), process)
    family = descendants(process.pid)
    if number == signal.SIGINT:  # a terminal sends it to every process of the group
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    errors = finish(process, status)
    steps, _, stored = saved(tmp_path)
    assert steps == stored > 200, errors
    assert_all_gone(family)
    assert shared_memory() <= before and not list(Path("/tmp").glob("sac-ray-*"))


@pytest.mark.slow
def test_the_end_of_the_cluster_ends_the_run_with_a_line(tmp_path):
    from ray.cluster_utils import Cluster

    own = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        process = begin(own, tmp_path, "--workers", "2", "--steps", "100000", "--checkpoint-interval", "200")
        wait_for(last(tmp_path), process)
    finally:
        own.shutdown()
    errors = process.communicate(timeout=200)[1]
    assert process.returncode == 1, errors
    assert errors.strip().splitlines()[-1].startswith("sac-dist: the Ray cluster is gone"), errors
    assert saved(tmp_path)[0] > 0 and not alive(process.pid)
