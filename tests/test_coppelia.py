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
from envs.controllers.kinematics import tool_to_joint_velocities
from envs.robots.sawyer import SAWYER, START_POSE, START_POSES, WORKPLACE
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
                SAWYER,
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
