"""Every task: gymnasium's contract, exact states, seeds, scripts, another robot."""

from __future__ import annotations

from math import tanh
from typing import Any

import numpy as np
import pytest
from robot_files import write_arm
from tasks import GENERAL, IDS, RANGES, actions, check, equal, make, success_rate

from envs.robots.library import find_robot
from envs.tasks.expert import Expert

GOALS = ("Reach-v0", "Push-v0", "PickAndPlace-v0")
every_task = pytest.mark.parametrize("id", IDS)


# gymnasium's contract


@every_task
def test_gymnasiums_checker_finds_nothing_and_numbers_stay_in_bounds(id: str) -> None:
    env = make(id)
    check(env)
    for seed in range(2):
        observation, info = env.reset(seed=seed)
        for action in actions(env, env.horizon, seed):
            assert env.observation_space.contains(observation)
            observation, reward, terminated, truncated, info = env.step(action)
            assert np.isfinite(reward) and info["distance"] > 0
            assert [type(flag) for flag in (terminated, truncated, info["success"])] == [bool] * 3
            if terminated:
                break
        assert truncated is not terminated, "the horizon ends what nothing else ended"


@every_task
def test_entries_are_what_an_observation_holds(id: str) -> None:
    env = make(id)
    assert sum(entry.size for entry in env.entries) == env.observation_space.shape[0]
    assert all(entry.meaning and entry.unit for entry in env.entries)


@every_task
def test_dense_rewards_are_sparse_ones_less_a_cost_and_augmented_ones_are_lower_still(id: str) -> None:
    rewards, ends = [], []
    for mode in ("sparse", "dense", "augmented"):
        env = make(id, reward=mode)
        env.reset(seed=1)
        trace = []
        for action in actions(env, 20):
            trace.append(env.step(action)[1:4])
            if any(trace[-1][1:]):
                break
        rewards.append([step[0] for step in trace])
        ends.append([step[1:] for step in trace])
    sparse, dense, augmented = map(np.array, rewards)
    assert ends[0] == ends[1] == ends[2]
    assert (dense < sparse).all() and (augmented <= dense).all() and (augmented < dense).any()
    assert (sparse - dense < 1.5).all(), "a cost is about 1 at most"


@every_task
def test_the_same_seed_is_the_same_episode_in_every_environment(id: str) -> None:
    env, other = make(id), make(id)
    other.reset(seed=5)
    for action in actions(other, 5):
        other.step(action)
    firsts = []
    for seed in (3, 4, 3):
        one, two = env.reset(seed=seed)[0], other.reset(seed=seed)[0]
        assert equal(one, two)
        firsts.append(one)
        for action in actions(env, 6, seed):
            one, two = env.step(action), other.step(action)
            assert equal(one[0], two[0]) and one[1:4] == two[1:4]
    assert equal(firsts[0], firsts[2]) and not equal(firsts[0], firsts[1])


VARIANTS = [
    *((id, {}) for id in IDS),
    *((id, {"randomize": RANGES}) for id in GENERAL),
    *((id, {"goal_conditioned": True, "randomize": RANGES}) for id in GOALS),
    ("Lift-v0", {"objects": "held-out"}),
    ("Push-v0", {"objects": "held-out", "randomize": RANGES}),
    ("Lift-v0", {"control": "joint_position"}),
]


@pytest.mark.parametrize(("id", "options"), VARIANTS, ids=[f"{id}-{'-'.join(o)}" for id, o in VARIANTS])
def test_a_state_restores_the_middle_of_an_episode_bit_for_bit(id: str, options: dict[str, Any]) -> None:
    env, other = make(id, **options), make(id, **options)
    for seed in (3, 4):
        env.reset(seed=seed)
        other.reset(seed=77)
        for action in actions(env, 6, seed):
            env.step(action)
        state = env.get_state()
        after = [env.step(action) for action in actions(env, 6)]  # before the state is used
        other.set_state(state)
        for one, action in zip(after, actions(env, 6), strict=True):
            two = other.step(action)
            assert equal(one[0], two[0]) and one[1:4] == two[1:4], (id, options)
        assert equal(env.reset()[0], other.reset()[0]), "the generators too"


@pytest.mark.parametrize("id", ["Stack-v0", "Peg-v0"])
def test_a_restored_object_that_moves_is_not_taken_for_one_that_lies_still(id: str) -> None:
    env, other = make(id), make(id)
    env.reset(seed=0), other.reset(seed=1)
    env.last = np.array([0.5, 0.1, 0.2])
    other.set_state(env.get_state())
    np.testing.assert_array_equal(other.last, env.last)


# Scripts


@pytest.mark.parametrize("id", GENERAL)
def test_the_expert_does_it_nearly_always(id: str) -> None:
    env = make(id)
    assert success_rate(env, 40, Expert(env).act) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("id", GENERAL)
def test_chance_does_not_do_it(id: str) -> None:
    env = make(id)
    env.action_space.seed(0)
    assert success_rate(env, 100, env.action_space.sample) <= 0.02


# Another robot


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_arm(tmp_path_factory.mktemp("robot"))


@pytest.mark.parametrize("id", ["Reach-v0", "Grasp-v0", "Lift-v0", "Push-v0"])
def test_the_expert_does_it_with_another_robot(arm: str, id: str) -> None:
    env = make(id, robot=arm)
    assert success_rate(env, 5, Expert(env).act) == 1.0


def test_lengths_are_in_units_of_the_arms_size(arm: str) -> None:
    env = make("Push-v0", robot=arm)
    size = find_robot(arm).size
    assert size == env.size and not 0.9 < size < 1.1 and make("Push-v0").size == 1.0
    observation, _ = env.reset(seed=0)
    now, J = env.readings, env.arm.joints
    expected = [
        *now.joint_positions,
        *now.joint_velocities,
        *now.object_position / size,
        *now.tool_position / size,
        *5 * (now.object_position - now.tool_position) / size,
    ]
    np.testing.assert_allclose(observation[: 2 * J + 9], expected, atol=1e-6)
    np.testing.assert_allclose(observation[-6:-3], env.goal / size, atol=1e-6)
    np.testing.assert_allclose(observation[-3:], 5 * (env.goal - now.object_position) / size, atol=1e-5)
    way = env.goal - now.object_position
    far = float(np.linalg.norm(way))
    behind = now.object_position - now.object_half[:2].max() * way / far
    to_it = np.linalg.norm(now.tool_position - behind) / size
    assert env.cost(now) == pytest.approx(0.5 * tanh(6 * to_it) + 0.5 * tanh(4 * far / size))
