"""The book's scene and its way of driving CoppeliaSim; with --book-scene FILE.ttt, its scene for joint
velocities.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from backends import in_a_process, maker

from envs import BackendError
from envs.robots.sawyer import JOINT_LIMITS

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> str:
    maker("coppelia", request.config)
    scene = request.config.getoption("--book-scene")
    if scene is None:
        pytest.skip("no --book-scene was given")
    return str(Path(scene).resolve())


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


def test_the_books_mechanics_are_the_books_and_bend_the_gripper_and_ours_do_not(scene: str, tmp_path: Path):
    files = {way: f"{tmp_path}/{way}.npy" for way in ("book", "clean")}
    measured = {way: in_a_process(MECHANICS, scene, way, file)[0] for way, file in files.items()}
    start, slip = map(float, measured["book"].split())
    assert start < 0.15 and slip > 0.002, "the last command drives the arm on through a reset, as in the book"
    assert float(measured["clean"].split()[1]) < 1e-4
    in_a_process(AS_THE_BOOK, scene, f"{tmp_path}/own.npy")
    ours, own = np.load(files["book"]), np.load(tmp_path / "own.npy")
    assert own[:, 4].max() > JOINT_LIMITS[4, 1], "a joint is driven into its limit"
    np.testing.assert_allclose(ours, own, atol=1e-6)


def test_the_books_mechanics_are_for_its_task_and_simulator():
    from envs.tasks.grasp import GraspEnv
    from envs.tasks.lift import LiftEnv

    with pytest.raises(ValueError, match="mechanics is 'book'"):
        LiftEnv(mechanics="book")
    with pytest.raises(BackendError, match="mechanics is for the backend coppelia"):
        GraspEnv(backend="mujoco", mechanics="book")


def test_the_books_scene_as_it_is(scene: str):
    sides, lifted = in_a_process(BOOK, scene)
    sides, x, y, z = map(float, sides.split())
    assert sides == 2 and 0.10 <= x <= 0.45 and -0.30 <= y <= 0.30 and z == 0.775, (
        "where the book's box lies, in the world"
    )
    assert int(lifted) >= 9
