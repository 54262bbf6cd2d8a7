"""Demonstrations of the scripts, with the Sawyer and another robot: recorded, trained from, refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from robot_files import write_arm

import envs
from sac_dist.acting.recording import record
from sac_dist.cli.main import main
from sac_dist.engine.settling import check_recorded_env
from sac_dist.engine.train import train
from sac_dist.formats import files
from sac_dist.settings import AgentConfig, Config, ConfigError, DataConfig, EnvConfig, TrainConfig

pytestmark = pytest.mark.timeout(120)
SMALL = AgentConfig(hidden_width=16, hidden_depth=1)


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_arm(tmp_path_factory.mktemp("robot"))


def settings(folder: Path) -> TrainConfig:
    sizes = {"workers": 1, "steps": 300, "warmup_steps": 50, "batch_size": 16, "buffer_size": 1000}
    return TrainConfig(**sizes, eval_interval=0, compile="off", run_dir=str(folder / "run"))


@pytest.mark.parametrize("id", [id for id in envs.TASKS if id not in envs.SAWYER_IDS])
def test_every_script_is_recorded(id: str) -> None:
    demos = record(EnvConfig(id, {"backend": "mujoco"}), "expert", 2)
    assert demos.success.all() and demos.terminated.sum() == 2
    assert demos.source["env"]["env"] == id
    assert np.isfinite(demos.observation).all() and np.abs(demos.action).max() <= 1.0


def test_goal_conditioned_tasks_are_recorded_flat() -> None:
    kwargs = {"backend": "mujoco", "goal_conditioned": True}
    demos = record(EnvConfig("Push-v0", kwargs), "expert", 1)
    assert demos.success.all() and demos.truncated.sum() == 1 and len(demos) == 80
    assert demos.observation.shape[1] == 37 + 2 * 3


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_run_with_another_robot_begins_from_its_demonstrations(
    arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(arm).parent)  # the robot by a short name, which is one of this folder alone
    target = str(tmp_path / "lift.npz")
    name = Path(arm).name
    assert main(["--record-demos", "3", "--env", "Lift-v0", "--robot", name, "--out", target]) == 0
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    assert files.read(target).source["env"]["robot"] == arm
    data = DataConfig(demos=(target,))
    run = train(Config(EnvConfig(), SMALL, settings(tmp_path), data), quiet=True)
    assert run.outcome.reason == "steps"
    assert (tmp_path / "run").is_dir()


def test_demonstrations_are_of_a_robot_wherever_its_file_lies(arm: str, tmp_path: Path) -> None:
    demos = record(EnvConfig("Reach-v0", {"robot": arm}), "expert", 1)
    check_recorded_env(Config(EnvConfig("Reach-v0", {"robot": write_arm(tmp_path)})), demos, "reach.npz")
    other = Config(EnvConfig("Reach-v0", {"robot": write_arm(tmp_path, "other")}))
    with pytest.raises(ConfigError, match=r"recorded with robot arm.xml, this run has other.xml"):
        check_recorded_env(other, demos, "reach.npz")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_demonstrations_of_another_robot_are_refused_in_one_line(
    arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    other = write_arm(tmp_path, "other")  # the same joints, another file
    files.write(record(EnvConfig("Lift-v0", {"robot": arm}), "expert", 1), "lift.npz")
    data = DataConfig(demos=("lift.npz",))
    for robot in ("sawyer", other):
        config = Config(EnvConfig("Lift-v0", {"robot": robot}), SMALL, settings(tmp_path), data)
        with pytest.raises(ConfigError) as refused:
            train(config, quiet=True)
        assert "\n" not in str(refused.value) and "lift.npz" in str(refused.value)
    assert "recorded with robot arm.xml, this run has other.xml" in str(refused.value)
    flags = ["--env", "Lift-v0", "--robot", other, "--demos", "lift.npz", "--workers", "1"]
    assert main(["--train", *flags, "--compile", "off"]) == 2
    tuned, refusal = capsys.readouterr().err.strip().splitlines()
    assert tuned.startswith("settings tuned for Lift-v0") and "lift.npz" in refusal
    assert sorted(os.listdir(".")) == ["lift.npz", "other.xml"]
