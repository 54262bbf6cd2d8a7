"""The policy server in a process of its own: what it answers, what it survives, and its client's robot."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from policies import exported
from test_replay import wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from sac_dist.runner import Policy
from sac_dist.runner.__main__ import main
from sac_dist.runner.messages import LARGEST_MESSAGE, answer, request, unpacked

pytestmark = pytest.mark.timeout(60)
SOURCE = Path(__file__).parents[1] / "examples" / "policy_client.py"


def start(path: Path, port: int = 0) -> tuple[subprocess.Popen[str], int]:
    """The server, and the port that it says it has."""
    command = [sys.executable, "-m", "sac_dist.runner", "serve", str(path), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("serving on ws://127.0.0.1:"), line
    return process, int(line.split(",")[0].rpartition(":")[2])


def end(process: subprocess.Popen[str]) -> str:
    """What the server said since its first line."""
    process.kill()
    return process.communicate(timeout=10)[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Policy, int, int]]:
    """A policy, its server's port and process id."""
    path = exported(tmp_path_factory.mktemp("served"), "toy_goals:Goal-v0")
    process, port = start(path)
    try:
        yield Policy.load(path), port, process.pid
        assert process.poll() is None, "it served to the end"
    finally:
        said = end(process)
    assert said == "", "strangers leave no traceback"


def connected(port: int) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}", open_timeout=10, close_timeout=1, compression=None)


def ask(server: ClientConnection, message: str | bytes) -> dict:
    server.send(message)
    return json.loads(server.recv(timeout=10))


def test_it_greets_and_answers_as_the_policy_acts(served) -> None:
    policy, port, _ = served
    generator = np.random.default_rng(0)
    with connected(port) as server:
        greeting = json.loads(server.recv(timeout=10))
        assert greeting["version"] == 1 and greeting["policy"]["observation"][0]["name"] == "achieved_goal"
        for number in range(20):
            observation, noise = policy.card.random(generator), generator.standard_normal(2)
            for given in (None, noise):
                found = ask(server, request(number, observation, given))
                assert (found["version"], found["id"]) == (1, number)
                np.testing.assert_allclose(found["action"], policy(observation, given), rtol=0, atol=1e-7)


NAN = {"achieved_goal": [float("nan"), 0.0], "desired_goal": [0.0, 0.0], "observation": [0.0]}
HUGE = {"dtype": "float32", "shape": [10**9, 10**9], "base64": "AAAA"}


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", "cannot be read"),
        ("hello", "cannot be read"),
        (b"\xff\x00\x80" * 50, "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "a message is a JSON object"),
        ("{}", "the message has version None, this server 1"),
        ('{"version": 2, "observation": {}}', "the message has version 2, this server 1"),
        ('{"version": 1}', "the message has no observation"),
        ('{"version": 1, "observation": {}}', "the observation has nothing"),
        ('{"version": 1, "observation": null}', "the observation is a NoneType, not a mapping"),
        (request(1, {**NAN, "achieved_goal": [0.0] * 3}), "and (2,) is needed"),
        (request(1, NAN), "achieved_goal[0] is nan, no finite number"),
        (json.dumps({"version": 1, "observation": {**NAN, "observation": HUGE}}), "cannot be read"),
        (json.dumps({"version": 1, "observation": {"achieved_goal": {"base64": 3}}}), "cannot be read"),
        (json.dumps({"version": 1, "observation": NAN, "noise": "x"}), "noise has to be 2 finite numbers"),
        (json.dumps({"version": 1, "observation": NAN, "noise": [10**400]}), "noise has to be"),
    ],
)
def test_nonsense_is_answered_with_a_line(message: str | bytes, line: str, served) -> None:
    policy, port, _ = served
    with connected(port) as server:
        server.recv(timeout=10)
        found = ask(server, message)
        assert line in found["error"] and "action" not in found and len(found["error"]) < 250
        assert "action" in ask(server, request(2, policy.card.random(np.random.default_rng(0)))), "it goes on"


def test_arrays_come_in_base64_too(served) -> None:
    policy, *_ = served
    picture = np.arange(7056, dtype=np.uint8).reshape(84, 84)
    sent = json.loads(request(1, {"camera": picture, "pair": (1, np.float64(2.5)), "x": np.ones(3, ">f4")}))
    assert set(sent["observation"]["camera"]) == {"dtype", "shape", "base64"}
    assert (unpacked(sent["observation"])["camera"] == picture).all()
    assert sent["observation"]["pair"] == {"0": 1, "1": 2.5} and sent["observation"]["x"] == [1, 1, 1]
    assert "error" in json.loads(answer(policy, json.dumps(sent)))


def test_it_survives_strangers_and_a_hundred_connections(served) -> None:
    policy, port, pid = served
    observation = policy.card.random(np.random.default_rng(0))
    before = len(os.listdir(f"/proc/{pid}/fd"))
    with contextlib.ExitStack() as stack:
        for number in range(40):  # no WebSocket
            stranger = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            with contextlib.suppress(OSError):
                stranger.sendall([b"", os.urandom(500), b"GET / HTTP/1.1\r\n\r\n", b"x" * 10**6][number % 4])
        crowd = [stack.enter_context(connected(port)) for _ in range(100)]
        for server in crowd:
            server.recv(timeout=10)
            server.send(request(1, observation))
        actions = [json.loads(server.recv(timeout=10))["action"] for server in crowd]
        assert actions == [policy(observation).tolist()] * 100
        with pytest.raises((ConnectionClosed, OSError)):
            crowd[0].send("x" * (LARGEST_MESSAGE + 1))
            crowd[0].recv(timeout=10)
        assert ask(crowd[1], request(1, observation))["action"] == actions[0]
    wait_until(
        lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before + 40, 15
    )  # what was no WebSocket has 10 s


def test_a_page_in_a_browser_is_refused(served) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{served[1]}", origin="http://example.com", open_timeout=10)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--port", "70000"], "--port is 70000"),
        (["--host", "192.0.2.1", "--port", "0"], "cannot serve on"),
        (["--host", "a..b", "--port", "0"], "cannot serve on a..b:0: no name of a machine"),
    ],
)
def test_a_mistake_is_a_line(arguments: list[str], line: str, tmp_path: Path, capsys) -> None:
    assert main(["serve", str(exported(tmp_path)), *arguments]) == 2
    said = capsys.readouterr().err
    assert line in said and len(said.splitlines()) == 1


# The client's robot


class Robot:
    def __init__(self) -> None:
        self.commands: list[object] = []
        self.over = False

    def follow(self, port: int) -> threading.Thread:
        spec = importlib.util.spec_from_file_location("policy_client", SOURCE)
        assert spec is not None and spec.loader is not None
        client = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(client)
        thread = threading.Thread(
            target=client.follow,
            args=(f"ws://127.0.0.1:{port}", lambda: {"state": [0.5, 0.5]}, self.commands.append, self.stop),
            kwargs={"period": 0.01, "patience": 0.5, "over": lambda: self.over},
        )
        thread.start()
        return thread

    def stop(self) -> None:
        self.commands.append("stop")


@pytest.mark.parametrize(
    "gone",
    [
        signal.SIGKILL,
        *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGSTOP, signal.SIGTERM)),
    ],
)
def test_the_robot_is_stopped_when_the_server_goes_away_and_goes_on_when_it_is_back(
    gone, tmp_path: Path
) -> None:
    path = exported(tmp_path)
    process, port = start(path)
    robot = Robot()
    thread = robot.follow(port)
    another = None
    try:
        wait_until(lambda: len(robot.commands) > 10, 10)
        assert "stop" not in robot.commands
        process.send_signal(gone)
        wait_until(lambda: robot.commands[-1] == "stop", 5)
        number = len(robot.commands)
        end(process)
        time.sleep(0.3)
        assert set(map(str, robot.commands[number:])) <= {"stop"}, "nothing moves it"
        another, _ = start(path, port)
        wait_until(lambda: robot.commands[-1] != "stop", 10)
    finally:
        robot.over = True
        thread.join(10)
        for each in filter(None, (process, another)):
            end(each)
    assert not thread.is_alive() and robot.commands[-1] == "stop"


def test_a_server_ends_in_order_when_it_is_asked_to(tmp_path: Path) -> None:
    process, port = start(exported(tmp_path))
    try:
        with contextlib.suppress(WebSocketException), connected(port) as server:
            server.recv(timeout=10)
            process.terminate()
            with pytest.raises(ConnectionClosed):
                server.recv(timeout=10)
        said, _ = process.communicate(timeout=10)
        assert process.returncode == 0 and said == ""
    finally:
        end(process)
