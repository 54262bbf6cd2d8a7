"""Scenes, robots and installations of CoppeliaSim other than the one it is made for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from backends import in_a_process, maker

from envs import BackendError
from envs.backends.coppelia.card import BOOK, Card, read_card

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def coppelia(request: pytest.FixtureRequest) -> Any:
    return maker("coppelia", request.config)


def card_of(tmp_path: Path, text: str) -> Card:
    (tmp_path / "bench.yaml").write_text(text)
    return read_card(str(tmp_path / "bench.ttt"))


def test_a_scene_without_a_card_is_the_books(tmp_path: Path):
    assert read_card(str(tmp_path / "bench.ttt")) == BOOK


def test_a_card_names_what_is_in_its_scene(tmp_path: Path):
    card = card_of(tmp_path, "arm: Panda\npads: [a, b]\nhome: [0, 1.5]\nregion: [[0, 1], [-1, 1]]\n")
    assert card == Card(arm="Panda", pads=("a", "b"), home=(0, 1.5), region=((0, 1), (-1, 1)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty: it knows arm, gripper, home"),
        ("- arm", "is empty: it knows arm"),
        ("arm: [", "cannot read the card"),
        ("robot: Panda", "has robot: it knows arm"),
        ("arm: 7", "has arm 7: it is a class of pyrep.robots.arms"),
        ("pads: left", "has pads 'left': they are the names of two shapes"),
        ("home: [0, down]", "has home [0, 'down']: it is the arm's joint positions in rad"),
        ("region: [[1, 0], [0, 1]]", "has region [[1, 0], [0, 1]]: it is [[lowest x, highest x]"),
    ],
)
def test_a_card_that_is_wrong_is_refused_in_a_line(tmp_path: Path, text: str, words: str):
    with pytest.raises(BackendError) as error:
        card_of(tmp_path, text)
    assert words in str(error.value) and "bench.yaml" in str(error.value) and "\n" not in str(error.value)


def test_a_scene_that_is_not_there_and_one_that_lacks_its_objects(tmp_path: Path, coppelia: Any):
    code = """
import sys
from envs import BackendError
from envs.backends.coppelia.backend import CoppeliaBackend
from pyrep import PyRep
for scene in sys.argv[1:]:
    try:
        CoppeliaBackend(scene)
    except BackendError as error:
        print(error)
"""
    make = "import sys; from pyrep import PyRep; p = PyRep(); p.launch('', headless=True); p.export_scene(sys.argv[1]); p.shutdown()"
    empty = tmp_path / "empty.ttt"
    in_a_process(make, str(empty))
    missing, lacking = in_a_process(code, str(tmp_path / "no.ttt"), str(empty))
    assert "there is no scene" in missing and "no.ttt" in missing
    for name in ("whole Sawyer", "whole BaxterGripper", "diningTable", "target"):
        assert f"no {name}" in lacking.split(":")[0]


# A bench of our own with one of PyRep's arms, its joints not in torque mode.
BENCH = """
import sys
import numpy as np
from envs.backends.coppelia.models import model_folders
from pyrep import PyRep
from pyrep.const import JointMode, PrimitiveShape
from pyrep.objects.shape import Shape
from pyrep.robots.arms.panda import Panda
simulator = PyRep()
simulator.launch("", headless=True)
model = next(file for folder in model_folders() if (file := folder / "arms/Panda.ttm").is_file())
simulator.import_model(str(model))
arm = Panda()
arm.set_position([0.0, 0.0, arm.get_position()[2] + 0.6])
for joint in arm.joints:
    joint.set_joint_mode(JointMode.IK)
bench = Shape.create(PrimitiveShape.CUBOID, [0.8, 1.2, 0.04], static=True, position=[0.65, 0.0, 0.58])
bench.set_name("bench")
brick = Shape.create(PrimitiveShape.CUBOID, [0.04, 0.04, 0.06], mass=0.2, position=[0.55, 0.1, 0.63])
brick.set_name("brick")
brick.set_detectable(True)
brick.set_bullet_friction(1.0)
simulator.export_scene(sys.argv[1])
simulator.shutdown()
"""
CARD = {
    "arm": "Panda",
    "gripper": "PandaGripper",
    "table": "bench",
    "target": "brick",
    "home": [0, 0.1, 0, -2.2, 0, 2.3, 0.785],
}
LIFT = """
import sys
import gymnasium, numpy as np
import envs
from envs.tasks.expert import Expert
env = gymnasium.make("SawyerLift-v0", backend="coppelia", scene=sys.argv[1], horizon=90).unwrapped
lifted = 0
for seed in range(6):
    observation, _ = env.reset(seed=seed)
    if seed == 0:
        print(*env.backend.workplace.target_region.ravel().round(2))
        print(np.abs(env.readings.joint_positions - env.arm.start_poses["centre"]).max() < 0.06)
    done = False
    while not done:
        observation, _, terminated, truncated, info = env.step(Expert(env).act())
        assert observation in env.observation_space
        done = terminated or truncated
    lifted += info["success"]
print(lifted)
env.close()
"""


def test_another_arm_lifts_in_a_scene_of_its_own_whatever_mode_its_joints_have(tmp_path: Path, coppelia: Any):
    scene = tmp_path / "bench.ttt"
    in_a_process(BENCH, str(scene))
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(CARD))
    region, there, lifted = in_a_process(LIFT, str(scene))
    assert there == "True", "the arm starts at its card's home"
    low_x, high_x, low_y, high_y = map(float, region.split())
    assert (high_x - low_x, high_y - low_y) == (pytest.approx(0.4), pytest.approx(0.4))
    assert int(lifted) >= 5


REFUSED = """
import sys
from envs.backends.base import BackendError
from envs.backends.coppelia.backend import CoppeliaBackend
for scene in sys.argv[1:]:
    try:
        CoppeliaBackend(scene)
    except BackendError as error:
        print(error)
"""


def test_a_card_that_does_not_fit_its_scene_says_where(tmp_path: Path, coppelia: Any):
    scenes = [tmp_path / f"{name}.ttt" for name in ("arm", "gripper", "home", "räume")]
    in_a_process(BENCH, str(scenes[0]))
    for scene, change in zip(
        scenes, ({"arm": "Pandora"}, {"gripper": "BaxterGripper"}, {"home": [0]}, {}), strict=True
    ):
        scene.write_bytes(scenes[0].read_bytes())
        scene.with_suffix(".yaml").write_text(yaml.safe_dump(CARD | change))
    arm, gripper, home, path = in_a_process(REFUSED, *map(str, scenes))
    assert "pyrep.robots.arms has no Pandora: the card takes one of " in arm and "Panda, Sawyer" in arm
    assert "gripper.ttt has no whole BaxterGripper: a card" in gripper
    assert "home has 1 joint positions, Panda has 7" in home
    assert "ASCII letters alone" in path, "PyRep's launch would wait for ever"


def test_a_simulator_that_simulates_nothing_is_refused_and_auto_takes_mujoco(
    tmp_path: Path, coppelia: Any, monkeypatch: pytest.MonkeyPatch
):
    for file in Path(os.environ["COPPELIASIM_ROOT"]).iterdir():
        if not file.name.startswith("libsimExtDynamics"):
            (tmp_path / file.name).symlink_to(file.resolve())
    monkeypatch.setenv("COPPELIASIM_ROOT", str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    chosen, refused = in_a_process("""
import envs
from envs.backends.coppelia.backend import CoppeliaBackend
print(*envs.resolve("auto")[1:])
try:
    CoppeliaBackend()
except envs.BackendError as error:
    print(error)
""")
    assert chosen.startswith(
        "mujoco MuJoCo; no CoppeliaSim: the simulator starts, but nothing falls in the built"
    )
    assert "nothing falls in the built scene" in refused and "physics engine" in refused
