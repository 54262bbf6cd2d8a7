"""``--engine``: what it goes with, what a run takes along to the other one, and that only the cluster's needs
Ray.
"""

import subprocess
import sys

import numpy as np
import pytest

from sac_dist.cli import main as cli
from sac_dist.engine.control import DONE, STEPS, UPDATES, Control
from sac_dist.settings import ClusterConfig, Config, ConfigError, TrainConfig
from sac_dist.settings.resuming import changed


def test_counters_of_the_others_count_as_if_they_were_here():
    ours, driver = Control(3), Control(3)
    driver.put(0, np.arange(8))
    driver.put(2, np.array([7, 5, 0, 0, 0, 1, 0, 0]))
    ours.count(1, STEPS)
    ours.put(0, driver.others(1))
    assert ours.total(STEPS) == 0 + 7 + 1 and ours.total(UPDATES) == 1 + 5 and ours.total(DONE) == 5 + 1
    driver.pause()
    ours.put(-1, driver.row(-1))
    assert ours.paused() and not ours.stopped()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "ray", "learner": "workers"}, "--engine ray and --learner workers"),
        ({"engine": "ray", "worker_memory": 100}, "--engine ray and --worker-memory"),
    ],
)
def test_settings_that_contradict_the_engine_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**settings)


def test_settings_of_the_cluster_need_the_engine(capsys):
    with pytest.raises(ConfigError, match="--chunk is for --engine ray"):
        Config(cluster=ClusterConfig(chunk=5))
    assert cli.main(["--train", "--replay-shards", "3"]) == 2
    assert capsys.readouterr().err == "sac-dist: --replay-shards is for --engine ray\n"


def test_a_run_changes_its_engine_and_leaves_the_other_ones_settings_behind():
    local = Config(train=TrainConfig(learner="workers", workers=2))
    there = changed(local, {"engine": "ray", "chunk": 5})
    assert there.train.engine == "ray" and there.train.members == 3 and there.cluster.chunk == 5
    back = changed(there, {"engine": "local", "steps": 10})
    assert back.train.members == 2 and back.cluster == ClusterConfig() and back.train.steps == 10
    assert Config.from_dict(there.to_dict()) == there


@pytest.mark.slow
def test_without_ray_the_flag_says_what_to_install(tmp_path):
    program = "import sys; sys.modules['ray'] = None; from sac_dist.cli.main import main; sys.exit(main())"
    command = [
        sys.executable,
        "-c",
        program,
        "--train",
        "--engine",
        "ray",
        "--env",
        "Pendulum-v1",
        "--no-tuned",
        "--run-dir",
        "run",
        "--compile",
        "off",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert (
        result.returncode == 2
        and result.stderr == 'sac-dist: --engine ray needs Ray: pip install "sac_dist[ray]"\n'
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_local_engine_never_loads_ray():
    program = "import sys, sac_dist.cli, sac_dist.engine.train; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
