"""Success over what the world is like: ``--test --sweep`` and the call behind it."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from test_cli import pendulum_policy, refused

import sac_dist.acting.sweep
from envs.tasks.randomization import Randomization
from sac_dist import EnvConfig, find_policy, sweep
from sac_dist.acting.evaluation import Evaluation
from sac_dist.cli import main as cli
from sac_dist.reporting.sweeps import COLOURS, draw_sweep, write_sweep
from sac_dist.settings import ConfigError
from sac_dist.system.files import models_dir

pytestmark = pytest.mark.timeout(60)
LIFT = models_dir() / "SawyerLift-v0.safetensors"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def evaluation(successes: int, episodes: int = 10) -> Evaluation:
    done = np.arange(episodes) < successes
    return Evaluation(done * 10.0, np.full(episodes, 20), done)


def test_without_friction_nothing_is_lifted_and_with_the_usual_one_all():
    _, policy = find_policy(LIFT, "auto")
    slippery, usual = sweep(policy, EnvConfig(), "friction", [0, 1], episodes=4)
    assert slippery.success_rate == 0.0 and usual.success_rate == 1.0


def test_the_command_prints_a_row_a_value_and_keeps_picture_and_numbers(capsys):
    arguments = ["--test", "--model", str(LIFT), "--sweep", "friction=0,1", "--episodes", "3"]
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"policy {LIFT}")
    assert lines[1].split() == ["friction", "success", "95", "%", "interval", "return"]
    assert lines[2].split()[:2] == ["0", "0/3"] and lines[3].split()[:5] == ["1", "3/3", "44%", "to", "100%"]
    with open("sweep-friction.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["friction"], row["success"], row["episodes"]) for row in rows] == [
        ("0.0", "0.0", "3"),
        ("1.0", "1.0", "3"),
    ]
    assert imread("sweep-friction.png").shape[1] > 1000
    kept = Path("sweep-friction.csv").read_text()
    assert "sweep-friction.png exists" in refused(capsys, *arguments)
    Path("other.csv").touch()
    assert "other.csv exists" in refused(capsys, *arguments, "--out", "other.png")
    assert Path("sweep-friction.csv").read_text() == kept


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--test", "--sweep", "friction"], ["--sweep friction: give NAME=VALUE"]),
        (["--test", "--sweep", "friction="], ["'' is no list of numbers"]),
        (["--test", "--sweep", "friction=1,x"], ["'1,x' is no list of numbers"]),
        (["--test", "--sweep", "grip=1"], ["no 'grip' to sweep", "mass, friction, damping"]),
        (["--test", "--sweep", "light=1"], ["light shows nothing", "pictures"]),
        (["--test", "--sweep", "mass=1,0"], ["cannot have 0.0", "numbers from 0.001 up"]),
        (["--test", "--sweep", "friction=nan"], ["cannot have nan"]),
        (["--test", "--sweep", "action_delay=0,0.5"], ["cannot have 0.5", "whole numbers from 0 up"]),
        (["--test", "--sweep", "mass=1", "--out", "x.pdf"], ["x.pdf", ".png"]),
        (["--test", "--sweep", "mass=1", "--out", "none/x.png"], ["none is no folder"]),
        (["--test", "--sweep", "mass=1", "--video", "x.mp4"], ["--video has no meaning with --sweep"]),
        (["--train", "--sweep", "mass=1"], ["--sweep", "--train"]),
        (["--test", "--sweep", "mass=1", "--model", "p.safetensors"], ["Pendulum-v1 has no mass to sweep"]),
        (["--test", "--model", "p.safetensors", "q"], ["--model names 2", "--sweep"]),
        (["--export-book", "b", "--model", "p.safetensors", "q"], ["--model names 2", "--sweep"]),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(capsys, arguments, words):
    pendulum_policy(Path("p.safetensors"))
    line = refused(capsys, *arguments)
    assert all(word in line for word in words), line
    assert [path.name for path in Path().iterdir()] == ["p.safetensors"]


def test_what_training_randomised_is_off_and_what_is_asked_for_stays(monkeypatch):
    asked = []

    def play(policy, overrides, episodes, *rest, **options):
        asked.append(overrides.over(policy.config.env).kwargs["randomize"])
        return evaluation(5)

    monkeypatch.setattr(sac_dist.acting.sweep, "play", play)
    _, policy = find_policy(LIFT, "auto")
    trained = {"observation_noise": [0, 0.01], "mass": [0.5, 2]}
    policy = replace(
        policy, config=replace(policy.config, env=EnvConfig("SawyerLift-v0", {"randomize": trained}))
    )
    sweep(policy, EnvConfig(), "mass", [0.5, 3], episodes=1)
    assert asked == [{"mass": [0.5, 0.5]}, {"mass": [3.0, 3.0]}]
    asked.clear()
    sweep(policy, EnvConfig("auto", {"randomize": {"gain": [1, 2], "mass": [1, 2]}}), "mass", [2], episodes=1)
    assert asked == [{"gain": (1.0, 2.0), "mass": [2.0, 2.0]}]
    with pytest.raises(ConfigError, match=r"cannot read randomize none\.yaml"):
        sweep(policy, EnvConfig("auto", {"randomize": "none.yaml"}), "mass", [2], episodes=1)


def test_each_policy_has_its_line_and_its_rows(tmp_path):
    measured = {"plain": [evaluation(2), evaluation(9)], "randomised": [evaluation(9), evaluation(10)]}
    draw_sweep(measured, "friction", [0.25, 4.0], tmp_path / "s.png")
    picture = imread(tmp_path / "s.png")[..., :3]
    for colour in COLOURS[:2]:
        rgb = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
        assert (np.abs(picture - rgb).max(axis=-1) < 0.02).sum() > 300
    write_sweep(measured, "friction", [0.25, 4.0], tmp_path / "s.csv")
    with open(tmp_path / "s.csv", newline="") as file:
        rows = [(row["policy"], row["friction"], row["success"]) for row in csv.DictReader(file)]
    assert rows == [
        *(("plain", "0.25", "0.2"), ("plain", "4.0", "0.9")),
        *(("randomised", "0.25", "0.9"), ("randomised", "4.0", "1.0")),
    ]


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        (
            {"mass": [2, 1]},
            "mass [2, 1]: it is [lowest, highest], numbers from 0.001 up: factor on the masses",
        ),
        ({"mass": [0, 1]}, "numbers from 0.001 up"),
        ({"friction": [True, 2]}, "friction [True, 2]"),
        ({"friction": 1}, "friction 1: it is [lowest, highest]"),
        ({"friction": [1, 2, 3]}, "friction [1, 2, 3]"),
        ({"light": [1, float("inf")]}, "light [1, inf]"),
        ({"action_delay": [0, 1.5]}, "whole numbers from 0 up"),
        ({"camera": ["a", 1]}, "camera ['a', 1]: it is [lowest, highest], numbers: m by which"),
    ],
)
def test_ranges_that_make_no_sense_are_told(ranges, words):
    with pytest.raises(ValueError) as error:
        Randomization(ranges)
    assert words in str(error.value)


def test_ranges_are_drawn_within_their_ends():
    drawn = Randomization({"camera": [-0.1, 0.1], "action_delay": [0, 2]})
    found = [drawn.draw(np.random.default_rng(seed)) for seed in range(40)]
    assert {each["action_delay"] for each in found} == {0.0, 1.0, 2.0}
    assert all(-0.1 <= each["camera"] <= 0.1 for each in found)
