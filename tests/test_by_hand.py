"""Demonstrations by hand: what keys mean, how a session goes, and the page through which people steer."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request

import numpy as np
import pytest
from browser import Browser, find_browser
from person import AtThePage, Person, PersonsHand, at_the_hand
from watching import Visitor
from websockets.exceptions import ConnectionClosed, InvalidStatus

from envs.tasks.steering import Steering
from sac_dist.acting.by_hand import record_by_hand
from sac_dist.acting.environment import make_env
from sac_dist.acting.hand import DISCARD, DONE, MOVES, REDO, STALE, STANDS, Hand
from sac_dist.acting.reels import Reels
from sac_dist.cli import main as cli
from sac_dist.cli.watch import open_page
from sac_dist.engine.watching import find_address
from sac_dist.formats import files
from sac_dist.reporting.watch.keys import Grip, Input, turned
from sac_dist.reporting.watch.page import Subject
from sac_dist.settings import ConfigError, EnvConfig

pytestmark = pytest.mark.timeout(120)
LIFT = EnvConfig("SawyerLift-v0", {"backend": "mujoco"})
AT_ONCE = 1e6  # times the real robot's speed


def pressed(*keys: str, **others) -> Input:
    return Input.of(json.dumps({"keys": keys, **others}))


def recorded(config: EnvConfig, hand: Hand, episodes: int = 2, **options):
    kept, lines, tried = [], [], []
    record_by_hand(
        config,
        hand,
        Reels(1),
        episodes,
        kept.append,
        note=lines.append,
        on_episode=lambda index, episode: tried.append(episode),
        **{"quicker": AT_ONCE, **options},
    )
    return kept, lines, tried


# What keys mean


def test_keys_and_sticks_are_motions():
    assert pressed("KeyW", "KeyD", "KeyR").motion().tolist() == [1, -1, 1, 0, 0, 0]
    assert pressed("KeyW", "KeyS", "F5").motion().tolist() == [0] * 6
    assert pressed("KeyE", "ShiftLeft").motion().tolist() == [0, 0, 0, 0, 0, -0.25]
    pad = pressed(axes=[0.5, -1.0, 0.05, 1.0], buttons=[True, False, False, True])
    np.testing.assert_allclose(pad.motion(), [1.0, -0.5, -1.0, 0, 0, 0])
    assert pad.pressed() == {"Space", "Enter"} and not pad.holds()
    assert pressed(buttons=[False] * 7 + [True]).holds()
    mouse = pressed(axes=[0, -0.5, 0.25, 0, 0, 1.0], standard=False)
    np.testing.assert_allclose(mouse.motion(), [0.5, 0, -0.25, 0, 0, -1.0])
    assert not pressed(axes=[1.0, 1.0], standard=False).motion().any(), "a layout that nobody knows"


def test_switches_switch_once_a_press():
    grip = Grip()
    for keys, opening, taken in (
        ("Space", 0, 0),
        ("Space", 0, 0),
        ("", 0, 0),
        ("KeyT", 0, 1),
        ("Space", 1, 1),
    ):
        grip.take(pressed(keys))
        assert (grip.opening, grip.taken) == (opening, taken)


def test_a_motion_is_in_the_frame_of_who_looks():
    np.testing.assert_allclose(
        turned(np.array([1.0, 0, 0, 0, 1.0, 0]), np.pi / 2), [0, 1, 0, -1, 0, 0], atol=1e-12
    )


@pytest.mark.parametrize(
    "message",
    [b"\xff", "", "[]", "{", '{"keys": 3}', '{"keys": [1]}', '{"axes": ["a"]}', '{"axes": [NaN]}', '{"axes": [1e999]}',
     json.dumps({"keys": ["x"] * 100})],
)  # fmt: skip
def test_what_no_page_sends_is_refused(message):
    with pytest.raises((ValueError, TypeError)):
        Input.of(message)


# The hand


@pytest.mark.parametrize("control", ["joint_velocity", "joint_position", "end_position", "end_pose"])
def test_the_tool_goes_where_the_hand_wants_whatever_the_control(control):
    env = make_env(EnvConfig("SawyerLift-v0", {"backend": "mujoco", "control": control}))
    steering = Steering(env)
    env.reset(seed=0)
    before = env.unwrapped.readings.tool_position.copy()
    for _ in range(10):
        env.step(steering.action(np.array([0.5, 0.0, 0.0, 0, 0, 0]), 0.0))
    now = env.unwrapped.readings
    moved = now.tool_position - before
    assert 0.06 < moved[0] < 0.12 and np.abs(moved[1:]).max() < 0.02, moved
    assert now.opening < 0.5
    for _ in range(60):
        env.step(steering.action(np.array([0, 0, -1.0, 0, 0, 0]), 0.0))
    assert env.unwrapped.readings.tool_position[2] > env.unwrapped.readings.table_height - 0.02, (
        "into the table"
    )
    env.close()


def test_a_tilt_goes_back_when_it_is_let_go():
    env = make_env(LIFT)
    steering = Steering(env)
    env.reset(seed=0)
    tilts = []
    for tilt in (1.0, 0.0):
        for _ in range(25):
            env.step(steering.action(np.array([0, 0, 0, 0, tilt, 0]), 1.0))
        tilts.append(np.hypot(*env.unwrapped.readings.tool_rotation[:2, 2]))
    assert tilts[0] > 0.15 and tilts[1] < 0.05, tilts
    env.close()


def test_a_hand_that_is_not_held_wants_nothing():
    hand = Hand()
    assert hand.command() is None
    hand.hold(np.ones(6), 0.0, True)
    hand.attend(1)
    assert hand.command().takes_over and hand.attends(1) and not hand.attends(0)
    hand._cells.array[0] -= STALE + 0.1
    assert hand.command() is None and not hand.attends(1)


# A session


@pytest.mark.parametrize(
    ("name", "options"), [("SawyerLift-v0", {}), ("SawyerGrasp-v0", {"control": "end_position"})]
)
def test_a_person_records_what_trains(name, options):
    config = EnvConfig(name, {"backend": "mujoco", **options})
    kept, lines, tried = recorded(config, PersonsHand(Person(1)), 3)
    assert [len(demos.starts) for demos in kept] == [1, 2, 3], "saved after each episode"
    demos = kept[-1]
    assert demos.success.all() and len(tried) >= 3 and not lines
    env = make_env(config)
    assert demos.source["env"] == config.flat() and demos.source["policy"] == "human"
    assert demos.action.shape[1] == env.action_space.shape[0] and np.abs(demos.action).max() <= 1
    np.testing.assert_array_equal(
        demos.observation[1 : demos.ends[0]], demos.next_observation[: demos.ends[0] - 1]
    )
    env.close()


class Presses(PersonsHand):
    """Presses ``button`` in the instant ``when`` of the first episode."""

    def __init__(self, button: int, when: int = 5) -> None:
        super().__init__(Person(1))
        self.button, self.when, self.instants = button, when, 0
        self.first: list[np.ndarray] = []  # what was seen first in each episode

    def tell(self, state, seen, kept=0, wanted=0):
        if state == STANDS != self._state:
            self.first.append(seen.copy())
        super().tell(state, seen, kept, wanted)
        self.instants += state == MOVES
        if self.instants == self.when:
            self.press(self.button)
            self.instants += 1


def test_done_keeps_what_has_not_succeeded():
    kept, _, tried = recorded(LIFT, Presses(DONE), 1)
    assert len(kept) == 1 and tried[0].length == 5 and not kept[0].success.any()
    assert kept[0].truncated.tolist() == [False] * 4 + [True] and not kept[0].terminated.any()


@pytest.mark.parametrize("button", [DISCARD, REDO])
def test_what_is_discarded_is_not_kept_and_redo_begins_the_same(button):
    hand = Presses(button)
    kept, _, _ = recorded(LIFT, hand, 1)
    assert kept[0].success.all() and kept[0].source["episodes tried"] == 1
    assert np.array_equal(*hand.first) == (button == REDO)


def test_who_leaves_loses_the_episode_and_no_more():
    class Leaves(Presses):
        def command(self):
            return None if 5 <= self.instants < 7 else super().command()

        def press(self, button):
            threading.Timer(0.05, lambda: setattr(self, "instants", 7)).start()

    hand = Leaves(DONE)
    kept, lines, _ = recorded(LIFT, hand, 2)
    assert len(kept[-1].starts) == 2 and len(lines) == 1 and "the episode is discarded" in lines[0]
    np.testing.assert_array_equal(hand.first[0], hand.first[1])


def test_it_ends_where_nobody_will_come_any_more():
    hand = Presses(DONE, 5)
    kept, lines, tried = recorded(LIFT, hand, 2, attended=lambda: hand.instants < 10)
    assert len(kept) == len(tried) == 1 and len(lines) == 1 and "the episode is discarded" in lines[0]


def test_a_failed_episode_is_kept_where_it_is_asked_for():
    class Still(PersonsHand):
        def command(self):
            command = super().command()
            return command._replace(motion=np.array([0, 0, 1.0, 0, 0, 0]))

    config = EnvConfig("SawyerLift-v0", {"backend": "mujoco"}, horizon=10)
    kept, _, tried = recorded(config, Still(Person()), 2, only_success=False)
    assert [episode.success for episode in tried] == [False, False] and len(kept[-1].starts) == 2


# Mistakes of the caller


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--env", "Pendulum-v1"], "Pendulum-v1 has no arm that people can steer"),
        (["--out", "minari:hand/lift-v0"], "each episode is saved at once"),
        (["--policy-x"], "unrecognized"),
        (["--watch-host", "1.2.3.4"], "--watch-host 1.2.3.4"),
        (["--deterministic"], "--deterministic has no meaning with --record-demos"),
    ],
)
def test_mistakes_are_told_in_a_line(flags, reason, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["--record-demos", "2", "--policy", "human", "--env", "SawyerLift-v0", "--out", "x.npz", *flags]
    assert cli.main(given) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1 and not list(tmp_path.iterdir())


def test_viser_is_named_where_it_is_missing(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("sac_dist.engine.watching.importlib.util.find_spec", lambda name: None)
    assert cli.main(["--record-demos", "2", "--policy", "human", "--out", str(tmp_path / "x.npz")]) == 2
    assert "--policy human needs viser: pip install 'sac-dist[view]'" in capsys.readouterr().err


# The page


class Session:
    """A recording of ``episodes`` and its page."""

    def __init__(self, episodes: int, quicker: float = 10.0, host: str = "127.0.0.1") -> None:
        self.hand, self.lines, self.kept = Hand(), [], []
        self.address, _ = find_address(host, 18700)
        reels = Reels(1)
        open_page(Subject(LIFT, reels, ("you",), hand=self.hand), self.address)
        self.thread = threading.Thread(
            target=record_by_hand,
            args=(LIFT, self.hand, reels, episodes, self.kept.append),
            kwargs={"note": self.lines.append, "quicker": quicker},
            daemon=True,
        )
        self.thread.start()
        self.url = self.address.url.replace("0.0.0.0", "127.0.0.1")

    def socket(self):
        return at_the_hand(self.url)


def until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_twenty_lifts_through_the_page():
    session = Session(20)
    person = AtThePage(session.url, Person(2))
    person.start()
    session.thread.join(100)
    person.leave()
    demos = session.kept[-1]
    assert len(demos.starts) == 20 and demos.success.all() and not session.lines
    assert person.states.count("success") >= 19  # the last may end before it is seen
    assert person.last["wanted"] == 20


@pytest.mark.slow
def test_a_page_may_close_and_others_look_on():
    session = Session(1)
    first = session.socket()
    seen = [json.loads(first.recv()) for _ in range(3)][-1]
    assert seen["steers"] and not seen["trains"] and seen["state"] in ("nobody", "ready")
    first.send(json.dumps({"keys": ["KeyW"]}))
    until(lambda: session.hand.told().state == MOVES)
    with session.socket() as second:
        assert not json.loads(second.recv())["steers"]
        second.send(json.dumps({"keys": ["KeyS", "Enter"]}))
        time.sleep(0.2)
        assert session.hand.command().motion[0] >= 0 and not session.kept, "two steer one arm"
        first.close()
        until(lambda: session.lines)
        assert "the episode is discarded" in session.lines[0]
        until(lambda: json.loads(second.recv())["steers"])
        second.send(json.dumps({"keys": ["KeyS"]}))
        until(lambda: session.hand.told().state == MOVES)
        second.send(json.dumps({"keys": ["KeyS", "Enter"]}))
        until(lambda: session.kept)
    session.thread.join(20)


@pytest.mark.slow
def test_hostile_pages_do_not_act():
    session = Session(1)
    with session.socket() as person:
        person.recv()
        for garbage in (b"\x00", "}{", '{"keys": {"a": 1}}', "[" * 100_000, json.dumps({"axes": [10**400]})):
            with session.socket() as hostile, pytest.raises(ConnectionClosed):
                hostile.send(garbage)
                while True:
                    hostile.recv(timeout=10)
        with session.socket() as flood, pytest.raises(ConnectionClosed):
            while True:
                flood.send('{"keys": []}')
        for origin in ("http://evil.example", "null"):
            with pytest.raises(InvalidStatus, match="403"):
                at_the_hand(session.url, origin=origin)
        crowd = [session.socket() for _ in range(7)]
        with session.socket() as one_too_many, pytest.raises(ConnectionClosed):
            while True:
                one_too_many.recv(timeout=10)
        for _ in range(3):
            assert json.loads(person.recv())["steers"]
        for one in crowd:
            one.close()
        bare = [socket.create_connection((session.address.host, session.address.port)) for _ in range(100)]
        for one in bare:
            one.send(b"GET /hand/socket HTTP/1.1\r\n\x00\r\n\r\n")
        person.send(json.dumps({"keys": ["KeyA"]}))
        until(lambda: session.hand.told().state == MOVES)
        for one in bare:
            one.close()
        person.send(json.dumps({"keys": ["Enter"]}))
        until(lambda: session.kept)


@pytest.mark.slow
def test_a_page_for_others_wants_its_token():
    session = Session(1, host="0.0.0.0")
    with session.socket() as person:
        assert json.loads(person.recv())["steers"]
    with urllib.request.urlopen(session.url + "hand") as page:
        assert b"steer" in page.read() and page.headers["Content-Type"].startswith("text/html")
    bare = session.url.rsplit("/", 2)[0] + "/"
    for wrong in (bare, bare + "wrong/"):
        with pytest.raises(InvalidStatus, match="403"):
            at_the_hand(wrong)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(wrong + "hand")


# In a browser


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason="no Chromium: SAC_DIST_BROWSER names its program")
def test_a_person_lifts_with_a_browsers_keys(tmp_path):
    session = Session(1, quicker=0.3)  # who draws in software is slow
    browser = Browser(session.url + "hand", tmp_path)
    try:
        until(lambda: browser.value("document.getElementById('state').textContent") == "move to begin", 60)
        canvases = "document.getElementById('view').contentDocument.querySelectorAll('canvas')"
        widest = f"Math.max(...[...{canvases}].map(canvas => canvas.width))"
        until(lambda: (browser.value(widest) or 0) > 600, 60)
        with Visitor(session.url) as visitor:
            person = AtThePage(session.url, Person(3), browser.press)
            person.start()
            session.thread.join(90)
            person.leave()
            visitor.read(0.5)
            assert len(visitor.poses) > 20, "nothing moves"
        assert "1 of 1 kept" in browser.value("document.getElementById('panel').innerText")
    finally:
        browser.close()
    assert session.kept[-1].success.all()


def test_a_file_is_written_after_each_episode(tmp_path):
    kept, _, _ = recorded(LIFT, PersonsHand(Person(4)), 2)
    for again, demos in enumerate(kept):
        files.write(demos, tmp_path / "x.npz", again=bool(again))
        assert len(files.read(tmp_path / "x.npz").starts) == again + 1
    with pytest.raises(ConfigError, match="exists"):
        files.write(kept[0], tmp_path / "x.npz")
