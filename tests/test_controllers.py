"""The four ways to control an arm, with two robots: where it goes, and what it never does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from robot_files import write_arm
from test_envs_logic import AT_REST, ScriptedBackend

import envs  # noqa: F401  (registers the tasks)
from envs.controllers import CONTROLLERS
from envs.controllers.kinematics import stop_at_limits
from envs.controllers.tool import BEYOND, HIGHEST
from envs.robots.arm import LIMIT_MARGIN, YAW_RATE
from envs.robots.sawyer import JOINT_LIMITS, SAWYER, START_POSE
from envs.tasks import terms

STEP = 0.05  # s
SOFT = 2e-3  # rad; a joint that comes at full speed passes the margin before its limit, and meets the limit
JOINTS, TOOL = ("joint_velocity", "joint_position"), ("end_position", "end_pose")
every_control = pytest.mark.parametrize("control", tuple(CONTROLLERS))


@pytest.fixture(scope="module", params=["sawyer", "velocity-6", "position-7"])
def robot(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "sawyer":
        return "sawyer"
    actuators, joints = request.param.split("-")
    return write_arm(tmp_path_factory.mktemp("robot"), joints=int(joints), actuators=actuators)


def reach(robot: str, control: str) -> Any:
    """The arm over an empty table."""
    options = {"backend": "mujoco", "horizon": 1000, "goal_conditioned": True, "random_target": False}
    env = gymnasium.make("Reach-v0", robot=robot, control=control, **options).unwrapped
    env.reset(seed=0)
    return env


def finger_yaw(readings: Any) -> float:
    """rad of the fingers' line from the base's y axis."""
    across = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    return terms.yaw_error(replace(readings, object_sides=2, object_rotation=across))


def moved(env: Any, action: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What joints (rad), tool (m) and tool frame (rad about the base's axes) did, once they move."""
    for _ in range(3):
        env.step(action)
    before = env.readings
    for _ in range(steps):
        env.step(action)
    after = env.readings
    turn = after.tool_rotation @ before.tool_rotation.T
    spin = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2
    return (
        after.joint_positions - before.joint_positions,
        after.tool_position - before.tool_position,
        spin,
    )


@pytest.mark.parametrize("control", JOINTS)
def test_each_joint_goes_where_its_action_says(robot: str, control: str) -> None:
    env = reach(robot, control)
    for joint in range(env.arm.joints):
        env.reset(seed=0)
        action = -0.5 * np.eye(env.arm.joints)[joint]
        joints, _, _ = moved(env, action, 5)
        expected = action * env.arm.max_velocity * 5 * STEP
        np.testing.assert_allclose(joints, expected, atol=0.015)


@pytest.mark.parametrize("control", TOOL)
def test_the_tool_goes_along_the_axis_that_its_action_says(robot: str, control: str) -> None:
    env = reach(robot, control)
    size = env.action_space.shape[0]
    for axis in range(3):
        for sign in (1.0, -1.0):
            env.reset(seed=0)
            _, tool, spin = moved(env, 0.4 * sign * np.eye(size)[axis], 5)
            expected = 0.4 * sign * env.arm.tool_speed * 5 * STEP * np.eye(3)[axis]
            np.testing.assert_allclose(tool, expected, atol=0.2 * np.abs(expected).max())
            assert np.abs(spin).max() < 0.06


@pytest.mark.parametrize(("control", "axes"), [("end_position", (2,)), ("end_pose", (0, 1, 2))])
def test_the_tool_turns_about_the_axis_that_its_action_says(
    robot: str, control: str, axes: tuple[int, ...]
) -> None:
    env = reach(robot, control)
    size = env.action_space.shape[0]
    for axis in axes:
        for sign in (1.0, -1.0):
            env.reset(seed=0)
            action = 0.5 * sign * np.eye(size)[-1 if control == "end_position" else 3 + axis]
            _, tool, spin = moved(env, action, 5)
            expected = 0.5 * sign * YAW_RATE * 5 * STEP * np.eye(3)[axis]
            np.testing.assert_allclose(spin, expected, atol=0.04)
            assert np.abs(tool).max() < 0.01 * env.size


@every_control
def test_limits_and_speeds_are_kept_whatever_is_asked(robot: str, control: str) -> None:
    env = reach(robot, control)
    env.backend.model.geom("table").contype[0] = 0  # what a collision does is not the controller's
    rng = np.random.default_rng(0)
    low, high = env.arm.joint_limits.T
    for seed in range(3):
        env.reset(seed=seed)
        for step in range(200):
            if step % 50 == 0:  # long enough to come to the limits
                action = rng.choice((-1.0, 1.0), env.action_space.shape)
            env.step(action)
            assert (np.abs(env._velocities) <= env.arm.max_velocity + 1e-9).all()
            now = env.readings.joint_positions
            assert (now > low - SOFT).all() and (now < high + SOFT).all(), (step, low - now, now - high)
            assert (np.abs(env.readings.joint_velocities) < 1.5 * env.arm.max_velocity).all()


def test_joints_stop_before_their_limits_and_leave_them() -> None:
    at = JOINT_LIMITS[:, 1] - LIMIT_MARGIN - 0.01
    speeds = stop_at_limits(np.ones(7), at, SAWYER)
    np.testing.assert_allclose(speeds, 0.01 / STEP)
    np.testing.assert_array_equal(stop_at_limits(-np.ones(7), at, SAWYER), -1.0)
    beyond = JOINT_LIMITS[:, 1] + 0.1
    np.testing.assert_array_equal(stop_at_limits(np.ones(7), beyond, SAWYER), 0.0)
    np.testing.assert_array_equal(stop_at_limits(-np.ones(7), beyond, SAWYER), -1.0)


@pytest.mark.parametrize("control", TOOL)
def test_the_tool_stays_in_its_workspace(robot: str, control: str) -> None:
    env = reach(robot, control)
    size, region = env.size, env.backend.workplace.target_region
    top = env.readings.table_height
    low = np.append(region[:, 0] - BEYOND * size, top) - 0.02
    high = np.append(region[:, 1] + BEYOND * size, top + HIGHEST * size) + 0.02
    for axis in range(3):
        for sign in (1.0, -1.0):
            env.reset(seed=0)
            for _ in range(60):
                env.step(sign * np.eye(env.action_space.shape[0])[axis])
                assert (env.readings.tool_position > low).all()
                assert (env.readings.tool_position < high).all()


@pytest.mark.parametrize("control", TOOL)
def test_the_edge_of_the_workspace_is_where_it_is_said_to_be(control: str) -> None:
    controller = CONTROLLERS[control](SAWYER, START_POSE)

    class Backend(ScriptedBackend):
        def jacobian(self) -> np.ndarray:
            return np.hstack([np.eye(6), np.zeros((6, 1))])  # the first three joints move the tool

    def speed(tool: list[float], action: list[float]) -> np.ndarray:
        at = replace(AT_REST, tool_position=np.array(tool))
        asked = np.array([*action, 0.0, 0.0, 0.0])[: controller.actions]
        return controller.wanted(asked, at, Backend(AT_REST))[:3]

    inside = speed([0.6, 0.0, 0.1], [1, 1, -1])
    assert inside[0] > 0.3 and inside[1] > 0.3 and inside[2] < -0.3
    at_the_end = speed([0.77 + BEYOND, 0.3 + BEYOND, -0.12], [1, 1, -1])
    np.testing.assert_allclose(at_the_end, 0.0, atol=1e-6)
    back = speed([0.77 + BEYOND + 0.1, 0.3 + BEYOND + 0.1, -0.2], [-1, -1, 1])
    assert back[0] < -0.3 and back[1] < -0.3 and back[2] > 0.3


def test_positions_do_not_drift_under_zero_actions(robot: str) -> None:
    env = reach(robot, "joint_position")
    before = env.readings.joint_positions.copy()
    for _ in range(150):
        env.step(np.zeros(env.action_space.shape))
    assert np.abs(env.readings.joint_positions - before).max() < 2e-3


def test_a_positions_target_does_not_run_away_from_a_joint_that_is_held_up() -> None:
    controller = CONTROLLERS["joint_position"](SAWYER, START_POSE)
    controller.begin(AT_REST)
    for _ in range(50):  # the arm never moves
        controller.velocities(np.ones(7), AT_REST, ScriptedBackend(AT_REST))
    np.testing.assert_allclose(controller.target, START_POSE + 2 * STEP)
    np.testing.assert_allclose(controller.velocities(-np.ones(7), AT_REST, ScriptedBackend(AT_REST)), 1.0)
    for _ in range(2):
        back = controller.velocities(-np.ones(7), AT_REST, ScriptedBackend(AT_REST))
    np.testing.assert_allclose(back, -1.0, atol=1e-9)


@every_control
def test_towards_steers_the_tool_to_a_point_and_a_yaw(robot: str, control: str) -> None:
    env = reach(robot, control)
    start = env.readings
    goal = start.tool_position + env.size * np.array([0.06, -0.08, -0.05])
    for _ in range(60):
        now = env.readings
        turned = finger_yaw(now) - 0.3
        linear = np.clip(4.0 * (goal - now.tool_position), -env.arm.tool_speed, env.arm.tool_speed)
        action = env.controller.towards(linear, np.array([0.0, 0.0, -4.0 * turned]), now, env.backend)
        assert action.shape == env.action_space.shape
        env.step(action)
    assert np.abs(env.readings.tool_position - goal).max() < 0.006 * env.size
    assert terms.tilt(env.readings) < 0.03
    assert finger_yaw(env.readings) == pytest.approx(0.3, abs=0.04)


@every_control
def test_what_a_controller_remembers_makes_another_one_its_equal(control: str) -> None:
    env = reach("sawyer", control)
    rng = np.random.default_rng(0)
    for _ in range(5):
        env.step(rng.uniform(-1, 1, env.action_space.shape))
    other = CONTROLLERS[control](env.arm, START_POSE)
    other.begin(AT_REST)
    other.remember(env.controller.memory())
    action = rng.uniform(-1, 1, env.action_space.shape)
    expected = env.controller.velocities(action, env.readings, env.backend)
    np.testing.assert_array_equal(other.velocities(action, env.readings, env.backend), expected)
    assert (control == "joint_position") == bool(env.controller.memory())
