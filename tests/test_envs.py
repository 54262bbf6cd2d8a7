"""Both Sawyer tasks: gymnasium's contract, determinism, options, choice of the simulator."""

from __future__ import annotations

import ast
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs
from envs import BackendError
from envs.backends import choice
from envs.backends.coppelia.probe import Found
from envs.robots.sawyer import JOINT_LIMITS, START_POSE, START_POSES, WORKPLACE
from envs.tasks.expert import Expert
from envs.tasks.grasp import GraspEnv


def draws(make: Any) -> bool:
    try:
        make("SawyerGrasp-v0").backend.render("scene", 64, 48)
    except BackendError:
        return False
    return True


SETTLES = 2e-3  # rad; CoppeliaSim's reset holds the arm for a control step

sawyer_ids = pytest.mark.parametrize("id", envs.SAWYER_IDS)


@pytest.mark.parametrize("observation", ["relative", "book"])
@pytest.mark.parametrize("control", ["joint_velocity", "end_position"])
@sawyer_ids
def test_gymnasium_checker_finds_nothing(
    make: Any, id: str, control: str, observation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make(id, control=control, observation=observation)
        check_env(
            env, skip_render_check=(control, observation) != ("joint_velocity", "relative") or not draws(make)
        )
    assert env.observation_space.shape == ((31,) if observation == "relative" else (17,))
    assert env.action_space.shape == ((7 if control == "joint_velocity" else 4) + (id == "SawyerLift-v0"),)


@pytest.mark.parametrize(
    "options",
    [{}, {"control": "end_position", "reward": "dense"}, {"observation": "book", "reward": "sparse"}],
)
@sawyer_ids
def test_random_actions_keep_everything_finite_and_in_bounds(
    make: Any, id: str, options: dict[str, Any]
) -> None:
    env = make(id, **options)
    env.action_space.seed(1)
    for episode in range(3):
        observation, info = env.reset(seed=episode)
        done = False
        while not done:
            assert env.observation_space.contains(observation)
            observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
            assert np.isfinite(reward) and type(info["success"]) is bool and info["distance"] > 0
            done = terminated or truncated
        assert np.isfinite(observation).all()


def play(env: Any, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    trace = [env.reset(seed=seed)[0]]
    expert = Expert(env)
    for step in range(20):  # half expert, so that contacts and the gripper are part of it
        action = expert.act() if step % 2 else rng.uniform(-1, 1, env.action_space.shape)
        observation, reward, terminated, truncated, _ = env.step(action)
        trace.append(np.append(observation, reward))
        if terminated or truncated:
            break
    return trace


@sawyer_ids
def test_same_seed_same_episode_whatever_ran_before(make: Any, id: str) -> None:
    fresh, used = make(id), make(id)
    for seed in (5, 6, 7):
        play(used, seed)
    expected, got = play(fresh, 3), play(used, 3)
    assert len(expected) == len(got)
    assert all(np.array_equal(one, other) for one, other in zip(expected, got, strict=True))
    assert not np.array_equal(play(used, 4)[0], expected[0])


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vector_environments(mode: str) -> None:
    vector = gymnasium.make_vec("SawyerGrasp-v0", num_envs=2, backend="mujoco", vectorization_mode=mode)
    try:
        observations, _ = vector.reset(seed=0)
        observations, rewards, *_ = vector.step(np.zeros(vector.action_space.shape, np.float32))
    finally:
        vector.close()
    assert observations.shape == (2, 31) and (rewards < 0).all() and rewards[0] != rewards[1]


def test_import_is_cheap_and_the_task_has_no_simulator() -> None:
    code = "import sys, envs; sys.exit('mujoco' in sys.modules or 'torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], timeout=60).returncode
        == 0
    )
    package = Path(envs.__file__).parent
    for path in (
        *package.glob("tasks/*.py"),
        *package.glob("controllers/*.py"),
        *package.glob("objects/*.py"),
    ):
        tree = ast.parse(path.read_text())
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imported |= {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        assert not any(
            word in module
            for module in imported
            for word in ("mujoco", "pyrep", "coppelia", "sac_dist", "torch")
        )


def test_start_and_target_follow_their_options(make: Any) -> None:
    def target(seed: int, **options: Any) -> tuple[np.ndarray, float]:
        env = make("SawyerGrasp-v0", **options)
        env.reset(seed=seed)
        assert np.abs(env.readings.joint_positions - START_POSE).max() <= 0.05 + SETTLES
        return env.readings.object_position[:2], float(env.readings.object_rotation[1, 0])

    assert not np.allclose(target(0)[0], target(1)[0]) and target(0)[1] != target(1)[1]
    fixed, yaw = target(1, random_target=False)
    assert np.allclose(fixed, WORKPLACE.fixed_target, atol=1e-4) and abs(yaw) < 1e-4
    assert abs(target(1, random_target=False, random_yaw=True)[1]) > 0.01
    assert abs(target(1, random_yaw=False)[1]) < 1e-4


@pytest.mark.parametrize("start", ["centre", "book"])
def test_a_tool_that_is_held_still_stays_where_the_arm_starts(make: Any, start: str) -> None:
    env = make("SawyerGrasp-v0", control="end_position", start=start, horizon=100)
    env.reset(seed=0)
    before = env.readings.joint_positions.copy()
    for _ in range(60):
        env.step(np.zeros(4, np.float32))
    assert np.abs(env.readings.joint_positions - before).max() < 0.2, "drawn to another pose"
    env.close()


def test_the_books_start_keeps_its_distance_to_the_limits(make: Any) -> None:
    env = make("SawyerGrasp-v0", start="book")
    for seed in range(5):
        env.reset(seed=seed)
        here = env.readings.joint_positions
        assert np.abs(here - START_POSES["book"]).max() <= 0.05 + SETTLES
        assert (here <= JOINT_LIMITS[:, 1] + SETTLES).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backend", "gazebo"),
        ("control", "torque"),
        ("observation", "pixels"),
        ("reward", "shaped"),
        ("random_target", "no"),
        ("start", "upright"),
        ("mechanics", "loose"),
        ("reinit_every", 0),
        ("horizon", 0),
        ("horizon", 2.5),
        ("width", -1),
        ("render_mode", "ansi"),
    ],
)
def test_bad_option_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name) as error:
        GraspEnv(**{name: value})
    assert str(value) in str(error.value) and "\n" not in str(error.value)


def test_auto_takes_coppelia_then_mujoco_then_pendulum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "coppelia_obstacle", lambda: "reason one")
    monkeypatch.setattr(choice, "mujoco_obstacle", lambda: None)
    assert (
        envs.resolve("auto")[:2] == ("SawyerGrasp-v0", "mujoco")
        and "reason one" in envs.resolve("auto").reason
    )
    assert envs.resolve("SawyerLift-v0")[:2] == ("SawyerLift-v0", "mujoco")
    assert envs.resolve("Pendulum-v1")[:2] == ("Pendulum-v1", None)
    monkeypatch.setattr(choice, "mujoco_obstacle", lambda: "reason two")
    fallback = envs.resolve("auto")
    assert (
        fallback[:2] == ("Pendulum-v1", None)
        and "reason one" in fallback.reason
        and "reason two" in fallback.reason
    )
    with pytest.raises(BackendError, match="reason two"):
        envs.make("SawyerLift-v0")
    assert envs.make("auto").spec.id == "Pendulum-v1"
    monkeypatch.setattr(choice, "coppelia_obstacle", lambda: None)
    monkeypatch.setattr(choice, "mujoco_obstacle", lambda: None)
    monkeypatch.setattr(choice, "probe", lambda: Found("nothing falls", ""))
    assert envs.resolve("auto") == ("SawyerGrasp-v0", "mujoco", "MuJoCo; no CoppeliaSim: nothing falls")
    assert envs.resolve("auto", {"scene": "a.ttt"})[:2] == ("SawyerGrasp-v0", "coppelia"), (
        "scenes are for it alone"
    )
    monkeypatch.setattr(choice, "probe", lambda: Found(None, "4.1.0"))
    assert envs.resolve("auto") == ("SawyerGrasp-v0", "coppelia", "CoppeliaSim 4.1.0")
    monkeypatch.setattr(choice, "probe", lambda: Found(None, "4.6.0"))
    assert envs.resolve("auto").reason == "CoppeliaSim is 4.6.0, PyRep is made for 4.1"


def test_the_wrong_pyrep_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pyrep", raising=False)
    (tmp_path / "pyrep").mkdir()
    (tmp_path / "pyrep" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "file manager" in (choice.coppelia_obstacle() or "")
    for part in ("robots", "backend"):
        (tmp_path / "pyrep" / part).mkdir()
    monkeypatch.delenv("COPPELIASIM_ROOT", raising=False)
    assert choice.coppelia_obstacle() == "COPPELIASIM_ROOT is not set"
    monkeypatch.setenv("COPPELIASIM_ROOT", str(tmp_path))
    assert "libcoppeliaSim" in (choice.coppelia_obstacle() or "")
    monkeypatch.setenv("COPPELIASIM_ROOT", str(tmp_path / "räume"))
    assert "letters beyond ASCII" in (choice.coppelia_obstacle() or ""), "PyRep's launch would hang"
    monkeypatch.setenv("COPPELIASIM_ROOT", str(tmp_path))
    with pytest.raises(BackendError, match="libcoppeliaSim"):
        envs.make("SawyerGrasp-v0", backend="coppelia")
