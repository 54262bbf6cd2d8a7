"""What --check-robot prints and leaves behind."""

import pytest
from robot_files import arm_xml, write_arm

from envs.robots.card import read_card
from sac_dist.cli.main import main


@pytest.mark.timeout(120)
def test_it_prints_the_card_and_draws_the_robot(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = write_arm(tmp_path, joints=5, actuators="position", gripper="jaw")
    assert main(["--check-robot", path, "--out", "mine.yaml"]) == 0
    text = capsys.readouterr().out
    assert "arm_joints: [pan, lift, elbow, flex, roll]" in text
    assert "note: gripper: one moving jaw, jaw" in text
    assert "trial: every joint follows" in text and "trouble" not in text
    assert read_card("mine.yaml").arm_joints[-1] == "roll"
    picture = tmp_path / "robot-arm.png"
    if "no picture:" not in text:
        assert str(picture) in text
        import imageio.v3 as imageio

        pixels = imageio.imread(picture)
        assert pixels.shape == (720, 960, 3) and pixels.std() > 20


@pytest.mark.timeout(120)
def test_without_opengl_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    assert main(["--check-robot", write_arm(tmp_path)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("no picture: ")]
    assert len(line) > len("no picture: ") and not list(tmp_path.glob("*.png"))


@pytest.mark.timeout(120)
def test_troubles_are_an_exit_status(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("envs.robots.drawing.draw", lambda card, path: "not now")
    text = arm_xml().replace('kv="60" forcerange="-40 40"', 'kv="60" forcerange="-0.001 0.001"')
    (tmp_path / "lame.xml").write_text(text)
    assert main(["--check-robot", "lame.xml"]) == 1
    assert "trouble: pan reaches " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["gone.xml"], "there is no robot gone.xml"),
        (["sawyer", "--out", "card.txt"], "card.txt: a card is a .yaml file"),
        (["sawyer", "--model", "x"], "--model has no meaning with --check-robot"),
    ],
)
def test_mistakes_are_one_line(arguments, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--check-robot", *arguments]) == 2
    line = capsys.readouterr().err
    assert expected in line and line.count("\n") == 1
