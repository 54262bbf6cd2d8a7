"""What a user may get wrong with robots, objects and tasks: one line each, before there is a run folder."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import yaml
from robot_files import arm_xml, write_arm

from envs import BackendError, OptionError
from envs.robots.card import write_card
from envs.robots.library import find_robot
from envs.tasks.reach import ReachEnv
from sac_dist.acting.environment import make_env
from sac_dist.acting.episode import EnvironmentFault, Play
from sac_dist.cli.main import main
from sac_dist.engine.children import TrainingFailed
from sac_dist.engine.train import train
from sac_dist.settings import Config, ConfigError, EnvConfig, TrainConfig

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def card_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A card of ``arm.xml``, guessed once."""
    folder = tmp_path_factory.mktemp("card")
    write_card(find_robot(write_arm(folder)), folder / "arm.yaml")
    return (folder / "arm.yaml").read_text()


def line_of(id: str, **options: Any) -> str:
    """The one line of a mistake, which Python and the trainer's make_env give alike."""
    with pytest.raises((BackendError, OptionError)) as raised:
        gymnasium.make(id, **{"backend": "mujoco"} | options)
    line = str(raised.value)
    with pytest.raises(ConfigError) as refused:
        make_env(EnvConfig(id, {"backend": "mujoco"} | options))
    assert str(refused.value) == f"{id} does not start: {line}" and "\n" not in line
    return line


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def no_gripper(card_text: str) -> dict[str, Any]:
    return {"robot": write_arm(Path.cwd(), "bare", gripper="none")}


def missing_mesh(card_text: str) -> dict[str, Any]:
    return {"robot": write("meshed.xml", arm_xml(gripper="mesh").replace('vertex="', 'file="gone.stl" x="'))}


def contradicting_card(card_text: str) -> dict[str, Any]:
    write_arm(Path.cwd())
    given = yaml.safe_load(card_text)
    given["arm_joints"][-1] = "wrist"
    return {"robot": write("arm.yaml", yaml.safe_dump(given))}


def far_table(card_text: str) -> dict[str, Any]:
    write_arm(Path.cwd())
    given = yaml.safe_load(card_text)
    given["table_height"] = 1.0
    return {"robot": write("arm.yaml", yaml.safe_dump(given))}


MISTAKES = {
    "a table out of reach": ("Reach-v0", far_table, "the middle of its region on the table: correct region"),
    "no gripper": (
        "Lift-v0",
        no_gripper,
        "bare.xml has no gripper, which Lift needs: reach and push work without",
    ),
    "no robot": ("Lift-v0", lambda _: {"robot": "nowhere.xml"}, "there is no robot nowhere.xml"),
    "no card": ("Lift-v0", lambda _: {"robot": "nowhere.yaml"}, "cannot read the card nowhere.yaml"),
    "no name": ("Reach-v0", lambda _: {"robot": 5}, "robot is 5: it must be text"),
    "an empty name": ("Reach-v0", lambda _: {"robot": ""}, "robot is '': it must be text"),
    "no object": ("Lift-v0", lambda _: {"objects": "teapot"}, "no object 'teapot': choose box, cylinder"),
    "no mesh of an object": ("Lift-v0", lambda _: {"objects": "gone.obj"}, "gone.obj"),
    "objects that are no name": ("Lift-v0", lambda _: {"objects": ["box"]}, "objects is ['box']"),
    "a missing mesh": ("Reach-v0", missing_mesh, "meshed.xml"),
    "a card against its model": ("Reach-v0", contradicting_card, "names the arm joint 'wrist', which"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_one_line(what: str, card_text: str) -> None:
    id, options, words = MISTAKES[what]
    line = line_of(id, **options(card_text))
    assert words in line, line


@pytest.mark.parametrize(
    ("id", "options", "words"),
    [
        ("Lift-v0", {"robot": "arm.yaml"}, "robot arm is for the backend mujoco, not coppelia"),
        ("Lift-v0", {"objects": "mug"}, "objects mug is for the backend mujoco, not coppelia"),
        ("Push-v0", {}, "Push is for the backend mujoco, not coppelia"),
    ],
)
def test_what_coppeliasim_does_not_have(id: str, options: dict[str, str], words: str, card_text: str) -> None:
    write_arm(Path.cwd())
    write("arm.yaml", card_text)
    assert line_of(id, backend="coppelia", **options) == words


def test_an_arm_without_a_gripper_reaches_and_pushes() -> None:
    robot = write_arm(Path.cwd(), "bare", gripper="none")
    for id in ("Reach-v0", "Push-v0", "Drawer-v0", "Button-v0"):
        env = gymnasium.make(id, robot=robot, backend="mujoco").unwrapped
        env.reset(seed=0)
        assert np.isfinite(env.step(np.ones(env.action_space.shape))[1])
        assert env.readings.opening == 1.0 and not env.readings.left_contact


@pytest.mark.parametrize(("name", "value"), [("qpos", np.nan), ("qpos", np.inf), ("qvel", 1e9)])
@pytest.mark.parametrize("id", ["Lift-v0", "Drawer-v0"])
def test_physics_that_explodes_ends_the_episode_and_a_reset_mends_it(
    id: str, name: str, value: float
) -> None:
    env = gymnasium.make(id, backend="mujoco", reward="sparse").unwrapped
    fresh = env.reset(seed=0)[0]
    still = np.zeros(env.action_space.shape)
    before = env.step(still)[0]
    getattr(env.backend.data, name)[-1] = value
    with pytest.warns(UserWarning, match=r"no longer finite: the episode ends there; 1 so far .* sawyer"):
        observation, reward, terminated, truncated, info = env.step(still)
    np.testing.assert_array_equal(observation, before)
    assert (reward, terminated, truncated) == (-10.0, True, False)
    assert info["unstable"] is True and info["success"] is False
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(still)
    np.testing.assert_array_equal(env.reset(seed=0)[0], fresh)
    assert "unstable" not in env.step(still)[4]
    assert not os.listdir("."), "mujoco would leave MUJOCO_LOG.TXT"


def test_an_explosion_cuts_an_episode_that_nothing_terminates() -> None:
    env = gymnasium.make("Reach-v0", backend="mujoco", goal_conditioned=True, reward="sparse").unwrapped
    env.reset(seed=0)
    env.backend.data.qpos[0] = np.nan
    with pytest.warns(UserWarning, match="no longer finite"):
        _, reward, terminated, truncated, info = env.step(np.zeros(env.action_space.shape))
    assert (reward, terminated, truncated, info["unstable"]) == (-1.0, False, True, True)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_physics_that_explodes_again_and_again_is_one_line() -> None:
    env = gymnasium.make("Reach-v0", backend="mujoco").unwrapped
    still = np.zeros(env.action_space.shape)

    def explode() -> None:
        env.reset(seed=0)
        env.step(still)
        env.backend.data.qpos[0] = np.nan
        env.step(still)

    for _ in range(4):
        explode()
    env.reset(), env.step(still), env.reset()  # one that did not
    for _ in range(4):
        explode()
    with pytest.raises(BackendError, match=r"^the MuJoCo state .* in 5 episodes in a row with sawyer: see"):
        explode()


class ExplodingEnv(ReachEnv):
    """Explodes in each episode's first step."""

    def step(self, action: np.ndarray) -> Any:
        self.backend.data.qvel[0] = np.nan
        return super().step(action)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_episode_says_that_it_was_unstable_and_the_last_one_is_a_fault_of_the_environment() -> None:
    env = make_env(EnvConfig(ExplodingEnv, {"backend": "mujoco"}))
    still = np.zeros(env.action_space.shape, np.float32)
    for seed in range(4):
        play = Play(env, seed)
        play.step(still)
        assert play.over and play.episode().unstable
    with pytest.raises(EnvironmentFault, match="in 5 episodes in a row"):
        Play(env, 4).step(still)


@pytest.mark.slow
def test_a_run_whose_physics_always_explodes_ends_in_a_line(tmp_path: Path) -> None:
    train_config = TrainConfig(workers=1, steps=2000, compile="off", run_dir=str(tmp_path / "run"))
    with pytest.raises(
        TrainingFailed, match=r"5 times in a row; saved to .*in 5 episodes in a row with sawyer"
    ):
        train(Config(EnvConfig(ExplodingEnv, {"backend": "mujoco"}), train=train_config), quiet=True)


def trained(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which a training is refused; nothing is left of it."""
    before = set(os.listdir("."))
    assert main(["--train", "--no-tuned", "--workers", "1", "--compile", "off", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("sac-dist: "), lines
    assert set(os.listdir(".")) == before, "no run folder"
    return lines[0]


@pytest.mark.parametrize(
    "what",
    [
        "no gripper",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("a missing mesh", "no object", "a card against its model")
        ),
    ],
)
def test_a_training_says_it_before_it_has_a_folder(
    what: str, card_text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    id, options, words = MISTAKES[what]
    flags = [f"--{name}={value}" for name, value in options(card_text).items()]
    assert words in trained(capsys, "--env", id, *flags)


@pytest.mark.slow
def test_a_training_with_a_bad_option_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    write("ranges.yaml", "masss: [1, 2]")
    for flags, words in (
        (["--randomize", "ranges.yaml"], "has 'masss': it knows mass"),
        (
            ["--goal-conditioned"],
            "goal_conditioned is for tasks with a goal, as Reach and Push, not for Lift",
        ),
        (["--objects", "mug", "--backend", "coppelia"], "objects mug is for the backend mujoco"),
    ):
        line = trained(capsys, "--env", "Lift-v0", *flags)
        assert words in line and "Error" not in line and ".py" not in line


def test_a_folder_that_is_called_as_a_robot_or_an_object_is_none(card_text: str) -> None:
    from sac_dist.engine.settling import settle_environment

    for name in ("sawyer", "box"):
        Path(name).mkdir()
    env, _ = settle_environment(EnvConfig("Lift-v0", {"robot": "sawyer", "objects": "box"}))
    assert env.kwargs["robot"] == "sawyer" and env.kwargs["objects"] == "box"
    arm = write_arm(Path.cwd())
    write("hand.xml", "")
    joined = EnvConfig("Lift-v0", {"robot": "arm.xml+hand.xml@flange"})
    env, _ = settle_environment(joined)
    assert env.kwargs["robot"] == f"{arm}+{Path('hand.xml').resolve()}@flange"


@pytest.mark.slow
def test_a_picture_of_a_robot_of_a_file_needs_no_variable() -> None:
    """mujoco asks once which OpenGL to use, and guessing a card imports it before the simulator starts."""
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        pytest.skip("no libEGL")
    robot = write_arm(Path.cwd())
    code = (
        "import gymnasium, envs, sys\n"
        "env = gymnasium.make('Reach-v0', robot=sys.argv[1], backend='mujoco', render_mode='rgb_array')\n"
        "env.reset(seed=0)\n"
        "print(env.render().shape)"
    )
    unset = ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")
    there = {name: value for name, value in os.environ.items() if name not in unset}
    here = str(Path(__file__).parents[1])
    there["PYTHONPATH"] = os.pathsep.join([here, there.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, robot], env=there, capture_output=True, text=True, timeout=100
    )
    assert "(480, 640, 3)" in done.stdout, done.stderr
