"""The simulated Sawyer: kinematics, control, contacts, grip, pictures."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from envs import BackendError
from envs.controllers.kinematics import tool_to_joint_velocities
from envs.robots.arm import LIMIT_MARGIN
from envs.robots.sawyer import JOINT_LIMITS, SAWYER, START_POSE, WORKPLACE
from envs.tasks import terms
from envs.tasks.expert import Expert


@pytest.fixture
def mujoco() -> Any:
    return lambda id, **options: gymnasium.make(id, backend="mujoco", **options).unwrapped


def test_start_pose_and_jacobian_are_the_real_arms(make: Any) -> None:
    backend = make("SawyerGrasp-v0").backend
    here = backend.reset(START_POSE, WORKPLACE.fixed_target, 0.0)
    np.testing.assert_allclose(here.tool_position, [0.55, 0.0, 0.1], atol=1e-3)
    jacobian = backend.jacobian()
    small, tolerance = (
        (1e-5, 1e-4) if hasattr(backend, "model") else (1e-2, 0.02)
    )  # CoppeliaSim holds the arm for a control step first
    for joint in range(7):
        moved = backend.reset(START_POSE + small * np.eye(7)[joint], WORKPLACE.fixed_target, 0.0)
        np.testing.assert_allclose(
            (moved.tool_position - here.tool_position) / small, jacobian[:3, joint], atol=tolerance
        )
        spin = (moved.tool_rotation - here.tool_rotation) / small @ here.tool_rotation.T
        np.testing.assert_allclose([spin[2, 1], spin[0, 2], spin[1, 0]], jacobian[3:, joint], atol=tolerance)


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_joint_stops_before_its_limit_and_can_leave_it(make: Any, direction: float) -> None:
    env = make("SawyerGrasp-v0", horizon=300)
    env.reset(seed=0)
    action = direction * np.eye(7)[6]
    furthest = 0.0
    for _ in range(180):
        env.step(action)
        furthest = max(furthest, direction * env.readings.joint_positions[6])
    limit = JOINT_LIMITS[6, 1] - LIMIT_MARGIN
    assert limit - 0.01 < furthest < limit + 0.01
    for _ in range(10):
        env.step(-action)
    assert direction * env.readings.joint_positions[6] < limit - 0.3


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_end_position_moves_along_its_axis(make: Any, axis: int, sign: float) -> None:
    env = make("SawyerGrasp-v0", control="end_position")
    env.reset(seed=2)
    for _ in range(5):  # turns the start noise's tilt back
        env.step(np.zeros(4))
    start = env.readings
    for _ in range(8):
        env.step(0.5 * sign * np.eye(4)[axis])
    moved = env.readings.tool_position - start.tool_position
    np.testing.assert_allclose(moved, 0.08 * sign * np.eye(3)[axis], atol=0.008)
    assert terms.tilt(env.readings) < 0.03
    assert abs(terms.yaw_error(env.readings) - terms.yaw_error(start)) < 0.03


def test_end_position_turns_on_the_spot(make: Any) -> None:
    env = make("SawyerGrasp-v0", control="end_position", random_target=False)
    env.reset(seed=2)
    start = env.readings
    for _ in range(10):
        env.step(np.array([0.0, 0.0, 0.0, 1.0]))
    turned = terms.yaw_error(env.readings) - terms.yaw_error(start)
    assert turned == pytest.approx(0.5, abs=0.05)
    assert np.abs(env.readings.tool_position - start.tool_position).max() < 0.01


def test_pressing_on_the_table_is_a_table_contact(make: Any) -> None:
    env = make("SawyerGrasp-v0", control="end_position", random_target=False)
    env.reset(seed=0)
    contacts = []
    for _ in range(20):
        env.step(np.array([0.0, 0.0, -1.0, 0.0]))
        contacts.append(env.readings.table_contact)
    assert not contacts[0] and contacts[-1]


def test_grasped_object_is_carried(make: Any) -> None:
    env = make("SawyerGrasp-v0")
    expert = Expert(env)
    for seed in range(5):
        env.reset(seed=seed)
        while not env.step(expert.act())[2]:
            pass
        start = now = env.readings
        for _ in range(15):
            up = tool_to_joint_velocities(
                env.backend.jacobian(),
                now.joint_positions,
                now.tool_rotation,
                np.array([0, 0, 0.3]),
                0.0,
                START_POSE,
                SAWYER,
            )
            now = env.backend.step(up, None)
        assert now.object_position[2] - start.object_position[2] > 0.15
        slip = (now.object_position - now.tool_position) - (start.object_position - start.tool_position)
        assert (
            abs(slip[2]) < 0.005 and np.abs(slip).max() < 0.02
        )  # along their line CoppeliaSim's two fingers move each by itself


@pytest.mark.parametrize("camera", ["scene", "closeup"])
def test_picture_shows_the_blue_object(mujoco: Any, camera: str) -> None:
    env = mujoco("SawyerGrasp-v0", random_target=False, render_mode="rgb_array")
    env.reset(seed=0)
    try:
        picture = env.render() if camera == "scene" else env.backend.render(camera, 640, 480)
    except BackendError as error:
        pytest.skip(str(error))
    finally:
        env.close()
        env.close()
    assert picture.shape == (480, 640, 3) and picture.dtype == np.uint8 and picture.std() > 30
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    assert ((blue > 120) & (blue > 2 * red + 40) & (blue > green + 60)).sum() > 100  # the object
    assert ((red > 100) & (red > 3 * green) & (red > 3 * blue)).sum() > 1000  # the arm


def test_window_without_a_display_is_one_clear_error(mujoco: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    env = mujoco("SawyerGrasp-v0", render_mode="human")
    with pytest.raises(BackendError, match="display"):
        env.reset(seed=0)
