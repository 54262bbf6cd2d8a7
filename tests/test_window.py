"""Demonstrations by hand in a window: by the keys of a display without a screen, and by a SpaceMouse's reports."""

from __future__ import annotations

import multiprocessing
import struct
import sys
import threading
import time
from pathlib import Path

import display
import numpy as np
import pytest
from person import Person, words
from test_by_hand import until

from sac_dist.acting.environment import make_env
from sac_dist.acting.hand import MOVES, NOBODY, STANDS, Hand
from sac_dist.acting.views import drawable
from sac_dist.cli import main as cli
from sac_dist.formats import files
from sac_dist.reporting.watch import spacemouse
from sac_dist.reporting.watch.keys import GRIPPER, SLOW, Input, turned
from sac_dist.reporting.watch.keys import MOVES as MOVING
from sac_dist.reporting.watch.spacemouse import SpaceMouse
from sac_dist.reporting.watch.steering import PRESSED, gripper, offset
from sac_dist.settings import ConfigError, EnvConfig

pytestmark = pytest.mark.timeout(120)
LIFT = EnvConfig("SawyerLift-v0", {"backend": "mujoco"})
RECORD = ["--policy", "human", "--env", "SawyerLift-v0", "--backend", "mujoco"]
on_a_display = pytest.mark.skipif(display.obstacle() is not None, reason=str(display.obstacle()))


class Device:
    """A SpaceMouse that is not there, below hidapi; see fake_hidapi/hidraw.py."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "reports").touch()

    def report(self, number: int, *values: int) -> None:
        with (self._folder / "reports").open("a") as file:
            file.write(f"{number:02x}{struct.pack(f'<{len(values)}h', *values).hex()}\n")

    def turn(self, state: str, on: bool) -> None:
        """The state "unplugged" or "forbidden"."""
        (self._folder / state).touch() if on else (self._folder / state).unlink()

    def press(self, keys: set[str]) -> None:
        """Push it as these keys would, and its left button for the gripper."""
        forward, left, up, roll, pitch, yaw = (350 * Input(frozenset(keys)).motion()).astype(int).tolist()
        self.report(1, -left, -forward, -up, -pitch, -roll, -yaw)
        self.report(3, int(GRIPPER in keys))


@pytest.fixture
def device(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent / "fake_hidapi")
    monkeypatch.setenv("FAKE_SPACEMOUSE", str(tmp_path))
    monkeypatch.delitem(sys.modules, "hidraw", raising=False)
    yield Device(tmp_path)
    sys.modules.pop("hidraw", None)


# The SpaceMouse


def now_of(mouse: SpaceMouse) -> Input:
    return Input(frozenset(), *mouse.read(), standard=False)


def test_reports_of_old_and_new_devices_are_motions(device):
    mouse = SpaceMouse(print)
    assert not now_of(mouse).motion().any()
    device.report(1, 0, -350, 175)  # away from the person and down, of an older one
    np.testing.assert_allclose(now_of(mouse).motion(), [1, 0, -0.5, 0, 0, 0])
    device.report(2, 0, 0, 350)  # clockwise from above
    np.testing.assert_allclose(now_of(mouse).motion(), [1, 0, -0.5, 0, 0, -1])
    device.report(1, 350, 0, 0, 350, -350, 0)  # to the right, and tilts, of a newer one
    np.testing.assert_allclose(now_of(mouse).motion(), [0, -1, 0, 1, -1, 0])
    device.report(1, 10, -20, 30, 0, 0, 5)
    assert not now_of(mouse).motion().any(), "a hand that rests on it"
    for left, right, meant in ((0, 0, set()), (1, 0, {"Space"}), (0, 1, {"Enter"})):
        device.report(3, left + 2 * right)
        assert now_of(mouse).pressed() == meant
    for garbage in ((1,), (2, 1), (3,), (7, 1, 1, 1)):
        device.report(*garbage)
    assert not now_of(mouse).motion().any()


def test_a_spacemouse_that_is_unplugged_stands_still_and_may_come_back(device, monkeypatch):
    monkeypatch.setattr(spacemouse, "LOOK_AGAIN", 0.0)
    lines: list[str] = []
    mouse = SpaceMouse(lines.append)
    device.press({"KeyW", GRIPPER})
    assert now_of(mouse).motion()[0] == 1.0
    device.turn("unplugged", True)
    for _ in range(3):
        assert not now_of(mouse).motion().any() and not now_of(mouse).pressed()
    assert len(lines) == 1 and "is unplugged: the arm stands still" in lines[0]
    device.turn("unplugged", False)
    now_of(mouse)
    device.press({"KeyD"})
    assert now_of(mouse).motion()[1] == -1.0 and lines[1:] == ["the SpaceMouse is back"]


def test_hidapi_has_what_its_stand_in_has():
    real = pytest.importorskip("hidraw")
    assert isinstance(real.enumerate(), list)
    assert all(hasattr(real.device, name) for name in ("open_path", "set_nonblocking", "read", "close"))


# Mistakes of the caller


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--hand", "window", "--watch-port", "9000"], "--hand window opens no page: leave --watch-port out"),
        (["--hand", "window", "--policy", "expert"], "--hand window is for --policy human"),
        (["--hand", "feet"], "invalid choice"),
        (["--hand", "spacemouse", "--env", "Pendulum-v1"], "Pendulum-v1 has no arm that people can steer"),
        (["--hand", "window", "--backend", "coppelia"], "CoppeliaSim's arm is steered from --hand page"),
        (["--hand", "window"], "--hand window needs a display (DISPLAY is not set)"),
    ],
)
def test_mistakes_are_told_in_a_line(flags, reason, capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    refused(flags, reason, capsys, tmp_path)


def test_a_spacemouse_that_is_not_to_be_had_is_told_in_a_line(device, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("DISPLAY", ":0")  # which nobody looks at
    device.turn("forbidden", True)
    with pytest.raises(ConfigError, match="--hand spacemouse may not read /dev/hidraw1"):
        SpaceMouse(print)
    device.turn("unplugged", True)
    refused(["--hand", "spacemouse"], "--hand spacemouse finds no SpaceMouse", capsys, tmp_path)


def test_hidapi_is_named_where_it_is_missing(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setitem(sys.modules, "hidraw", None)
    monkeypatch.setitem(sys.modules, "hid", None)
    refused(["--hand", "spacemouse"], "needs hidapi: pip install 'sac-dist[spacemouse]'", capsys, tmp_path)


def refused(flags, reason, capsys, folder):
    assert cli.main(["--record-demos", "1", *RECORD, "--out", str(folder / "x.npz"), *flags]) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1 and not (folder / "x.npz").exists()


# The window


class AtTheWindow(threading.Thread):
    """A person who sees what the window says in words, and answers by ``press``; from the second episode on
    ``after_one`` is called instead.
    """

    def __init__(self, hands: list[Hand], person: Person, press, after_one=None) -> None:
        super().__init__(daemon=True)
        self.hands, self.person, self.press, self.after_one = hands, person, press, after_one
        self.leaves = False
        self.instants = 0
        self.direction = looking()

    def run(self) -> None:
        tick, state = 0, NOBODY
        while not self.leaves:
            time.sleep(0.005)
            told = self.hands[0].told() if self.hands else None
            if told is None or told.tick == tick:
                continue
            if told.state == STANDS != state:
                self.person.begin()
            tick, state = told.tick, told.state
            if state == STANDS and told.kept and self.after_one is not None:
                self.after_one()
                return
            self.instants += state == MOVES
            seen = words(
                np.append(offset(told, self.direction), told.seen[3:]), gripper(self.hands[0]) == "open"
            )
            self.press(self.person.keys(seen) if state in (STANDS, MOVES) else set())


def looking() -> float:
    """The direction of who looks at a new window, as its world has it, in rad."""
    env = make_env(LIFT)
    env.reset(seed=0)
    view = drawable(env)
    eye, at = view.drawing_of(view.snapshot())[1].viewpoint()
    env.close()
    return float(np.arctan2(*(at - eye)[1::-1]))


@pytest.fixture
def screen(monkeypatch):
    found = display.Display()
    monkeypatch.setenv("DISPLAY", found.name)
    yield found
    found.close()


@pytest.fixture
def hands(monkeypatch):
    """Those of the commands, at half the real robot's speed: what draws in software is slow."""
    made, begin = [], Hand.__init__

    def init(hand: Hand) -> None:
        begin(hand)
        hand.pace(0.5)
        made.append(hand)

    monkeypatch.setattr(Hand, "__init__", init)
    return made


@pytest.mark.slow
@on_a_display
def test_a_person_lifts_by_a_windows_keys_and_a_display_that_dies_takes_nothing(
    screen, hands, tmp_path, capsys
):
    out = tmp_path / "mine.npz"
    person = AtTheWindow(hands, Person(3), screen.press, after_one=screen.close)
    person.start()
    assert cli.main(["--record-demos", "2", *RECORD, "--hand", "window", "--out", str(out)]) == 2
    assert "the window ended with status" in capsys.readouterr().err
    demos = files.read(str(out))
    assert len(demos.starts) == 1 and demos.success.all() and demos.source["policy"] == "human"
    assert not multiprocessing.active_children()


@pytest.mark.slow
@on_a_display
def test_a_person_lifts_by_a_spacemouse(screen, hands, device, tmp_path, capsys):
    out = tmp_path / "mine.npz"

    def press(keys: set[str]) -> None:
        device.press(keys)
        if person.instants == 20:
            device.turn("unplugged", True)
            until(lambda: not hands[0].command().motion.any())
            time.sleep(0.2)
            device.turn("unplugged", False)
            time.sleep(1.0)

    person = AtTheWindow(hands, Person(3), press)
    person.start()
    assert cli.main(["--record-demos", "1", *RECORD, "--hand", "spacemouse", "--out", str(out)]) == 0
    person.leaves = True
    said = capsys.readouterr().out
    assert said.index("the SpaceMouse is unplugged") < said.index("the SpaceMouse is back")
    assert files.read(str(out)).success.all()


@pytest.mark.slow
@on_a_display
def test_every_key_of_the_page_is_one_of_the_window_and_who_closes_it_ends(screen, hands, tmp_path, capsys):
    out, failed, direction = tmp_path / "x.npz", [], looking()

    def moves(*keys: str) -> bool:
        wanted = turned(Input(frozenset(keys)).motion(), direction)
        return np.allclose(hands[0].command().motion, wanted, atol=0.01)

    def play() -> None:
        until(lambda: hands and "sac_dist: move to begin, 0 of 2 kept" in screen.titles().values())
        for opening in ("closed", "open"):
            screen.press({GRIPPER})
            screen.press(set())
            until(lambda opening=opening: gripper(hands[0]) == opening, 5)
            time.sleep(0.1)  # nobody is quicker
        for keys in (*((key,) for key in MOVING), *(("KeyW", key) for key in SLOW)):
            screen.press(set(keys))
            until(lambda keys=keys: moves(*keys), 5)
        for key, button in PRESSED.items():
            until(lambda: hands[0].told().state == MOVES, 5)
            screen.press({key})
            until(lambda button=button: hands[0].presses(button) == 1, 5)
            until(lambda: hands[0].told().state != MOVES, 5)
            screen.press({"KeyR"})
        until(lambda: hands[0].told().state == MOVES, 5)

    def person() -> None:
        try:
            play()
        except BaseException as error:
            failed.append(error)
        screen.ask_to_close(next(iter(screen.titles())))

    threading.Thread(target=person, daemon=True).start()
    assert cli.main(["--record-demos", "2", *RECORD, "--hand", "window", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert not failed and "who steered has left: the episode is discarded" in said, (failed, said)
    assert len(files.read(str(out)).starts) == 1, "the one that was said to be done"
