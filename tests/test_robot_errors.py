"""Files that are no robots, cards that contradict them: one line each, with the file's name."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from robot_files import arm_xml, write_arm

from envs.backends.base import BackendError
from envs.robots.card import card_text, need_gripper, read_card
from envs.robots.guess import guess_card
from envs.robots.library import find_robot
from envs.robots.spec import robot_spec
from envs.robots.trial import Trial


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return guess_card(write_arm(tmp_path_factory.mktemp("arm")))[0]


def refused(function, *arguments) -> str:
    with pytest.raises(BackendError) as caught:
        function(*arguments)
    line = str(caught.value)
    assert "\n" not in line and line
    return line


BROKEN = {
    "no XML": ("hello", "cannot read the robot"),
    "a missing mesh": (
        arm_xml(gripper="mesh").replace(
            'vertex="',
            'file="gone.stl" content_type="model/stl" refpos="0 0 0" inertia="exact" /><mesh name="x" vertex="',
        ),
        "gone.stl",
    ),
    "a number that is none": (
        arm_xml().replace('damping="0.3"', 'damping="nan"'),
        "dof_damping is not finite",
    ),
    "a name of the table's": (arm_xml().replace('name="base"', 'name="object"'), "has 'object', a name of"),
    "joints that are coupled": (
        arm_xml().replace(
            "<actuator>", '<equality><joint joint1="lift" joint2="flex"/></equality><actuator>'
        ),
        "couples lift and flex, joints of the arm, by an equality",
    ),
    "no arm": ("<mujoco><worldbody><body><geom size='1'/></body></worldbody></mujoco>", "is no arm"),
    "a slide in the arm": (
        arm_xml().replace(
            '<joint name="elbow" axis="0 1 0"', '<joint name="elbow" type="slide" axis="0 1 0"'
        ),
        "elbow in the arm is no hinge",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_files_that_are_no_robots(tmp_path, what):
    text, expected = BROKEN[what]
    (tmp_path / "bad.xml").write_text(text)
    line = refused(find_robot, str(tmp_path / "bad.xml"))
    assert expected in line and "bad.xml" in line


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("notes.md", "hello", "it is no MJCF file (.xml), no URDF file (.urdf) and no card (.yaml)"),
        (
            "arm.urdf",
            '<robot name="arm"><link name="a"><collision><geometry><mesh filename="package://b/c.stl"/></geometry>'
            "</collision></link></robot>",
            "name meshes (.stl, .obj) by their way from the URDF file, without package://",
        ),
    ],
)
def test_files_of_other_kinds(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    line = refused(find_robot, str(tmp_path / name))
    assert expected in line and name in line


def test_what_does_not_move_beside_the_arm_is_left_out(card, tmp_path):
    table = '<worldbody><body name="desk" pos="0.4 0 0.3"><geom type="box" size="0.2 0.4 0.02"/></body>'
    (tmp_path / "arm.xml").write_text(arm_xml().replace("<worldbody>", table))
    assert replace(guess_card(str(tmp_path / "arm.xml"))[0], model=None) == replace(card, model=None)


def test_two_arms_are_refused(tmp_path):
    one = arm_xml(5, "none", "none")
    body = one[one.index('<body name="base">') : one.index("</worldbody>")]
    for name in ("base", "pan", "lift", "elbow", "flex", "roll", "hand"):
        body = body.replace(f'"{name}', f'"other_{name}')
    (tmp_path / "two.xml").write_text(one.replace("</worldbody>", f"{body}</worldbody>"))
    line = refused(find_robot, str(tmp_path / "two.xml"))
    assert "two.xml has several arms, at base and other_base" in line.replace("pan_link", "base")


@pytest.mark.slow
def test_a_table_out_of_reach(tmp_path):
    text = arm_xml().replace('range="-2.6 2.6"', 'range="-0.2 0.2"')
    (tmp_path / "stiff.xml").write_text(text)
    line = refused(find_robot, str(tmp_path / "stiff.xml"))
    assert "stiff.xml: a table at z = 0" in line and "out of reach" in line


def test_a_gripper_that_nothing_moves_is_no_gripper(tmp_path):
    text = arm_xml().replace('ctrlrange="0 0.035"', "").replace('range="0 0.035"', 'range="0 0"')
    (tmp_path / "shut.xml").write_text(text)
    card, notes = guess_card(str(tmp_path / "shut.xml"))
    assert card.gripper is None and any(note.startswith("no gripper: left_drive") for note in notes)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"arm_joints": ("pan", "lift", "elbow", "forearm_roll", "flex", "wrist")}, "the arm joint 'wrist'"),
        ({"arm_joints": ("lift", "pan", "elbow", "forearm_roll", "flex", "roll")}, "has pan after lift"),
        ({"gripper": {"joints": {"left_slide": (-1, 1)}}}, "left_slide from -1 to 1 in gripper: its limits"),
        ({"home": (9.0, 0, 0, 0, 0, 0)}, "has pan at 9.000 rad at home: its limits are -2.600 and 2.600"),
        ({"tool": {"body": "claw"}}, "the body 'claw'"),
        ({"gripper": {"drives": {"motor9": (0, 1)}}}, "the actuator or joint 'motor9'"),
        ({"gripper": {"fingers": (("left_finger",), ("thumb",))}}, "the body 'thumb'"),
        ({"gripper": {"joints": {"left_slide": (0, 1), "hinge": (0, 1)}}}, "the joint 'hinge'"),
        ({"arm_joints": ("pan", "lift", "elbow", "forearm_roll", "flex", "left_slide")}, "which is no hinge"),
    ],
)
def test_cards_that_contradict_their_model(card, change, expected):
    for name in ("tool", "gripper"):
        if name in change:
            change = {**change, name: replace(getattr(card, name), **change[name])}
    line = refused(robot_spec, replace(card, **change), False)
    assert expected in line and "arm" in line


CARD_ERRORS = [
    (lambda given: given.update(homes=[0]), "has homes: it knows"),
    (lambda given: given.pop("home"), "has no home: it is the arm's joint positions"),
    (lambda given: given.update(home=[0.0] * 5), "has 5 numbers in home for 6 arm joints"),
    (lambda given: given.update(speed=[1.0] * 5 + [-1.0]), "has speed"),
    (lambda given: given.update(region=[[0.5, 0.2], [0, 1]]), "has region [[0.5, 0.2], [0, 1]]: it is"),
    (lambda given: given["tool"].pop("body"), "in tool, has no body"),
    (lambda given: given["gripper"].update(width=0), "in gripper, has width 0: it is"),
    (lambda given: given["gripper"].update(width=60), "in gripper, has width 60: it is"),  # mm
    (
        lambda given: given.update(region=[[-0.1, 0.1], [-0.1, 0.1]]),
        "its middle 0.02 to 10.0 m from the base",
    ),
    (lambda given: given.update(arm_joints=["pan"] * 6), "hinges from base to hand, each once"),
    (lambda given: given.update(name="../arm"), "has name '../arm': it is a word"),
    (lambda given: given["tool"].update(quaternion=[1e-200, 0, 0, 0]), "a unit quaternion"),
    (lambda given: given.update(timestep=1e-9), "has timestep 1e-09: it is"),
    (lambda given: given["gripper"].update(drives={"left_drive": [1, 1]}), "in gripper, has drives"),
    (lambda given: given.update(home=[float("nan")] * 6), "has home"),
    (lambda given: given.update(timestep=1.0), "has timestep 1.0"),
    (lambda given: given.update(gripper_model="hand.xml"), "must name gripper_model and attach_at"),
]


@pytest.mark.parametrize(("spoil", "expected"), CARD_ERRORS, ids=[each[1][:30] for each in CARD_ERRORS])
def test_cards_with_mistakes(card, tmp_path, spoil, expected):
    given = yaml.safe_load(card_text(card))
    spoil(given)
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(given))
    line = refused(read_card, tmp_path / "card.yaml")
    assert expected in line and "card.yaml" in line


LEVELS = ["&a0 [x, x]", *(f"&a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 12))]
BOMB = "model: x\narm_joints: [a]\ntool: {}\nregion: 1\nhome:\n" + "".join(f"- {level}\n" for level in LEVELS)


@pytest.mark.parametrize(
    "text", ["", "name: a\nname: b", "[1, 2", "words", "\0", "a: &a [*a]", "[" * 5000, BOMB]
)
def test_cards_that_are_no_cards(tmp_path, text):
    (tmp_path / "card.yaml").write_text(text)
    assert "card.yaml" in refused(find_robot, str(tmp_path / "card.yaml"))


def test_a_task_that_needs_a_gripper_says_so(card):
    assert need_gripper(card, "Lift-v0") is card.gripper
    line = refused(need_gripper, replace(card, gripper=None), "Lift-v0")
    assert "arm.xml has no gripper, which Lift-v0 needs" in line


def test_physics_that_explodes_is_said(card, tmp_path):
    wild = 'biastype="affine" gainprm="0" biasprm="0 1e9 1e6"'
    text = Path(card.model).read_text().replace('<position name="left_drive"', '<general name="left_drive"')
    text = text.replace('kp="800" kv="40" ctrlrange="0 0.035" forcerange="-20 20"', wild, 1)
    (tmp_path / "wild.xml").write_text(text)
    troubles = Trial(replace(card, model=str(tmp_path / "wild.xml"))).troubles()
    assert any("wild.xml: the physics is not finite with time steps of 5 ms" in line for line in troubles)


def test_troubles_name_what_does_not_work(card):
    weak = replace(
        card,
        gripper=replace(card.gripper, drives={"left_drive": (0.03, 0.035), "right_drive": (0.03, 0.035)}),
    )
    troubles = " ".join(Trial(weak).troubles())
    assert "the gripper opens to 100% and closes to 86%" in troubles and "is not held" in troubles
    far = replace(card, region=((0.6, 0.9), (-0.1, 0.1)))
    assert "does not reach (0.6, -0.1)" in " ".join(Trial(far).troubles())
    upright = replace(card, home=(0.0,) * 6)
    assert "at home the tool is tilted by 180°" in " ".join(Trial(upright).troubles())
    low = replace(card, table_height=0.4)
    assert "touches the table at home" in " ".join(Trial(low).troubles())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gone.xml", "there is no robot gone.xml"), ("gone.yaml", "cannot read the card gone.yaml")],
)
def test_files_that_are_not_there(name, expected):
    assert expected in refused(find_robot, name)


def test_an_old_mujoco_is_said(card, monkeypatch):
    monkeypatch.setattr("mujoco.__version__", "3.3.7")
    line = refused(guess_card, card.model)
    assert line == "robots of files need mujoco 3.4 or newer, this is 3.3.7: pip install -U mujoco"


def test_a_gripper_needs_a_site(tmp_path):
    arm, hand = write_arm(tmp_path, gripper="none"), write_arm(tmp_path, "hand")
    assert "which site of" in refused(find_robot, f"{arm}+{hand}")
    assert "has no site 'wrist'" in refused(find_robot, f"{arm}+{hand}@wrist")


def test_names_need_the_menagerie(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "mujoco_menagerie", None)
    assert "pip install mujoco-menagerie" in refused(find_robot, "franka_emika_panda")


def test_the_menagerie_offline_and_from_a_copy(monkeypatch, tmp_path):
    pytest.importorskip("mujoco_menagerie", reason="pip install mujoco-menagerie (extra: robots)")
    monkeypatch.delenv("MENAGERIE_ROOT", raising=False)
    monkeypatch.setenv("MENAGERIE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MENAGERIE_BASE_URL", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    line = refused(find_robot, "franka_emika_panda")
    assert "let MENAGERIE_ROOT name a copy" in line and "franka_emika_panda" in line
    assert "is not in the MuJoCo Menagerie" in refused(find_robot, "franka_emika_pandas")
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    assert "correct MENAGERIE_ROOT" in refused(find_robot, "franka_emika_panda")
    (tmp_path / "franka_emika_panda").mkdir()
    write_arm(tmp_path / "franka_emika_panda", "panda")
    assert find_robot("franka_emika_panda").name == "panda"
