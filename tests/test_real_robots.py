"""Real arms, from the folder that SAC_DIST_ROBOTS names; no copy of them is part of the project."""

import os
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from envs.robots.card import read_card, write_card
from envs.robots.library import find_robot
from envs.robots.trial import Trial

ROBOTS = os.environ.get("SAC_DIST_ROBOTS")
pytestmark = pytest.mark.skipif(
    ROBOTS is None,
    reason="SAC_DIST_ROBOTS is not set: let it name a folder with so101, ufactory_xarm7, franka_panda_2f85, i2rt_yam",
)
FOLDER = Path(ROBOTS or "")
SO101 = "so101/so101_new_calib.xml"
XARM = "ufactory_xarm7/xarm7.xml"
TWO_FILES = "ufactory_xarm7/xarm7_nohand.xml+ufactory_xarm7/hand.xml@attachment_site"
PANDA = "franka_panda_2f85/panda.xml"
YAM = "i2rt_yam/yam.xml"
CARDS = {  # arm joints, what opens it, closed and open, width (m), fingers, tool point in the hand (m)
    SO101: (5, "gripper", (-0.1745, 0.5934), 0.0616, {"moving_jaw_so101_v1", "gripper"}, (0.0086, 0, -0.0933)),
    XARM: (7, "gripper", (255, 0), 0.0887, {"left_finger", "right_finger"}, (0, 0, 0.157)),
    TWO_FILES: (7, "gripper/fingers_actuator", (255, 0), 0.0887, {"gripper/left_finger", "gripper/right_finger"}, (0, 0, 0.157)),
    PANDA: (7, "fingers_actuator", (255, 0), 0.0852, {"left_pad", "right_pad"}, (0, 0, 0.145)),
    YAM: (6, "left_finger", (-0.002, 0.0375), 0.0758, {"lf_rot", "lf_down", "rf_rot", "rf_down"}, (0, -0.044, 0.133)),
}  # fmt: skip


def robot(name: str) -> str:
    files = name.partition("@")[0].split("+")
    for file in files:
        if not (FOLDER / file).is_file():
            pytest.skip(f"SAC_DIST_ROBOTS={ROBOTS} has no {file}")
    return "+".join(str(FOLDER / part) for part in name.split("+"))


@pytest.mark.parametrize("name", CARDS)
def test_the_card_is_what_one_would_write(name):
    joints, drive, ends, width, fingers, tool = CARDS[name]
    card = find_robot(robot(name))
    assert len(card.arm_joints) == joints
    assert card.gripper.drives[drive] == pytest.approx(ends, abs=0.001)
    assert card.gripper.width == pytest.approx(width, abs=0.002)
    assert set(sum(card.gripper.fingers, ())) == fingers
    assert card.tool.position == pytest.approx(tool, abs=0.002)


@pytest.mark.parametrize("name", CARDS)
def test_it_holds_a_box_and_lifts_it(name, tmp_path):
    card = find_robot(robot(name))
    write_card(card, tmp_path / "card.yaml")
    trial = Trial(read_card(tmp_path / "card.yaml"))
    assert trial.troubles() == []
    assert min(trial.presses()) > 0.5


def test_an_arm_without_its_gripper():
    card = find_robot(robot("ufactory_xarm7/xarm7_nohand.xml"))
    assert card.gripper is None and Trial(card).troubles() == []


@pytest.mark.parametrize("seed", [2, 5])
def test_turns_that_joints_cannot_follow_do_not_lead_the_tool_out(seed):
    env = gymnasium.make(
        "Reach-v0", robot=robot(YAM), control="end_pose", backend="mujoco", horizon=1000
    ).unwrapped
    random, lowest = np.random.default_rng(seed), np.inf
    env.reset(seed=0)
    for step in range(200):
        if step % 100 == 0:
            action = random.choice([-1.0, 1.0], env.action_space.shape)
        env.step(action)
        lowest = min(lowest, env.readings.tool_position[2] - env.readings.table_height)
    assert lowest > -0.02
