"""Observations from cameras: what is in them, what is not, and that the same state gives the same picture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from robot_files import write_arm

from envs import BackendError, OptionError
from envs.tasks import TASKS


@pytest.fixture(scope="module", autouse=True)
def opengl() -> None:
    try:
        env = make()
        env.reset(seed=0)
    except BackendError as error:
        pytest.skip(f"no OpenGL: {error}")
    env.close()


def make(id: str = "Grasp-v0", observation: str = "camera+state", **options: Any) -> Any:
    options.setdefault("backend", "mujoco")
    return gymnasium.make(id, observation=observation, disable_env_checker=True, **options).unwrapped


def blue(picture: np.ndarray) -> int:
    """Pixels of the box."""
    red, _, blue = np.moveaxis(picture.astype(int), -1, 0)
    return int((blue - red > 40).sum())


@pytest.mark.parametrize("id", sorted(set(TASKS) - {"SawyerGrasp-v0", "SawyerLift-v0"}))
def test_every_task_is_seen(id: str) -> None:
    env = make(id)
    observation, _ = env.reset(seed=3)
    assert env.observation_space.contains(observation)
    has_goal = id in ("Reach-v0", "Push-v0", "PickAndPlace-v0")
    assert observation["state"].shape == (24 + 3 * has_goal,)
    following = env.step(env.action_space.sample())[0]
    assert env.observation_space.contains(following)
    assert np.ptp(following["wrist"].astype(int)) > 50, "a picture of one colour"
    env.close()


def test_numbers_tell_nothing_of_the_object() -> None:
    env = make()
    placed = [env.reset(seed=1)[0]]
    at = env.readings
    env.backend.data.qpos[-7] += 0.08  # the object, along x
    import mujoco

    mujoco.mj_forward(env.backend.model, env.backend.data)
    env.readings = env.backend._read()
    assert env.readings.object_position[0] == pytest.approx(at.object_position[0] + 0.08)
    env.sight.look(env.backend)
    placed.append(env.observed())
    assert (placed[0]["state"] == placed[1]["state"]).all()
    assert (placed[0]["wrist"] != placed[1]["wrist"]).any()
    env.close()


def test_what_is_privileged_is_what_is_observed_without_cameras() -> None:
    seen, told = make("Lift-v0", privileged=True), make("Lift-v0", observation="relative")
    action = np.full(seen.action_space.shape, 0.3)
    for _ in range(2):
        observation, numbers = seen.reset(seed=4)[0], told.reset(seed=4)[0]
        assert (observation["privileged"] == numbers).all()
        assert (seen.step(action)[0]["privileged"] == told.step(action)[0]).all()
    assert seen.observation_space.contains(observation)


def test_the_same_state_is_the_same_picture() -> None:
    first, second = make(cameras="wrist,scene"), make(cameras="wrist,scene")
    actions = np.random.default_rng(0).uniform(-1, 1, (5, *first.action_space.shape))
    seen = []
    for env in (first, second, first):
        frames = [env.reset(seed=7)[0], *(env.step(action)[0] for action in actions)]
        seen.append(np.array([[frame["wrist"], frame["scene"]] for frame in frames]))
    assert (seen[0] == seen[1]).all() and (seen[0] == seen[2]).all()
    assert (seen[0][0] != seen[0][-1]).any()
    first.close()
    second.close()


@pytest.mark.parametrize("size", [64, 84])
def test_wrist_and_scene_see_the_box(size: int) -> None:
    env = make(cameras="wrist,scene", camera_size=size)
    counts = []
    for seed in range(30):
        observation, _ = env.reset(seed=seed)
        counts.append([blue(observation[name]) for name in ("wrist", "scene")])
    assert (np.array(counts) >= 5).mean(axis=0).min() >= 0.85
    assert observation["wrist"].shape == (size, size, 3)
    env.close()


def test_a_file_s_arm_has_a_wrist_camera(tmp_path: Path) -> None:
    env = make(robot=write_arm(tmp_path))
    seen = [blue(env.reset(seed=seed)[0]["wrist"]) for seed in range(10)]
    assert sum(count >= 5 for count in seen) >= 7, seen
    env.close()


def test_cameras_of_a_robot_s_file_are_there_by_their_names(tmp_path: Path) -> None:
    file = Path(write_arm(tmp_path))
    hand = '<body name="hand" pos="0 0 0.04">'
    camera = '<camera name="eye" pos="0.06 0 0" xyaxes="0 1 0 1 0 0" fovy="90"/>'
    assert hand in file.read_text()
    text = file.read_text().replace(hand, hand + camera)
    file.write_text(text.replace("<worldbody>", '<worldbody><camera name="room" pos="0 0 3"/>'))
    env = make(robot=str(file), cameras="eye,wrist")
    seen = [env.reset(seed=seed)[0] for seed in range(10)]
    assert sum(blue(observation["eye"]) >= 5 for observation in seen) >= 5
    assert (seen[0]["eye"] != seen[0]["wrist"]).any()
    with pytest.raises(BackendError, match=r"no camera 'room': choose from .*eye"):
        env.backend.see(("room",), 64)
    env.close()


def test_objects_of_one_colour_are_told_apart() -> None:
    env = make("Stack-v0", observation="camera", cameras="scene")
    counts = []
    for seed in range(8):
        picture = env.reset(seed=seed)[0]["scene"].astype(int)
        counts.append([blue(picture), int((picture[..., 0] - picture[..., 2] > 140).sum())])
    assert (np.array(counts) >= 5).sum(axis=0).min() >= 5, counts
    env.close()


def test_pictures_alone_and_a_given_goal() -> None:
    env = make(observation="camera", cameras="scene")
    assert list(env.observation_space.spaces) == ["scene"] == list(env.reset(seed=0)[0])
    env.close()
    env = make("Push-v0", observation="camera")
    observation, _ = env.reset(seed=0)
    assert observation["state"] == pytest.approx(env.goal / env.size, abs=1e-6)
    env.close()


@pytest.mark.parametrize("quantity", ["camera", "light", "colour", "texture"])
def test_looks_are_drawn_anew_each_episode(quantity: str) -> None:
    spans = {"camera": [0.01, 0.02], "light": [0.4, 0.7], "colour": [0.1, 0.3]}
    spans["texture"] = [0.3, 0.6]
    plain, drawn = make(randomize={}), make(randomize={quantity: spans[quantity]})
    one, other = plain.reset(seed=2)[0], drawn.reset(seed=2)[0]
    assert (one["wrist"] != other["wrist"]).mean() > 0.02
    again = drawn.reset(seed=2)[0]
    assert (other["wrist"] == again["wrist"]).all()
    next_episode = drawn.reset(seed=3)[0]
    assert (plain.reset(seed=3)[0]["wrist"] != next_episode["wrist"]).any()
    plain.close()
    drawn.close()


def test_an_old_and_noisy_observation() -> None:
    env = make(randomize={"observation_delay": [1, 1], "observation_noise": [0.1, 0.1]})
    first = env.reset(seed=0)[0]
    second = env.step(np.ones(env.action_space.shape))[0]
    assert (first["wrist"] == second["wrist"]).all()
    assert (first["state"] != second["state"]).any()
    env.close()


def test_physics_that_explodes_shows_the_picture_before() -> None:
    env = make()
    before = env.reset(seed=0)[0]
    env.backend.data.qvel[:] = 1e9
    observation, _, terminated, _, info = env.step(np.zeros(env.action_space.shape))
    assert terminated and info["unstable"]
    assert (observation["wrist"] == before["wrist"]).all()
    env.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"camera_size": 32}, "camera_size is 32: it is in pixels, from 64 to 128"),
        ({"cameras": "wrist,wrist"}, "different names"),
        ({"cameras": "state"}, "different names"),
        ({"observation": "relative", "privileged": True}, "privileged is for the observations camera"),
        ({"id": "Reach-v0", "goal_conditioned": True}, "goal_conditioned"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        make(**options)


def test_a_camera_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(BackendError, match=r"no camera 'left': choose from .*scene.*wrist"):
        make(cameras="left").reset(seed=0)


def test_coppeliasim_s_cameras_need_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.backends.choice.coppelia_obstacle", lambda: None)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BackendError, match=r"^cameras of CoppeliaSim need OpenGL .* xvfb-run -a$"):
        make(backend="coppelia")


def test_without_opengl_a_line_says_what_to_install() -> None:
    code = (
        "import os; os.environ['MUJOCO_GL'] = 'disabled'\n"
        "import envs; envs.make('Grasp-v0', backend='mujoco', observation='camera').reset(seed=0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode and "apt-get install libegl1" in done.stderr.splitlines()[-1]
