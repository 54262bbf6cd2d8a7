"""The runner: what it needs, what it refuses, and that it stops the robot."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from policies import exported, runner

from sac_dist.runner import ConfigError, Limits, Loop, ObservationError, Policy, Stopped
from sac_dist.runner.__main__ import main
from sac_dist.runner.loop import Limiter
from sac_dist.runner.program import Program, Step

pytestmark = pytest.mark.timeout(60)

# What it needs


@pytest.mark.parametrize("suffix", ["npz", "onnx"])
def test_it_needs_neither_torch_nor_a_simulator(suffix: str, tmp_path: Path) -> None:
    path = exported(tmp_path, suffix=suffix)
    source = f"""
import sys
for name in ("torch", "mujoco", "gymnasium", "envs", "matplotlib", "onnx", "yaml"):
    sys.modules[name] = None  # an import of it raises
import sac_dist.runner.server, sac_dist.runner.__main__
policy = sac_dist.runner.Policy.load({str(path)!r})
print(policy([0.5, -0.5]).tolist())
"""
    said = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=30)
    assert said.stderr == ""
    np.testing.assert_allclose(json.loads(said.stdout), Policy.load(path)([0.5, -0.5]), atol=1e-6)


# Files


@pytest.mark.parametrize("suffix", ["npz", "onnx"])
def test_a_file_cut_off_anywhere_is_refused_in_a_line(suffix: str, tmp_path: Path) -> None:
    path = exported(tmp_path, suffix=suffix)
    data = path.read_bytes()
    for size in [0, 1, 4, *range(100, len(data), 997), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(ConfigError, match=rf"policy.{suffix} is ") as error:
            Policy.load(path)
        assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 400


@pytest.mark.parametrize("suffix", ["npz", "onnx"])
def test_a_file_with_other_numbers_is_refused(suffix: str, tmp_path: Path) -> None:
    path = exported(tmp_path, suffix=suffix)
    data, refused = bytearray(path.read_bytes()), 0
    generator = np.random.default_rng(0)
    for place in generator.integers(0, len(data), 60):
        changed = data.copy()
        changed[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(changed)
        try:
            policy = Policy.load(path)
        except ConfigError:
            refused += 1
        else:  # in a bit that counts for little, or in what people read
            assert np.isfinite(policy([1.0, 1.0])).all()
    assert refused > 10


@pytest.mark.parametrize("suffix", ["npz", "onnx", "safetensors", "pt2"])
def test_a_foreign_file_is_refused_in_a_line(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"p.{suffix}"
    for data in (b"", b"hello", bytes(range(256)) * 40):
        path.write_bytes(data)
        with pytest.raises(ConfigError) as error:
            Policy.load(path)
        assert str(path) in str(error.value) and len(str(error.value).splitlines()) == 1


def test_an_npz_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    np.savez(path, observations=np.zeros(3))
    with pytest.raises(ConfigError, match="is not a policy that sac_dist exported"):
        Policy.load(path)
    np.savez(path, policy=np.array(["text"], dtype=object))
    with pytest.raises(ConfigError, match="is no array of numbers"):
        Policy.load(path)
    np.savez_compressed(path, policy=np.zeros(10**6))
    with pytest.raises(ConfigError, match="it is compressed"):
        Policy.load(path)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Policy.load(tmp_path / "nothing.npz")


def changed(path: Path, change) -> Path:
    """The file with another description."""
    arrays = dict(np.load(path))
    parts = json.loads(bytes(arrays["policy"]))
    change(parts)
    arrays["policy"] = np.frombuffer(json.dumps(parts).encode(), np.uint8)
    np.savez(path, **arrays)
    return path


def drop(name: str):
    return lambda parts: parts.pop(name)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda parts: parts.update(version=2),
            r"has version 2, and this sac_dist reads 1: use the sac_dist",
        ),
        (lambda parts: parts.update(format="x"), "is not a policy that sac_dist exported"),
        (
            lambda parts: parts["probes"][0].__setitem__(0, 0.99),
            "acts otherwise here than where it was written",
        ),
        (lambda parts: parts["observation"][0].update(shape=[3]), "is damaged"),
        (lambda parts: parts["observation"][0].update(dtype="O"), "is damaged"),
        (lambda parts: parts["action"].update(low=[None, -1]), "is damaged"),
        (lambda parts: parts["action"].update(held=[9]), "is damaged"),
        (lambda parts: parts["action"].update(shape=[10**12]), "is damaged"),
        (lambda parts: parts["action"].update(dtype="S0"), "is damaged"),
        (lambda parts: parts["observation"][0].update(choices=[[0, 10**9]] * 2), "is damaged"),
        (lambda parts: parts["observation"][0].update(choices=[[10**30, 2]] * 2), "is damaged"),
        (lambda parts: parts["program"][0].__setitem__(0, "eval"), "is damaged"),
        (lambda parts: parts["program"][0].__setitem__(1, [0, 99]), "is damaged"),
        *[
            (drop(name), "is damaged")
            for name in ("observation", "action", "program", "probes", "environment")
        ],
    ],
)
def test_a_damaged_description_is_a_line(change, line: str, tmp_path: Path) -> None:
    path = changed(exported(tmp_path), change)
    with pytest.raises(ConfigError, match=line) as error:
        Policy.load(path)
    assert str(error.value).startswith(str(path)) and len(str(error.value).splitlines()) == 1


def test_one_bit_of_an_onnx_file_is_seen(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = exported(tmp_path, suffix="onnx")
    data = bytearray(path.read_bytes())
    place = data.index(b'"training"') + 1
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="is damaged: its checksum is another"):
        Policy.load(path)


def test_nothing_in_a_file_is_code(tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        Program.from_json([["__import__", [0], []]], [])
    with pytest.raises(ValueError, match="of 1 values"):
        Program.from_json([Step("add", (0,))], [])
    with zipfile.ZipFile(exported(tmp_path)) as archive:
        assert all(name.endswith(".npy") for name in archive.namelist())


# Observations


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return runner(tmp_path_factory.mktemp("odd"), "toy_spaces:Odd-v0")


@pytest.fixture(scope="module")
def point(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return runner(tmp_path_factory.mktemp("point"))


def test_an_array_does_where_there_is_one_field(point: Policy) -> None:
    expected = point({"state": np.array([1.0, 2.0], np.float32)})
    assert (point([1, 2]) == expected).all() and (point(np.array([1.0, 2.0])) == expected).all()


@pytest.mark.parametrize(
    ("observation", "line"),
    [
        ([1.0, np.nan], r"state\[1\] is nan, no finite number"),
        ([np.inf, 1.0], r"state\[0\] is inf, no finite number"),
        ([1.0, 57.3], r"state\[1\] is 57.3, beyond its range -10 … 10"),
        ([1.0, 2.0, 3.0], r"state has the shape \(3,\), and \(2,\) is needed"),
        ([[1.0, 2.0]], r"state has the shape \(1, 2\)"),
        ([[1.0], [2.0, 3.0]], "state is no array of numbers"),
        (["a", "b"], "state is of <U1"),
        ([1j, 0], "state is of complex128"),
        (None, r"state has the shape \(\)"),
        ({}, "the observation has nothing, and the policy takes state"),
        (
            {"State": [1.0, 2.0]},
            r"the observation has State, and the policy takes state \(state is missing\)",
        ),
        ({"state": [1.0, 2.0], "x": 1}, "the observation has state, x, and the policy takes state"),
    ],
)
def test_nonsense_is_refused_in_a_line(observation, line: str, point: Policy) -> None:
    with pytest.raises(ObservationError, match=line):
        point(observation)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("gear", 2, "gear is 2, beyond its range -1 … 1"),
        ("gear", 0.5, "gear holds numbers that int64 does not"),
        ("both", [1, 3], r"both\[1\] is 3, beyond its range 0 … 2"),
        ("flags", [0, 1, 2], r"flags\[2\] is 2, beyond"),
        ("level", [5.0], r"level has the shape \(1,\)"),
        ("zoo", np.full((2, 2), 1.1), r"zoo\[0, 0\] is 1.1, beyond its range -1 … 1"),
        ("inner", {"y": [0, 256], "x": [1.0]}, "inner/y holds numbers that uint8 does not"),
        ("inner", {"y": [0, 255]}, "inner/x is missing"),
        ("inner", {"y": [0, 255], "x": [-0.1]}, r"inner/x\[0\] is -0.1, beyond its range 0 … inf"),
        ("pair", (1,), "pair/1 is missing"),
        ("sonar/left", [1e16, 0.0], r"sonar/left\[0\] is 1e\+16, beyond its range"),
    ],
)
def test_each_field_is_held_against_its_own_range(name: str, value, line: str, odd: Policy) -> None:
    observation = odd.card.random(np.random.default_rng(0))
    assert np.isfinite(odd(observation)).all()
    with pytest.raises(ObservationError, match=line):
        odd({**observation, name: value})


def test_the_range_has_a_little_room_and_can_be_left_out(tmp_path: Path, point: Policy) -> None:
    assert point([10.05, 0.0]).shape == (2,), "rounding"
    free = Policy.load(exported(tmp_path), check_range=False)
    assert np.isfinite(free([1e6, 0.0])).all()
    for wrong in (np.nan, 1e16):
        with pytest.raises(ObservationError):
            free([wrong, 0.0])


@pytest.mark.parametrize("noise", [[1.0], [np.nan, 0.0], "x", [10**400, 0], [1j, 0]])
def test_noise_is_one_finite_number_for_each_of_the_action(noise, point: Policy) -> None:
    with pytest.raises(ObservationError, match="noise has to be 2 finite numbers"):
        point([0.0, 0.0], noise)


# The loop


class Arm:
    """Remembers what it is sent, and when."""

    def __init__(self) -> None:
        self.sent: list[list[float]] = []
        self.times: list[float] = []
        self.stopped = threading.Event()

    def send(self, action: np.ndarray) -> None:
        self.sent.append(action.tolist())
        self.times.append(time.monotonic())
        if action.tolist() == [0.25, 0.25]:
            self.stopped.set()


STOP = [0.25, 0.25]


def test_it_acts_at_its_rate_and_stops_the_robot_at_the_end(point: Policy) -> None:
    arm = Arm()
    assert Loop(point, lambda: [1.0, 1.0], arm.send, period=0.01, stop=STOP, patience=1.0).run(20) == 20
    assert arm.sent[:20] == [point([1.0, 1.0]).tolist()] * 20 and arm.sent[20:] == [STOP]
    assert 0.18 <= arm.times[19] - arm.times[0] < 0.5


@pytest.mark.parametrize(
    ("third", "line"),
    [
        (lambda: [np.nan, 0.0], r"^state\[0\] is nan, no finite number$"),
        (lambda: [0.0], "has the shape"),
        (lambda: 1 / 0, "^ZeroDivisionError: division by zero$"),
        (lambda: time.sleep(0.3) or [0.0, 0.0], r"^no new command within 0.1 s: the observation is late$"),
    ],
    ids=["nan", "shape", "raises", "late"],
)
def test_whatever_goes_wrong_the_robot_is_stopped_and_nothing_follows(
    third, line: str, point: Policy
) -> None:
    arm, seen = Arm(), []

    def observe():
        seen.append(1)
        return third() if len(seen) == 3 else [1.0, 1.0]

    with pytest.raises(Stopped, match=line):
        Loop(point, observe, arm.send, period=0.01, stop=STOP, patience=0.1).run(10)
    assert len(arm.sent) == 3 and arm.sent[2] == STOP
    assert arm.times[2] - arm.times[1] < 0.25


def test_a_robot_whose_observations_cease_is_stopped(point: Policy, caplog: pytest.LogCaptureFixture) -> None:
    arm, seen, over = Arm(), [], threading.Event()

    def observe():
        seen.append(1)
        if len(seen) == 3:
            over.wait(30)  # for ever
        return [1.0, 1.0]

    loop = Loop(point, observe, arm.send, period=0.01, stop=STOP, patience=0.05)
    failed: list[Exception] = []

    def run() -> None:
        try:
            loop.run()
        except Stopped as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    with caplog.at_level(logging.ERROR):
        thread.start()
        assert arm.stopped.wait(5), "although the loop itself still waits"
        assert thread.is_alive() and arm.times[-1] - arm.times[-2] < 0.5
    over.set()
    thread.join(5)
    assert "no new command within 0.05 s" in caplog.text and len(failed) == 1 and arm.sent[2:] == [STOP]


def test_a_stop_that_cannot_be_sent_is_told(point: Policy) -> None:
    def send(action: np.ndarray) -> None:
        raise OSError("the bus is gone")

    line = "^OSError: the bus is gone; the stop action could not be sent: OSError: the bus is gone$"
    with pytest.raises(Stopped, match=line):
        Loop(point, lambda: [0.0, 0.0], send, period=0.01, stop=STOP).run(3)


def test_ctrl_c_stops_the_robot(point: Policy) -> None:
    arm = Arm()

    def observe():
        if arm.sent:
            raise KeyboardInterrupt
        return [1.0, 1.0]

    with pytest.raises(KeyboardInterrupt):
        Loop(point, observe, arm.send, period=0.01, stop=STOP).run()
    assert arm.sent[1:] == [STOP]


def test_a_second_ctrl_c_does_not_lose_the_stop(point: Policy) -> None:
    arm, tried = Arm(), []

    def send(action: np.ndarray) -> None:
        if action.tolist() == STOP and not tried:
            tried.append(1)
            raise KeyboardInterrupt
        arm.send(action)

    with pytest.raises(KeyboardInterrupt):
        Loop(point, lambda: [1.0, 1.0], send, period=0.01, stop=STOP).run(2)
    assert arm.sent[2:] == [STOP]


def test_sigterm_stops_the_robot(point: Policy) -> None:
    arm = Arm()

    def observe():
        if len(arm.sent) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return [1.0, 1.0]

    with pytest.raises(SystemExit) as ended:
        Loop(point, observe, arm.send, period=0.01, stop=STOP, patience=1.0).run(10)
    assert ended.value.code == 128 + signal.SIGTERM and arm.sent[2:] == [STOP]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_another_thread_may_stop_it(point: Policy) -> None:
    arm = Arm()
    loop = Loop(point, lambda: [1.0, 1.0], arm.send, period=0.01, stop=STOP, patience=1.0)
    threading.Timer(0.05, loop.stop).start()
    assert 0 < loop.run() < 50 and arm.sent[-1] == STOP and arm.sent.count(STOP) == 1


def test_a_gripper_keeps_what_it_was_sent(tmp_path: Path) -> None:
    path = changed(exported(tmp_path), lambda parts: parts["action"].update(stop=[0.0, 1.0], held=[1]))
    policy, arm = Policy.load(path), Arm()
    Loop(policy, lambda: [1.0, 1.0], arm.send, period=0.01, patience=1.0).run(2)
    assert arm.sent[-1] == [0.0, arm.sent[0][1]] and arm.sent[0][1] not in (0.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"stop": STOP}, "the policy's file has no control period: give period=…"),
        ({"period": 0.1}, "does not know what makes this robot stand still: give stop=…"),
        ({"period": 0.1, "stop": [2.0, 0.0]}, "stop is no action of the robot"),
        ({"period": 0.1, "stop": [0.0]}, "stop is no action of the robot"),
        ({"period": 0.1, "stop": STOP, "patience": 0.05}, "patience is 0.05 s: it has to lie between"),
        ({"period": 0.1, "stop": STOP, "patience": np.inf}, "patience is inf s"),
        ({"period": np.inf, "stop": STOP}, "the period is inf s"),
        ({"period": 0.1, "stop": "x"}, "stop is 'x'"),
        ({"period": 0.1, "stop": STOP, "limits": Limits(acceleration=[2, np.inf])}, "the limit acceleration"),
        ({"period": 0.1, "stop": STOP, "limits": Limits(acceleration=1e-320)}, "the limit acceleration"),
        ({"period": 0.1, "stop": STOP, "limits": Limits(low=np.zeros((3, 2)) - 1)}, "the limit low"),
        ({"period": 0.1, "stop": STOP, "limits": Limits(high="x")}, "the limit high"),
        ({"period": 0.1, "stop": STOP, "limits": Limits(speed=0)}, "the limit speed is 0"),
        ({"period": 0.1, "stop": STOP, "limits": Limits(low=0.5, high=0.4)}, "low is above high"),
    ],
)
def test_a_loop_without_a_way_to_stop_does_not_begin(arguments: dict, line: str, point: Policy) -> None:
    with pytest.raises(ConfigError, match=line):
        Loop(point, lambda: [0.0, 0.0], lambda action: None, **arguments)


def test_a_command_keeps_its_limits_at_every_step_and_arrives() -> None:
    """Against the definition: differences of the commands, whatever the policy asks for."""
    generator, period = np.random.default_rng(0), 0.05
    limits = Limits(low=-0.8, high=[0.9, 0.5, 0.7], speed=2.0, acceleration=[10.0, 3.0, 40.0])
    limiter = Limiter(limits, np.full(3, -1.0), np.full(3, 1.0), np.zeros(3), period)
    targets = np.repeat(generator.uniform(-1, 1, (60, 3)), generator.integers(1, 40, 60), axis=0)
    sent = np.array([np.zeros(3), np.zeros(3), *(limiter(target) for target in targets)])
    speed = np.diff(sent, axis=0) / period
    assert np.abs(speed).max() <= 2.0 + 1e-9 and np.abs(speed).max() > 1.9
    assert (np.abs(np.diff(speed, axis=0)) / period <= np.array([10.0, 3.0, 40.0]) + 1e-6).all()
    assert (sent >= -0.8 - 1e-12).all() and (sent <= np.array([0.9, 0.5, 0.7]) + 1e-12).all()
    for _ in range(200):
        last = limiter(np.array([1.0, -0.3, 0.2]))
    np.testing.assert_allclose(last, [0.9, -0.3, 0.2], atol=1e-12)


def test_commands_begin_from_where_the_robot_stands(point: Policy) -> None:
    arm = Arm()
    limits = Limits(speed=1.0)
    loop = Loop(point, lambda: [1.0, 1.0], arm.send, period=0.01, stop=STOP, limits=limits, patience=1.0)
    loop.run(2)
    assert np.abs(np.array(arm.sent[0]) - STOP).max() == pytest.approx(0.01, abs=1e-6)
    loop.run(2)
    assert arm.sent[3] == arm.sent[0], "it begins again from the stop"


# The command line


def test_it_plays_a_policy_in_its_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(exported(tmp_path))
    assert main([path, "--episodes", "3"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("toy_envs:Point-v0") and said[-1].startswith("success ") and len(said) == 5
    assert main([path, "--episodes", "3", "--sample", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] != said[1:]
    assert main([path, "--episodes", "2", "--env", "toy_envs:Endless-v0"]) == 0
    assert "success" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--episodes", "0"], "--episodes is 0"),
        (["--sample", "-1"], "--sample is -1"),
        (["--env", "toy_goals:Goal-v0"], "the policy takes state"),
        (["--env", "Nowhere-v0"], "there is no environment Nowhere-v0"),
        (["--env-kwargs", "3"], "invalid json_object value"),
        (["--wrong"], "unrecognized arguments"),
    ],
)
def test_a_mistake_is_a_line(arguments: list[str], line: str, tmp_path: Path, capsys) -> None:
    assert main([str(exported(tmp_path)), *arguments]) == 2
    said = capsys.readouterr().err
    assert line in said and len(said.splitlines()) == 1
