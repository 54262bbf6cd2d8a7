"""The page of --watch: what it shows, who comes in, and that a run does not care."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from unittest.mock import Mock

import gymnasium
import numpy as np
import pytest
from browser import Browser, find_browser
from test_engine import descendants, role_of
from watching import Visitor
from websockets.exceptions import ConnectionClosed, InvalidStatus

import envs  # noqa: F401
from envs.backends.mujoco.drawing import SOLIDS, Drawing, ModelView
from sac_dist import Callback, Sink
from sac_dist.acting.on_request import PICTURE_WIDTH, play_on_request
from sac_dist.acting.reels import EVALUATED, LENGTH, Filmed, Filming, Reels
from sac_dist.acting.views import picture_of
from sac_dist.engine.train import train
from sac_dist.engine.watching import find_address
from sac_dist.reporting.watch.curves import Curves
from sac_dist.reporting.watch.door import MOST, Door
from sac_dist.reporting.watch.films import HOLD, Evaluations, Player, Projector
from sac_dist.reporting.watch.stage import Stage
from sac_dist.settings import AgentConfig, Config, ConfigError, EnvConfig, TrainConfig
from sac_dist.storage import checkpoint
from sac_dist.system.files import models_dir

pytestmark = pytest.mark.timeout(120)


class Counting(gymnasium.Env):
    """Its snapshot is how many steps were taken."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, length: int = 5) -> None:
        self.length = length

    def snapshot(self) -> np.ndarray:
        return np.array([self.count], np.float32)

    def drawing_of(self, snapshot):
        raise NotImplementedError

    def reset(self, *, seed=None, options=None):
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        over = self.count == self.length
        return np.zeros(1, np.float32), 1.0, over, False, {"success": over}


def numbers(frames: list[bytes]) -> list[float]:
    return [float(np.frombuffer(frame, np.float32)[0]) for frame in frames]


def play(env: gymnasium.Env, film: Filming, steps: int = 5) -> None:
    env.reset()
    film.begin()
    for _ in range(steps):
        env.step(None)
        film.add()
    if steps == 5:
        film.end(5.0, True)


# Reels


def test_a_reel_holds_the_episode_that_was_asked_for():
    reels, env = Reels(2), Counting()
    assert not reels.asked(0)
    reels.ask(0)
    assert reels.asked(0) and not reels.asked(1)
    play(env, Filming(reels, 0, env))
    take = reels.look(0)
    assert (take.frames, take.ended, take.success, take.total_reward) == (6, True, True, 5.0)
    assert numbers(reels.frames(0, take)) == [0, 1, 2, 3, 4, 5]
    assert numbers(reels.frames(0, take, 4)) == [4, 5]
    assert not reels.asked(0)
    reels.ask(0)
    reels.forget()
    assert not reels.asked(0)


def test_a_dead_writers_episode_is_filmed_anew_by_its_successor():
    reels, env = Reels(1), Counting()
    reels.ask(0)
    play(env, Filming(reels, 0, env), steps=3)
    before = reels.look(0)
    assert before.frames == 4 and not before.ended and reels.asked(0)
    play(env, Filming(reels, 0, env))
    assert reels.frames(0, before) is None  # overwritten
    assert reels.look(0).number == before.number + 1 and reels.look(0).ended and not reels.asked(0)


def test_an_episode_that_is_too_long_is_cut_and_a_snapshot_that_is_too_wide_is_left_out():
    reels, env = Reels(1), Counting(LENGTH + 10)
    film = Filming(reels, 0, env)
    play(env, film, steps=LENGTH + 5)
    assert reels.look(0).frames == LENGTH
    narrow = Reels(1, width=2)
    film = Filming(narrow, 0, env)
    play(env, film)
    assert narrow.look(0).frames == 0 and narrow.look(0).ended


def test_evaluations_are_kept_for_later():
    reels = Reels(1)
    env, kept = Filmed(Counting(), reels), Evaluations(reels)
    for clock in (1000, 2000):
        env.evaluation(clock)
        for _ in range(EVALUATED + 2):
            env.reset()
            while not env.step(None)[2]:
                pass
        assert kept.collect() and not kept.collect()
    assert len(kept.films) == 2 * EVALUATED
    assert kept.films[0].title == "at 1,000 steps · episode 1 · success · return 5.00"
    assert numbers(kept.films[-1].frames) == [0, 1, 2, 3, 4, 5]
    assert kept.film(over=False).clock == 2000


def test_an_episode_is_played_at_its_own_speed_and_the_next_one_asked_for_at_its_end(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("sac_dist.reporting.watch.films.time.monotonic", lambda: now[0])
    reels, env = Reels(1), Counting()
    projector = Projector(Player(reels, 0, "worker-0"))
    assert projector.frame(1.0) is None and reels.asked(0)
    play(env, Filming(reels, 0, env))
    seen = [numbers([projector.frame(0.5)])[0] for _ in range(20)]
    assert seen[:7] == [0, 0, 1, 1, 2, 2, 3] and seen[-1] == 5
    assert not reels.asked(0)
    now[0] = 2 * HOLD
    projector.frame(0.0)
    assert not reels.asked(0), "a pause asks for nothing"
    projector.frame(0.5)
    assert reels.asked(0)


# What is drawn


def test_shapes_are_closed_and_turned_outwards():
    for make in SOLIDS.values():
        if make.__name__ == "_plane":
            continue
        size = np.array([0.1, 0.2, 0.3])
        vertices, faces = make(size)
        a, b, c = vertices[faces].transpose(1, 0, 2)
        volume = np.einsum("ij,ij->", a, np.cross(b, c)) / 6
        exact = {
            "_box": 8 * 0.1 * 0.2 * 0.3,
            "_sphere": 4 / 3 * np.pi * 0.1**3,
            "_ellipsoid": 4 / 3 * np.pi * 0.1 * 0.2 * 0.3,
            "_cylinder": np.pi * 0.1**2 * 0.4,
            "_capsule": np.pi * 0.1**2 * 0.4 + 4 / 3 * np.pi * 0.1**3,
        }[make.__name__]
        assert volume == pytest.approx(exact, rel=0.05), make.__name__


@pytest.mark.parametrize("name", ["PickAndPlace-v0", "Drawer-v0", "Clutter-v0"])
def test_an_arm_task_is_drawn_elsewhere_as_it_is_here(name):
    here, elsewhere = (gymnasium.make(name, backend="mujoco").unwrapped for _ in range(2))
    for seed in range(2):
        here.reset(seed=seed)
        elsewhere.reset(seed=99)
        for _ in range(5):
            here.step(here.action_space.sample())
        snapshot = here.snapshot()
        number, drawn = elsewhere.drawing_of(snapshot)
        assert number == here.backend.placement()[0]
        seen = elsewhere.seen(snapshot)
        bodies = {drawn.model.body(index).name: index for index in range(drawn.model.nbody)}
        model, data = here.backend.model, here.backend.data
        shared = [index for index in range(1, model.nbody) if model.body(index).name in bodies]
        assert len(shared) > 8
        for index in shared:
            place = seen.poses[bodies[model.body(index).name]]
            np.testing.assert_allclose(place[:3], data.xpos[index], atol=1e-5)
        marks = here.marks(here.readings)
        assert len(seen.marks) == len(marks)
        for (place, radius), (place_here, radius_here) in zip(seen.marks, marks, strict=True):
            np.testing.assert_allclose(place, place_here, atol=1e-6)
            assert radius == pytest.approx(radius_here)
        shapes = drawn.shapes()
        assert {shape.body for shape in shapes} > {bodies[model.body(i).name] for i in shared[-1:]}
        assert all(len(shape.vertices) > shape.faces.max() for shape in shapes)
    here.close()
    elsewhere.close()


def test_any_mujoco_environment_is_drawn():
    env = gymnasium.make("HalfCheetah-v5")
    env.reset(seed=0)
    view = ModelView(env.unwrapped.model, env.unwrapped.data)
    seen = view.seen(view.snapshot())
    np.testing.assert_allclose(seen.poses[:, :3], env.unwrapped.data.xpos, atol=1e-5)
    assert len(Drawing(env.unwrapped.model).shapes()) > 5


def test_an_episode_that_is_filmed_is_the_same_bit_for_bit():
    last = []
    for filmed in (True, False):
        env = gymnasium.make("SawyerLift-v0", backend="mujoco")
        env.reset(seed=3)
        film = Filming(Reels(1), 0, env)
        film.begin()
        for step in range(30):
            observation = env.step(np.sin(step + np.arange(8), dtype=np.float32))[0]
            if filmed:
                film.add()
        last.append((observation, env.unwrapped.backend.get_state()))
        env.close()
    for one, other in zip(*last, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("env", "obstacle"),
    [
        (EnvConfig("nobody:Knows-v0"), "cannot be imported"),
        (EnvConfig("Lift-v0", {"backend": "coppelia"}), "CoppeliaSim does not say"),
        (EnvConfig("SawyerLift-v0", {"backend": "mujoco"}), None),
    ],
)
def test_what_cannot_be_drawn_is_told_and_the_page_goes_on(env, obstacle):
    stage = Stage(Mock(), env)
    assert (stage.obstacle or "").find(obstacle or "") >= 0 and (obstacle is None) == (stage.obstacle is None)
    for frame in (b"", b"garbage!", b"\xff" * 64):
        assert stage.show(frame) is None
    assert "nothing to see" in stage.obstacle


# Who comes in


@pytest.mark.parametrize(
    ("token", "path", "headers", "status"),
    [
        (None, "/", {"Host": "127.0.0.1:8080"}, None),
        (None, "/", {"Host": "localhost:8080", "Origin": "http://localhost:8080"}, None),
        (None, "/", {"Host": "evil.example:8080"}, 403),
        (None, "/", {"Host": "127.0.0.1:8080", "Origin": "http://evil.example"}, 403),
        ("abc", "/abc/", {"Host": "machine:8080"}, None),
        ("abc", "/abc", {"Host": "machine:8080", "Upgrade": "websocket"}, None),
        ("abc", "/", {"Host": "machine:8080"}, 403),
        ("abc", "/abcd/", {"Host": "machine:8080"}, 403),
        ("abc", "/?token=abc", {"Host": "machine:8080"}, 403),
        ("abc", "/ä", {"Host": "machine:8080"}, 403),
    ],
)
def test_the_door(token, path, headers, status):
    assert Door(token).refusal(path, headers) == status


def test_the_door_lets_only_so_many_in():
    door = Door(None)
    door.inside = MOST
    assert door.refusal("/", {"Host": "localhost", "Upgrade": "websocket"}) == 503


def test_the_next_port_is_taken_and_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        address, line = find_address("127.0.0.1", port)
    assert address.port > port and address.token is None
    assert line == f"watch it: http://127.0.0.1:{address.port}/ (port {port} is taken)"


def test_others_need_a_token():
    address, line = find_address("0.0.0.0", 18_000)
    assert address.token and len(address.token) > 20 and address.token in line


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_a_host_that_is_not_here_is_refused(host):
    with pytest.raises(ConfigError, match="--watch-host"):
        find_address(host, 8080)


def test_without_viser_one_line(monkeypatch):
    from sac_dist.engine import watching

    monkeypatch.setattr(watching.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'sac-dist\[view\]'"):
        watching.check_watch(TrainConfig(watch=True))
    watching.check_watch(TrainConfig())


# With a run


def watched(tmp_path, **train) -> Config:
    return Config(
        env=EnvConfig("SawyerLift-v0", {"backend": "mujoco"}, horizon=20),
        agent=AgentConfig(hidden_width=16, hidden_depth=1),
        train=TrainConfig(
            run_dir=str(tmp_path / "run"),
            workers=1,
            steps=train.pop("steps", 100_000),
            warmup_steps=10**6,  # nothing is learned: the page is what is tested
            buffer_size=10_000,
            compile="off",
            video=False,
            success_target=None,
            watch=True,
            watch_port=18_100,
            **train,
        ),
    )


class Page(Callback, Sink):
    """Visits the page of a run and then ends the run."""

    def __init__(self, visit) -> None:
        self.lines, self.visit, self.error = [], visit, None

    def note(self, text):
        self.lines.append(text)

    def on_start(self, run):
        self.run = run
        threading.Thread(target=self._go, daemon=True).start()

    def _go(self):
        try:
            while not (found := [line for line in self.lines if line.startswith("watch it: ")]):
                time.sleep(0.05)
            self.visit(self, found[0].split()[2])
        except BaseException as error:
            self.error = error
        self.run.stop("seen")


def visited(config, visit) -> list[str]:
    """The lines of the run whose page ``visit(page, url)`` has visited."""
    page = Page(visit)
    outcome = train(config, quiet=True, sinks=[page], callbacks=[page]).outcome
    if page.error is not None:
        raise page.error
    assert outcome.reason == "seen"
    return page.lines


def first_visit(url: str) -> Visitor:
    """Once the page's process answers."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return Visitor(url)
        except (OSError, ConnectionClosed):  # a process that dies may take a visitor and go
            assert time.monotonic() < deadline
            time.sleep(0.1)


def named(name: str) -> list[int]:
    """The processes of that name that this one has started."""
    return [pid for pid in descendants(os.getpid()) if role_of(pid) == name]


@pytest.mark.slow
def test_a_run_is_seen_whatever_comes_to_its_page(tmp_path):
    def visit(page, url):
        with first_visit(url) as visitor:
            visitor.until(lambda seen: len(seen.poses) > 40 and "steps/s" in seen.text and seen.charts)
            visitor.until(lambda seen: "return" in seen.text)  # an episode was seen to its end
            end = len(visitor.poses)
            visitor.until(lambda seen: len(seen.poses) > end + 20)  # and there is another one
            assert visitor.kinds["MeshMessage"] > 20
            assert list(visitor.controls["Show"]["options"][:2]) == ["worker-0", "newest evaluation"]
            visitor.set("Pause", True)
            visitor.read(0.5)
            still = len(visitor.poses)
            visitor.read(0.4)
            assert len(visitor.poses) == still, "the pause does not work"
            for value in ("nobody", 7, None, {"x": [1]}):  # whatever is sent, the page goes on
                visitor.set("Show", value)
                visitor.set("Speed", value)
            for garbage in (b"", b"\xff" * 2000, b"\x81\xa4type\xa3Foo", "text"):
                with first_visit(url) as hostile:
                    hostile.socket.send(garbage)
            crowd = [
                socket.create_connection(("127.0.0.1", int(url.rstrip("/").rsplit(":")[-1])))
                for _ in range(100)
            ]
            for one in crowd:
                one.send(b"GET / HTTP/9.9\r\n\x00\x00\r\n\r\n")
            visitor.set("Pause", False)
            visitor.set("Speed", 2.0)
            visitor.set("Show", "newest evaluation")
            visitor.until(
                lambda seen: "at " in seen.text and "episode" in seen.text and len(seen.poses) > still + 40
            )
            for one in crowd:
                one.close()

    lines = visited(watched(tmp_path, eval_interval=500, eval_episodes=5), visit)
    assert not [line for line in lines if "watch " in line and "restarting" in line], lines
    assert not named("watch")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("returns", "low", "high"), [("5,5", 4.75, 5.25), ("nan,inf", None, None), ("0,-inf,2", -0.1, 2.1)]
)
def test_a_curve_has_room_whatever_was_returned(tmp_path, returns, low, high):
    rows = [f"{step},{value}" for step, value in enumerate(returns.split(","))]
    (tmp_path / "metrics.csv").write_text("\n".join(["step,train_return", *rows]) + "\n")
    gui = Mock()
    Curves(gui, tmp_path).update()
    if low is None:
        assert not gui.add_uplot.called
    else:
        assert gui.add_uplot.call_args.kwargs["scales"]["y"]["range"] == pytest.approx((low, high))


# Pixels in the colours of training and evaluation on each chart's canvas.
COLOURED = """JSON.stringify([...document.querySelectorAll(".uplot canvas")].map(canvas => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return [[76, 155, 232], [232, 116, 59]].map(colour => {
        let count = 0;
        for (let i = 0; i < pixels.length; i += 4)
            count += pixels[i + 3] > 0 && colour.every((value, part) => Math.abs(pixels[i + part] - value) < 12);
        return count;
    });
}))"""


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason="no Chromium: SAC_DIST_BROWSER names its program")
def test_curves_are_drawn_and_move(tmp_path):
    def visit(page, url):
        with first_visit(url):
            browser = Browser(url, tmp_path / "profile")

        def drawn(enough) -> list[list[int]]:
            deadline = time.monotonic() + 60
            while not enough(found := json.loads(browser.value(COLOURED) or "[]")):
                assert time.monotonic() < deadline, found
                time.sleep(0.2)
            return found

        try:
            first = drawn(lambda charts: len(charts) == 2 and min(charts[1]) > 30)  # of the return
            drawn(lambda charts: charts[1] != first[1])
        finally:
            browser.close()

    visited(watched(tmp_path, steps=10**6, eval_interval=500, eval_episodes=5), visit)


@pytest.mark.slow
def test_a_dead_page_and_a_dead_worker_come_back(tmp_path):
    def visit(page, url):
        with first_visit(url) as visitor:
            visitor.until(lambda seen: len(seen.poses) > 40)
            (worker,) = named("worker-0")
            os.kill(worker, signal.SIGKILL)
            before = len(visitor.poses)
            visitor.until(lambda seen: len(seen.poses) > before + 100)
            (process,) = named("watch")
            os.kill(process, signal.SIGKILL)
        while process in named("watch"):  # a dying process may still let a visitor in
            time.sleep(0.01)
        with first_visit(url) as visitor:
            visitor.until(lambda seen: len(seen.poses) > 40)

    lines = visited(watched(tmp_path), visit)
    for part in ("worker-0", "watch"):
        assert any(line.startswith(f"{part} was killed by SIGKILL; restarting") for line in lines), lines


@pytest.mark.slow
def test_a_page_for_others_wants_its_token(tmp_path):
    def visit(page, url):
        url = url.replace("0.0.0.0", "127.0.0.1")
        with first_visit(url) as visitor:
            visitor.until(lambda seen: seen.poses)
        for wrong in ("", "wrong/", f"{'a' * 5000}/"):
            with pytest.raises(InvalidStatus, match="403"):
                Visitor(url.rsplit("/", 2)[0] + f"/{wrong}")

    visited(watched(tmp_path, watch_host="0.0.0.0"), visit)


# While testing


@pytest.mark.parametrize("env", ["SawyerGrasp-v0", pytest.param("Pendulum-v1", marks=pytest.mark.slow)])
def test_policies_play_when_they_are_asked(env):
    policy = checkpoint.read(models_dir() / f"{env}.safetensors")
    reels, played = Reels(1, PICTURE_WIDTH), []

    def page():
        for choice in (0, 1, 7, 0):  # a page may send anything
            number = reels.look(0).number
            reels.ask(0, choice)
            while not (reels.look(0).number > number and reels.look(0).ended):
                time.sleep(0.005)
        reels.ask(0)  # the last one was seen

    threading.Thread(target=page, daemon=True).start()
    play_on_request(
        [policy, policy],
        policy.config.env,
        reels,
        4,
        on_episode=lambda choice, episode: played.append(choice),
    )
    assert played == [0, 1, 1, 0]
    take = reels.look(0)
    frames = reels.frames(0, take)
    assert take.ended and len(frames) == take.frames > 5
    if env == "Pendulum-v1":
        assert picture_of(frames[0]).shape == (320, 320, 3)
        assert (picture_of(frames[0]) != picture_of(frames[-1])).any()
