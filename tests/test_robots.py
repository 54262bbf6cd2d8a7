"""Robots as data: cards guessed from MJCF files, and what robots with such cards do in a simulation."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest
from robot_files import arm_xml, hand_xml, write_arm

from envs.backends.base import CONTROL_TIMESTEP
from envs.robots.card import card_text, read_card, write_card
from envs.robots.drive import ArmDrive, GripperDrive, pads
from envs.robots.guess import guess_card
from envs.robots.library import find_robot
from envs.robots.shapes import HULL_VERTICES
from envs.robots.spec import robot_spec
from envs.robots.trial import Trial

ARMS = [
    # hinges, actuators, gripper, its drives [closed, open], width, tool point from the hand's base (m)
    (6, "velocity", "slides", {"left_drive": (0, 0.035), "right_drive": (0, 0.035)}, 0.07, 0.0874),
    (6, "motor", "tendon", {"grip": (0, 255)}, 0.07, 0.0874),
    (5, "none", "undriven", {"left_slide": (0, 0.035), "right_slide": (0, 0.035)}, 0.07, 0.0874),
    (5, "position", "jaw", {"jaw": (-0.2, 0.52)}, 0.037, 0.1033),
    (7, "motor", "linkage", {"grip": (0, 255)}, 0.069, 0.1194),
    (7, "position", "mesh", {"grip": (0, 0.035)}, 0.07, 0.0874),
]
IDS = ["-".join(map(str, arm[:3])) for arm in ARMS]


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """(card, notes) of an arm, each guessed once."""
    folder, known = tmp_path_factory.mktemp("arms"), {}

    def get(joints=6, actuators="velocity", gripper="slides"):
        key = f"arm_{joints}_{actuators}_{gripper}"
        if key not in known:
            path = write_arm(folder, key, joints=joints, actuators=actuators, gripper=gripper)
            known[key] = guess_card(path)
        return known[key]

    return get


@pytest.mark.parametrize("arm", ARMS, ids=IDS)
def test_a_card_is_guessed_from_the_file_alone(arms, arm):
    joints, actuators, gripper, drives, width, tool = arm
    card, _ = arms(joints, actuators, gripper)
    assert len(card.arm_joints) == joints and card.arm_joints[0] == "pan" and card.arm_joints[-1] == "roll"
    assert set(card.gripper.drives) == set(drives)
    for name, ends in drives.items():
        assert card.gripper.drives[name] == pytest.approx(ends, abs=0.02 * max(map(abs, ends)))
    assert card.gripper.width == pytest.approx(width, abs=0.002)
    assert card.tool.position == pytest.approx((0, 0, tool), abs=0.005)
    assert abs(card.tool.quaternion[1]) + abs(card.tool.quaternion[2]) < 1e-3, "z points out of the hand"
    assert card.table_height == 0.0
    (x, X), (y, Y) = card.region
    assert x > 0.12 and X - x > 0.2 * card.size and Y - y > 0.3 * card.size


@pytest.mark.parametrize("arm", ARMS, ids=IDS)
def test_it_moves_holds_a_box_and_lifts_it(arms, arm):
    card, _ = arms(*arm[:3])
    trial = Trial(card)
    assert trial.troubles() == []
    left, right = trial.presses()
    assert left > 0.5 and right > 0.5


@pytest.mark.parametrize("actuators", ["velocity", "position", "motor", "none"])
def test_a_joint_goes_as_fast_as_it_is_told(arms, actuators):
    card, _ = arms(6, actuators)
    trial = Trial(card)
    for index in range(6):
        trial.reset(np.array(card.home))
        command = np.zeros(6)
        command[index] = -0.5
        trial.step(command, 6)
        before = trial.data.qpos[trial.arm.positions].copy()
        trial.step(command, 4)
        moved = trial.data.qpos[trial.arm.positions] - before
        assert moved[index] == pytest.approx(-0.5 * 4 * CONTROL_TIMESTEP, rel=0.1)
        assert np.abs(np.delete(moved, index)).max() < 0.01


def test_the_targets_of_position_servos_wait_for_a_joint_that_is_held_up(arms):
    card, _ = arms(6, "position")
    trial = Trial(card)
    trial.reset(np.array(card.home))
    lift = trial.arm.positions[1]
    blocked = trial.data.qpos[lift]
    for _ in range(40):  # 2 s at 1 rad/s, while something holds the joint
        trial.step(np.array([0, 1.0, 0, 0, 0, 0]))
        trial.data.qpos[lift] = blocked
    assert 0 < trial.data.act[1] - blocked < 0.25


def test_position_servos_stand_still_from_the_reset_on(arms):
    card, _ = arms(5, "position", "jaw")
    trial = Trial(card)
    trial.reset(np.array(card.home))
    trial.step(steps=10)
    assert np.abs(trial.data.qpos[trial.arm.positions] - card.home).max() < 2e-3


@pytest.mark.parametrize("actuators", ["position", "motor"])
def test_the_physics_state_is_all_there_is(arms, actuators):
    card, _ = arms(6, actuators)
    trial, kind = Trial(card), mujoco.mjtState.mjSTATE_INTEGRATION
    trial.reset(np.array(card.home))
    command = np.array([0.3, -0.2, 0.4, 0.5, -0.5, 0.1])
    trial.step(command, 5)
    state = np.empty(mujoco.mj_stateSize(trial.model, kind))
    mujoco.mj_getState(trial.model, trial.data, state, kind)
    trial.step(-command, 5)
    expected = trial.data.qpos.copy()
    other = Trial(card)
    mujoco.mj_setState(other.model, other.data, state, kind)
    other.step(-command, 5)
    assert np.array_equal(other.data.qpos, expected)


def test_the_gripper_says_how_open_it_is(arms):
    card, _ = arms(7, "motor", "linkage")
    trial = Trial(card)
    trial.reset(np.array(card.home))
    for opening in (1.0, 0.0, 0.5, 1.0):
        trial.gripper.command(trial.data, opening)
        trial.step(steps=20)
        assert trial.gripper.opening(trial.data.qpos) == pytest.approx(opening, abs=0.06)


def test_physics_has_no_ballast_and_pictures_no_physics(arms):
    card, _ = arms(6, "motor", "linkage")
    original = mujoco.MjModel.from_xml_path(card.model)
    bare, seen = (robot_spec(card, looks).compile() for looks in (False, True))
    names = [[model.joint(i).name for i in range(model.njnt)] for model in (bare, seen)]
    assert names[0] == names[1]
    for body in range(1, original.nbody):
        mass = bare.body(original.body(body).name).mass
        assert (mass == pytest.approx(original.body_mass[body]) and mass > 0) or original.body_mass[body] == 0
    assert not bare.geom_contype.any() and (bare.geom_conaffinity == 3).all()
    assert not seen.geom_contype.any() and not seen.geom_conaffinity.any() and seen.nu == 0
    assert all(model.ncam == model.nlight == model.nkey == 0 for model in (bare, seen))
    assert mujoco.mjtGeom.mjGEOM_PLANE not in [*bare.geom_type, *seen.geom_type]
    left, right = pads(bare)
    assert len(left) == len(right) == 1 and bare.geom(min(left)).friction[0] == 2.0


def test_meshes_collide_as_hulls_of_few_corners(arms, tmp_path):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2000, 3))
    points *= 0.03 / np.linalg.norm(points, axis=1)[:, None]
    corners = " ".join(f"{value:.5f}" for value in points.ravel())
    xml = arm_xml(6, "velocity", "mesh").replace("<asset>", f'<asset><mesh name="ball" vertex="{corners}"/>')
    ball = '<geom type="mesh" mesh="ball" pos="0 0 0.05" mass="0.1"/>'
    xml = xml.replace('<body name="flex_link"', f'{ball}<body name="flex_link"')
    (tmp_path / "arm.xml").write_text(xml)
    model = robot_spec(
        replace(arms(6, "velocity", "mesh")[0], model=str(tmp_path / "arm.xml")), False
    ).compile()
    hulls = [model.mesh_graph[start] for start in model.mesh_graphadr if start >= 0]
    assert len(hulls) > 2 and max(hulls) <= HULL_VERTICES
    assert model.nmeshvert <= HULL_VERTICES * model.nmesh, "what lies inside a hull is left out"


def test_meshes_of_fingers_are_cut_as_fingers_are_hollow(arms):
    card, _ = arms(7, "position", "mesh")
    left, right = pads(robot_spec(card, False).compile())
    assert len(left) == len(right) == 6


def test_of_a_fixed_jaw_only_the_part_near_the_tool_is_a_pad(tmp_path):
    xml = arm_xml(6, "position", "mesh")
    start = xml.index('<joint name="right_slide"')
    xml = xml[:start] + xml[xml.index("/>", start) + 2 :]
    xml = xml.replace('<equality><joint joint1="left_slide" joint2="right_slide"/></equality>', "")
    (tmp_path / "arm.xml").write_text(xml)
    card = find_robot(str(tmp_path / "arm.xml"))
    assert card.gripper.fingers == (("left_finger",), ("right_finger",))
    assert card.gripper.width == pytest.approx(0.035, abs=0.001)
    model = robot_spec(card, False).compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    tool = data.site("tool")
    heights = {}
    for side, geoms in zip(("left", "right"), pads(model), strict=True):
        heights[side] = min((data.geom_xpos[g] - tool.xpos) @ tool.xmat.reshape(3, 3)[:, 2] for g in geoms)
    assert heights["left"] < -0.05 < -card.gripper.width < heights["right"]
    assert Trial(card).troubles() == []


def test_an_arm_and_a_gripper_of_two_files_are_joined_at_a_site(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    site = '<site name="flange" pos="0 0 0.04"/>'
    arm = arm_xml(6, "position", "none").replace('<body name="hand"', f'{site}<body name="hand"')
    (tmp_path / "a" / "arm.xml").write_text(arm)
    (tmp_path / "b" / "hand.xml").write_text(hand_xml("mesh"))
    card = find_robot(f"{tmp_path / 'a' / 'arm.xml'}+{tmp_path / 'b' / 'hand.xml'}")
    assert card.attach_at == "flange" and card.gripper.drives == {"gripper/grip": (0.0, 0.035)}
    assert Trial(card).troubles() == []


def test_an_arm_without_a_gripper_has_a_tool_at_its_end(arms):
    card, notes = arms(6, "velocity", "none")
    assert card.gripper is None and any("no gripper" in note for note in notes)
    assert card.tool.body == "roll_link" and card.tool.position == pytest.approx((0, 0, 0.08), abs=1e-3)
    assert Trial(card).troubles() == []


def test_a_site_is_believed_only_where_the_fingers_are(tmp_path):
    tool = {}
    for name, height, turn in (
        ("right", "0.088", "1 0 0 0"),
        ("turned", "0.088", "0 1 0 0"),
        ("wrong", "0.02", "1 0 0 0"),
    ):
        xml = arm_xml().replace(
            '<body name="left_finger">',
            f'<site name="tcp" pos="0 0 {height}" quat="{turn}"/><body name="left_finger">',
        )
        (tmp_path / f"{name}.xml").write_text(xml)
        tool[name] = guess_card(str(tmp_path / f"{name}.xml"))[0].tool
    assert tool["right"].position[2] == tool["turned"].position[2] == 0.088
    assert tool["turned"].quaternion == pytest.approx((1, 0, 0, 0), abs=1e-3)
    assert tool["wrong"].position[2] == pytest.approx(0.0874, abs=1e-3)


def test_an_arm_that_looks_elsewhere_is_turned_to_the_front(tmp_path):
    xml = arm_xml(5, "position", "tendon").replace(
        '<body name="base">', '<body name="base" euler="0 0 -1.5708">'
    )
    pan = '<joint name="pan" axis="0 0 1" range='
    xml = xml.replace(f'{pan}"-2.6 2.6"', f'{pan}"-1.7 1.7"')
    (tmp_path / "arm.xml").write_text(xml)
    card = find_robot(str(tmp_path / "arm.xml"))
    assert card.heading == pytest.approx(np.pi / 2, abs=1e-4) and abs(card.home[0]) < 0.01
    assert card.region[1][1] > 0.25 * card.size
    assert Trial(card).troubles() == []
    write_card(card, tmp_path / "card.yaml")
    assert read_card(tmp_path / "card.yaml") == card
    seen = robot_spec(card, looks=True).compile()
    assert seen.body("base").quat == pytest.approx([1, 0, 0, 0], abs=1e-4)


def test_what_else_moves_on_a_hand_is_held(tmp_path):
    camera = """<body name="camera" pos="0 0.06 0.02"><joint name="tilt" axis="1 0 0" range="-1 1"/>
      <geom type="box" pos="0 0 0.01" size="0.01 0.01 0.01" mass="0.05"/></body>"""
    xml = arm_xml(6, "position", "slides").replace(
        '<body name="left_finger">', f'{camera}<body name="left_finger">'
    )
    xml = xml.replace(
        "</actuator>", '<position name="tilt" joint="tilt" kp="5" ctrlrange="-1 1"/></actuator>'
    )
    (tmp_path / "arm.xml").write_text(xml)
    card, notes = guess_card(str(tmp_path / "arm.xml"))
    assert set(card.gripper.drives) == {"left_drive", "right_drive"}
    assert any("gripper: held, as they do not open it: tilt" in note for note in notes)
    model = robot_spec(card, looks=False).compile()
    assert "tilt" not in [model.joint(index).name for index in range(model.njnt)]
    assert Trial(card).troubles() == []


def test_an_arm_on_a_pedestal_has_its_table_at_its_foot(tmp_path):
    pedestal = '<geom type="box" size="0.1 0.1 0.4" pos="0 0 0.4"/>'
    xml = arm_xml().replace('<body name="base">', f'{pedestal}<body name="base" pos="0 0 0.8">')
    (tmp_path / "arm.xml").write_text(xml)
    card, notes = guess_card(str(tmp_path / "arm.xml"))
    assert card.table_height == pytest.approx(0.8)
    assert any("the table is at z = 0.8 m" in note for note in notes)
    assert Trial(card).troubles() == []


def test_guesses_repeat(tmp_path):
    path = write_arm(tmp_path, joints=7, actuators="motor", gripper="tendon")
    assert guess_card(path) == guess_card(path)


def test_a_card_is_what_was_written(arms, tmp_path):
    card, _ = arms(5, "position", "jaw")
    write_card(card, tmp_path / "card.yaml")
    assert read_card(tmp_path / "card.yaml") == card


def test_a_card_beside_the_file_wins(tmp_path):
    path = write_arm(tmp_path)
    card = replace(find_robot(path), speed=(0.5,) * 6)
    write_card(card, tmp_path / "arm.yaml")
    assert "model: arm.xml\n" in (tmp_path / "arm.yaml").read_text()
    assert find_robot(path).speed == (0.5,) * 6


def test_the_sawyer_is_a_robot_like_others_of_size_one():
    card = find_robot("sawyer")
    assert card.model is None and card.size == 1.0
    assert Trial(card).troubles() == []
    model = robot_spec(card, looks=False).compile()
    ArmDrive(model, card), GripperDrive(model, card.gripper)
    assert robot_spec(card, looks=True).compile().nq == model.nq


def test_the_time_step_is_shorter_where_that_is_needed(monkeypatch, tmp_path):
    import envs.robots.guess as guess

    class Stiff(Trial):
        def holds(self):
            return ["slips"] if self.card.timestep > 0.003 else []

    monkeypatch.setattr(guess, "Trial", Stiff)
    assert guess_card(write_arm(tmp_path))[0].timestep == 0.0025


def test_a_card_without_speeds_means_one_radian_a_second(arms, tmp_path):
    card, _ = arms()
    text = "".join(
        line
        for line in card_text(card).splitlines(True)
        if not line.startswith(("speed", "name", "timestep"))
    )
    (tmp_path / "short.yaml").write_text(text)
    assert read_card(tmp_path / "short.yaml") == replace(card, name="short")
