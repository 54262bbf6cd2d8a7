"""The tasks' mathematics and logic, on hand-made Readings: no simulator runs here."""

from __future__ import annotations

from dataclasses import replace
from math import pi, tanh
from typing import Any

import gymnasium
import numpy as np
import pytest

import envs
from envs import Readings
from envs.backends.base import Marks
from envs.robots.sawyer import SAWYER, START_POSE, WORKPLACE
from envs.tasks import terms
from envs.tasks.grasp import GraspEnv

DOWN = np.array([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])  # the tool at the start pose
AT_REST = Readings(
    joint_positions=START_POSE,
    joint_velocities=np.zeros(7),
    tool_position=np.array([0.55, 0.0, 0.1]),
    tool_rotation=DOWN,
    object_position=np.array([0.55, 0.0, -0.1]),
    object_rotation=np.eye(3),
    opening=1.0,
    left_contact=False,
    right_contact=False,
    table_contact=False,
    proximity=False,
    table_height=-0.12,
    base_position=np.zeros(3),
    object_sides=4,
)
HELD = replace(
    AT_REST,
    tool_position=AT_REST.object_position,
    left_contact=True,
    right_contact=True,
    proximity=True,
    opening=0.5,
)


class ScriptedBackend:
    """Plays back Readings and records what it was told; the last ones are repeated."""

    arm = SAWYER
    workplace = WORKPLACE

    def __init__(self, *script: Readings, first: Readings = AT_REST) -> None:
        self.script, self.first = list(script), first
        self.commands: list[tuple[np.ndarray, float | None]] = []

    def reset(
        self, joint_positions: np.ndarray, object_xy: np.ndarray, object_yaw: float, *scene: Any
    ) -> Readings:
        return self.first

    def step(self, joint_velocities: np.ndarray, opening: float | None) -> Readings:
        self.commands.append((joint_velocities, opening))
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def jacobian(self) -> np.ndarray:
        return np.zeros((6, 7))

    def render(self, camera: str, width: int, height: int, marks: Marks = ()) -> np.ndarray:
        return np.zeros((height, width, 3), np.uint8)

    def show(self, marks: Marks = ()) -> None: ...

    def close(self) -> None: ...


def scripted(
    id: str, *script: Readings, first: Readings = AT_REST, **options: Any
) -> tuple[Any, ScriptedBackend]:
    backend = ScriptedBackend(*script, first=first)
    env = gymnasium.make(id, backend=lambda: backend, **options).unwrapped
    env.reset(seed=0)
    return env, backend


def yawed(angle: float) -> np.ndarray:
    return np.array(
        [[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]]
    )


@pytest.mark.parametrize(
    ("object_yaw", "expected"),
    [(0.0, 0.0), (0.3, -0.3), (-0.3, 0.3), (pi / 2 + 0.1, -0.1), (pi / 4 + 0.1, pi / 4 - 0.1), (pi, 0.0)],
)
def test_yaw_error_is_to_the_nearest_side(object_yaw: float, expected: float) -> None:
    assert terms.yaw_error(replace(AT_REST, object_rotation=yawed(object_yaw))) == pytest.approx(
        expected, abs=1e-12
    )


@pytest.mark.parametrize(
    ("object_yaw", "expected"),
    [(0.3, pi / 2 - 0.3), (-0.3, -pi / 2 + 0.3), (pi / 2 - 0.1, 0.1), (pi / 2 + 0.1, -0.1)],
)
def test_yaw_error_of_a_long_object_is_to_the_side_that_fits(object_yaw: float, expected: float) -> None:
    readings = replace(AT_REST, object_sides=2, object_rotation=yawed(object_yaw))
    assert terms.yaw_error(readings) == pytest.approx(expected)
    observed = terms.relative_observation(readings, 1.0)[26:28]
    np.testing.assert_allclose(observed, [np.sin(2 * expected), np.cos(2 * expected)], atol=1e-6)


def test_the_books_observation_has_the_object_in_the_world() -> None:
    there = replace(AT_REST, base_position=np.array([-0.3, 0.1, 0.76]))
    np.testing.assert_allclose(terms.book_observation(there)[14:], [0.25, 0.1, 0.66], atol=1e-6)
    np.testing.assert_array_equal(
        terms.relative_observation(there, 1.0), terms.relative_observation(AT_REST, 1.0)
    )


def test_tilt_is_the_angle_from_straight_down() -> None:
    assert terms.tilt(AT_REST) == 0.0
    lean = np.array([[1.0, 0.0, 0.0], [0.0, np.cos(0.4), -np.sin(0.4)], [0.0, np.sin(0.4), np.cos(0.4)]])
    assert terms.tilt(replace(AT_REST, tool_rotation=lean @ DOWN)) == pytest.approx(0.4)


def test_relative_observation_by_hand() -> None:
    moved = replace(AT_REST, object_rotation=yawed(0.1), object_position=np.array([0.6, 0.1, -0.1]))
    readings = replace(moved, left_contact=True, opening=0.25)
    observation = terms.relative_observation(readings, 1.0)
    expected = [*START_POSE, *np.zeros(7), 0.6, 0.1, -0.1, 0.55, 0.0, 0.1, 0.25, 0.5, -1.0, 0, 0, -1]
    expected += [np.sin(-0.4), np.cos(-0.4), 0.25, 1, 0]
    np.testing.assert_allclose(observation, expected, atol=1e-6)
    np.testing.assert_array_equal(terms.book_observation(readings), observation[:17])


def test_held_takes_both_pads_and_the_ray() -> None:
    assert terms.is_held(HELD)
    for missing in ("left_contact", "right_contact", "proximity"):
        assert not terms.is_held(replace(HELD, **{missing: False}))


def rewards(id: str, **remembered: float) -> Any:
    """``reward(readings, mode, success)`` of a task."""
    env, _ = scripted(id, AT_REST)

    def reward(readings: Readings, mode: str, success: bool) -> float:
        env.reward_mode = mode
        vars(env).update(remembered)
        return env.reward(readings, success)

    return reward


def test_grasp_reward_by_hand() -> None:
    reward = rewards("SawyerGrasp-v0")
    off = replace(AT_REST, object_rotation=yawed(0.3))
    assert reward(off, "augmented", False) == pytest.approx(-0.2 - 0.02 * 0.3)
    assert reward(replace(off, table_contact=True), "augmented", False) == pytest.approx(-1.206)
    assert reward(off, "augmented", True) == pytest.approx(10 - 0.206)
    assert reward(off, "dense", False) == pytest.approx(-0.2)
    assert reward(off, "sparse", False) == 0.0
    fallen = replace(AT_REST, object_position=np.array([0.55, 0.0, -0.2]))
    assert reward(fallen, "sparse", False) == -10.0
    assert reward(fallen, "dense", False) == pytest.approx(-10.3)


def test_lift_reward_by_hand() -> None:
    reward = rewards("SawyerLift-v0", rest_height=-0.1)
    assert reward(AT_REST, "augmented", False) == pytest.approx(-0.4 * tanh(0.8) - 0.25 - 0.35)
    assert reward(HELD, "augmented", False) == pytest.approx(-0.35)
    half_up = replace(
        HELD, object_position=np.array([0.55, 0.0, -0.06]), tool_position=np.array([0.55, 0.0, -0.06])
    )
    assert reward(half_up, "augmented", False) == pytest.approx(-0.175)
    touching = replace(half_up, table_contact=True, object_rotation=yawed(0.2))
    assert reward(touching, "augmented", False) == pytest.approx(-0.175 - 0.05 - 0.004)
    assert reward(touching, "dense", True) == pytest.approx(10 - 0.175)
    thrown = replace(half_up, left_contact=False)  # height counts only while it is held
    assert reward(thrown, "dense", False) == pytest.approx(-0.6)


def test_grasp_closes_by_itself_and_ends() -> None:
    seen = replace(AT_REST, object_position=np.array([0.55, 0.0, 0.08]), proximity=True)
    env, backend = scripted("SawyerGrasp-v0", seen, HELD)
    _, reward, terminated, truncated, info = env.step(np.ones(7))
    assert (terminated, truncated, info["success"]) == (True, False, True) and reward == pytest.approx(10.0)
    assert [opening for _, opening in backend.commands] == [None] + [0.0] * 5
    assert backend.commands[0][0].any() and not any(velocity.any() for velocity, _ in backend.commands[1:])


def test_grasp_that_missed_opens_again() -> None:
    seen = replace(AT_REST, proximity=True)
    one_pad = replace(seen, left_contact=True)
    env, backend = scripted("SawyerGrasp-v0", seen, one_pad)
    _, _, terminated, _, info = env.step(np.zeros(7))
    assert not terminated and info["success"] is False
    assert [opening for _, opening in backend.commands] == [None] + [0.0] * 5 + [1.0] * 3


def test_grasp_does_not_close_without_the_ray_or_from_afar() -> None:
    for readings in (AT_REST, replace(AT_REST, proximity=True, tool_position=np.array([0.55, 0.0, 0.217]))):
        env, backend = scripted("SawyerGrasp-v0", readings)
        env.step(np.zeros(7))
        assert len(backend.commands) == 1


def test_lift_needs_three_steps_in_a_row() -> None:
    up = replace(HELD, object_position=np.array([0.55, 0.0, -0.02]))
    env, _ = scripted("SawyerLift-v0", up, up, HELD, up, up, up)
    outcomes = [env.step(np.zeros(8))[2] for _ in range(6)]
    assert outcomes == [False, False, False, False, False, True]


def test_lift_gripper_action_commands_the_opening() -> None:
    env, backend = scripted("SawyerLift-v0", AT_REST)
    for last in (-1.0, 0.0, 1.0):
        env.step(np.array([0.0] * 7 + [last]))
    assert [opening for _, opening in backend.commands] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("id", envs.SAWYER_IDS)
def test_fallen_object_terminates(id: str) -> None:
    env, _ = scripted(id, replace(AT_REST, object_position=np.array([0.2, 0.0, -0.3])), reward="sparse")
    _, reward, terminated, truncated, info = env.step(np.zeros(env.action_space.shape))
    assert (reward, terminated, truncated, info["success"]) == (-10.0, True, False, False)


@pytest.mark.parametrize(
    ("id", "options", "steps"),
    [("SawyerGrasp-v0", {}, 30), ("SawyerLift-v0", {}, 60), ("SawyerLift-v0", {"horizon": 4}, 4)],
)
def test_truncation_at_the_horizon(id: str, options: dict[str, Any], steps: int) -> None:
    env, _ = scripted(id, AT_REST, **options)
    ends = [env.step(np.zeros(env.action_space.shape))[2:4] for _ in range(steps)]
    assert ends == [(False, False)] * (steps - 1) + [(False, True)]
    env.reset()
    assert env.step(np.zeros(env.action_space.shape))[3] is (steps == 1)


@pytest.mark.parametrize("action", [np.full(7, np.nan), np.zeros(6)])
def test_bad_action_raises(action: np.ndarray) -> None:
    env, backend = scripted("SawyerGrasp-v0", AT_REST)
    with pytest.raises(ValueError, match="action"):
        env.step(action)
    assert not backend.commands


def test_step_before_reset_raises() -> None:
    with pytest.raises(gymnasium.error.ResetNeeded):
        GraspEnv(backend=lambda: ScriptedBackend(AT_REST)).step(np.zeros(7))
