"""CoppeliaSim itself: what is particular to it, and its processes killed and stopped. Skipped without it; see
docs/coppeliasim.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import in_a_process, maker
from test_engine import alive, descendants

from envs import BackendError
from envs.controllers.joint_velocity import tool_to_joint_velocities
from envs.robots.sawyer import JOINT_LIMITS, START_POSE, START_POSES, WORKPLACE
from sac_dist.storage import checkpoint

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(autouse=True)
def coppelia(request: pytest.FixtureRequest) -> Any:
    return maker("coppelia", request.config)


LIFE = """
import numpy as np
from envs import BackendError
from envs.backends.coppelia.backend import CoppeliaBackend
from envs.robots.sawyer import START_POSE, WORKPLACE
from pyrep import PyRep
launches, launch = [], PyRep.launch
PyRep.launch = lambda *given, **named: (launches.append(1), launch(*given, **named))
start = lambda: backend.reset(START_POSE, WORKPLACE.fixed_target, 0.0)
backend = CoppeliaBackend(reinit_every=2)
try:
    CoppeliaBackend()
except BackendError as error:
    print(error)
first = start()
for episode in range(5):
    print(len(launches))
    again = start()
    assert np.array_equal(first.joint_velocities, again.joint_velocities) and np.array_equal(first.object_position, again.object_position)
backend._broken = True
start()
print(len(launches))
backend.close()
backend.close()
backend = CoppeliaBackend()
for _ in range(2):  # with OpenGL a picture, without it the same words each time
    print(start().proximity)
    try:
        assert backend.render("scene", 64, 48).shape == (48, 64, 3)
    except BackendError as error:
        assert "OpenGL" in str(error)
backend.close()
print(open(__file__ if "__file__" in globals() else "/dev/null").encoding)
"""


def test_one_simulator_to_a_process_launched_anew_as_asked_and_when_broken():
    refused, *launches, sees, again, encoding = in_a_process(LIFE)
    assert "already runs in this process" in refused
    assert launches == ["1", "1", "2", "2", "3", "4"], (
        "of six episodes each third launches anew, and then the broken one"
    )
    assert sees == again == "False" and encoding.lower() == "utf-8"


SIGNALS = """
import os, signal
import numpy as np
from envs.backends.coppelia.backend import CoppeliaBackend
from envs.robots.sawyer import START_POSE, WORKPLACE
heard = []
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
def ring():
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    print(len(heard))
backend = CoppeliaBackend()
ring()
for _ in range(3):
    backend.reset(START_POSE, WORKPLACE.fixed_target, 0.0)
    backend.step(np.zeros(7), None)
backend.close()
ring()
"""


def test_signals_are_pythons_again_after_a_launch_and_after_the_end():
    assert in_a_process(SIGNALS) == ["1", "2"]


def test_a_ctrl_c_ends_a_showing_without_a_traceback(tmp_path: Path):
    flags = ["--record-demos", "500", "--env", "SawyerGrasp-v0", "--backend", "coppelia", "--out", "d.npz"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sac_dist", *flags],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        said = next(line for line in process.stdout if line.startswith("episode"))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        said += process.communicate(timeout=60)[0]
        assert process.returncode == 130 and "Traceback" not in said, said
    finally:
        process.kill()
        process.wait()


def test_cameras_that_nobody_looks_at_do_not_draw(coppelia: Any):
    from pyrep.backend import sim
    from pyrep.const import ObjectType

    env = coppelia("SawyerGrasp-v0")
    env.reset(seed=0)
    cameras = sim.simGetObjectsInTree(sim.sim_handle_scene, ObjectType.VISION_SENSOR.value, 0)
    assert all(sim.simGetExplicitHandling(camera) for camera in cameras), "drawn at each step"
    assert not any(sim.simGetObjectName(camera) == "Vision_sensor" for camera in cameras), "ours is not made"


def test_a_broken_state_is_named_and_the_next_reset_is_whole(coppelia: Any, monkeypatch: pytest.MonkeyPatch):
    env = coppelia("SawyerGrasp-v0")
    env.reset(seed=0)
    from envs.backends.coppelia import backend as coppelia_backend

    real = coppelia_backend.sim.simGetJointPosition
    monkeypatch.setattr(coppelia_backend.sim, "simGetJointPosition", lambda joint: float("nan"))
    with pytest.raises(BackendError, match="no longer finite"):
        env.step(np.zeros(7))
    monkeypatch.setattr(coppelia_backend.sim, "simGetJointPosition", real)
    assert np.isfinite(env.reset(seed=0)[0]).all()


@pytest.mark.parametrize("start", list(START_POSES))
def test_a_reset_is_clean_whatever_went_before(coppelia: Any, start: str):
    backend = coppelia("SawyerGrasp-v0").backend
    rng = np.random.default_rng(0)
    for episode in range(5):
        readings = backend.reset(START_POSES[start], WORKPLACE.fixed_target, 0.3)
        assert np.abs(readings.joint_positions - START_POSES[start]).max() < 0.002
        assert np.abs(readings.joint_velocities).max() < 0.01 and readings.opening > 0.99
        np.testing.assert_allclose(readings.object_position, [*WORKPLACE.fixed_target, -0.09], atol=1e-4)
        for _ in range(20):
            backend.step(rng.uniform(-1, 1, 7), float(episode % 2))


def test_a_pad_that_stands_on_the_object_does_not_hold_it(coppelia: Any):
    from pyrep.backend import sim

    backend = coppelia("SawyerGrasp-v0").backend
    readings = backend.reset(START_POSE, WORKPLACE.fixed_target, 0.0)
    for _ in range(60):  # the closed gripper goes straight down onto the object
        away = readings.object_position - readings.tool_position
        down = -0.1 if np.hypot(away[0], away[1]) < 0.01 else 0.0
        linear = np.array([*np.clip(4 * away[:2], -0.3, 0.3), down])
        readings = backend.step(
            tool_to_joint_velocities(
                backend.jacobian(),
                readings.joint_positions,
                readings.tool_rotation,
                linear,
                0.0,
                START_POSE,
            ),
            0.0,
        )
    touching = {
        handle
        for contact in sim.simGetContactInfo(backend._object, True)
        for handle in contact["contact_handles"]
    }
    assert {backend._left, backend._right} <= touching
    assert not readings.left_contact and not readings.right_contact


BOOK = """
import sys
import gymnasium, numpy as np
import envs
from envs.tasks.expert import Expert
env = gymnasium.make(
    "SawyerLift-v0", backend="coppelia", scene=sys.argv[1], observation="book", random_yaw=False, horizon=90, reward="sparse"
).unwrapped
lifted = 0
for seed in range(10):
    observation, _ = env.reset(seed=seed)
    if seed == 0:
        print(env.readings.object_sides, *observation[14:].round(3))
    done = False
    while not done:
        _, _, terminated, truncated, info = env.step(Expert(env).act())
        done = terminated or truncated
    lifted += info["success"]
print(lifted)
env.close()
"""


MECHANICS = """
import sys
import gymnasium, numpy as np
import envs
from envs.robots.sawyer import START_POSES
from pyrep.objects.joint import Joint
from pyrep.objects.shape import Shape
env = gymnasium.make(
    "SawyerGrasp-v0", backend="coppelia", scene=sys.argv[1], random_target=False, start="book", observation="book", mechanics=sys.argv[2]
).unwrapped
slip = lambda: Shape("BaxterGripper_leftPad").get_position(Joint("BaxterGripper_leftJoint"))[1]
rng, start, rows = np.random.default_rng(0), 0.0, []
for seed in range(12):
    rows.append(env.reset(seed=seed)[0])
    start = max(start, np.abs(env.readings.joint_positions - START_POSES["book"]).max())
    whole = slip() if seed == 0 else whole
    done = False
    while not done:
        observation, reward, terminated, truncated, _ = env.step(rng.uniform(-1, 1, 7))
        assert np.isfinite(observation).all() and np.isfinite(reward)
        rows.append(observation)
        done = terminated or truncated
env.reset(seed=0)
print(start, abs(slip() - whole))
env.close()
np.save(sys.argv[3], rows)
"""


# What the book's code asks PyRep for, call by call, while nothing is near the sensor.
AS_THE_BOOK = """
import sys
import numpy as np
from envs.robots.sawyer import START_POSES
from pyrep import PyRep
from pyrep.objects.shape import Shape
from pyrep.robots.arms.sawyer import Sawyer
from pyrep.robots.end_effectors.baxter_gripper import BaxterGripper
simulator = PyRep()
simulator.launch(sys.argv[1], headless=True)
simulator.start()
arm, hand, box = Sawyer(), BaxterGripper(), Shape("target")
arm.set_control_loop_enabled(False)
arm.set_motor_locked_at_zero_velocity(True)
home = START_POSES["book"].tolist()
arm.set_joint_positions(home, disable_dynamics=True)
simulator.step()
place = list(box.get_position())
look = lambda: np.array([*arm.get_joint_positions(), *arm.get_joint_velocities(), *box.get_position()], np.float32)
def open_hand():
    if sum(hand.get_open_amount()) < 1.5:
        hand.actuate(1, velocity=0.5)
        simulator.step()
rng, rows = np.random.default_rng(0), []
for episode in range(12):
    box.set_position(place)
    box.set_orientation([0, 0, 0])
    simulator.step()
    arm.set_joint_positions(home, disable_dynamics=True)
    simulator.step()
    open_hand()
    rows.append(look())
    for _ in range(30):
        arm.set_joint_target_velocities(rng.uniform(-1, 1, 7))
        simulator.step()
        open_hand()
        rows.append(look())
simulator.stop()
simulator.shutdown()
np.save(sys.argv[2], rows)
"""


def test_the_books_mechanics_are_the_books_and_bend_the_gripper_and_ours_do_not(
    request: pytest.FixtureRequest, tmp_path: Path
):
    scene = request.config.getoption("--book-scene")
    if scene is None:
        pytest.skip("no --book-scene was given")
    scene, files = str(Path(scene).resolve()), {way: f"{tmp_path}/{way}.npy" for way in ("book", "clean")}
    measured = {way: in_a_process(MECHANICS, scene, way, file)[0] for way, file in files.items()}
    start, slip = map(float, measured["book"].split())
    assert start < 0.15 and slip > 0.002, "the last command drives the arm on through a reset, as in the book"
    assert float(measured["clean"].split()[1]) < 1e-4
    in_a_process(AS_THE_BOOK, scene, f"{tmp_path}/own.npy")
    ours, own = np.load(files["book"]), np.load(tmp_path / "own.npy")
    assert own[:, 4].max() > JOINT_LIMITS[4, 1], "a joint is driven into its limit"
    np.testing.assert_allclose(ours, own, atol=1e-6)


def test_the_books_mechanics_are_for_its_task_and_simulator():
    from envs.tasks.sawyer import SawyerGraspEnv, SawyerLiftEnv

    with pytest.raises(ValueError, match="mechanics is 'book'"):
        SawyerLiftEnv(mechanics="book")
    with pytest.raises(BackendError, match="mechanics is for the backend coppelia"):
        SawyerGraspEnv("mujoco", mechanics="book")


def test_the_books_scene_as_it_is(request: pytest.FixtureRequest):
    scene = request.config.getoption("--book-scene")
    if scene is None:
        pytest.skip("no --book-scene was given")
    sides, lifted = in_a_process(BOOK, str(Path(scene).resolve()))
    sides, x, y, z = map(float, sides.split())
    assert sides == 2 and 0.10 <= x <= 0.45 and -0.30 <= y <= 0.30 and z == 0.775, (
        "where the book's box lies, in the world"
    )
    assert int(lifted) >= 9


def begin(tmp_path: Path, *flags: str) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "sac_dist",
        "--train",
        "--env",
        "SawyerGrasp-v0",
        "--backend",
        "coppelia",
        "--run-dir",
        "run",
    ]
    small = [
        "--workers",
        "2",
        "--steps",
        "100000",
        "--compile",
        "off",
        "--hidden-width",
        "16",
        "--checkpoint-interval",
        "200",
    ]
    with open(tmp_path / "output", "w") as output:
        return subprocess.Popen(
            [*command, *small, *flags], cwd=tmp_path, stdout=output, stderr=output, start_new_session=True
        )


def wait(process: subprocess.Popen, condition: Any, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about")


def loads_simulator(pid: int) -> bool:
    try:
        return "libcoppeliaSim" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def ticks(pid: int) -> int:
    """Processor time of a process, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def workers(process: subprocess.Popen) -> list[int]:
    """The workers that have their simulator, by process id."""
    named = [(Path(f"/proc/{pid}/comm"), pid) for pid in descendants(process.pid)]
    return [
        pid
        for name, pid in named
        if name.exists() and name.read_text().startswith("worker-") and loads_simulator(pid)
    ]


def steps(tmp_path: Path) -> int:
    last = tmp_path / "run/checkpoints/last.safetensors"
    return int(checkpoint.read(last).run["counters"][0]) if last.exists() else 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_killed_or_stopped_is_replaced_and_the_other_goes_on(
    tmp_path: Path, number: signal.Signals
):
    process = begin(tmp_path, "--eval-interval", "0", "--step-timeout", "4")
    try:
        wait(process, lambda: steps(tmp_path) > 0)
        victim, other = wait(process, lambda: len(pids := workers(process)) == 2 and pids)
        assert not loads_simulator(process.pid)
        os.kill(victim, number)
        worked = ticks(other)
        time.sleep(1.0)
        assert ticks(other) - worked > 20, "the other worker pauses"
        wait(process, lambda: not alive(victim) and len(workers(process)) == 2)
        before = steps(tmp_path)
        wait(process, lambda: steps(tmp_path) > before + 200)
        assert alive(other)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.wait(30) == 130
        said = (tmp_path / "output").read_text()
        assert "restarting it" in said and "Traceback" not in said
    finally:
        process.kill()
        process.wait()
