"""Reach, Push and PickAndPlace as hindsight experience replay wants them, and a run on one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Dict
from tasks import check

from envs import OptionError
from envs.tasks.expert import Expert
from sac_dist.acting.environment import make_env, time_limit_of
from sac_dist.engine.train import train
from sac_dist.settings import AgentConfig, Config, ConfigError, EnvConfig, TrainConfig

NEAR = {"Reach-v0": 0.02, "Push-v0": 0.025, "PickAndPlace-v0": 0.025}
every_goal = pytest.mark.parametrize("id", tuple(NEAR))


def make(id: str, **options: Any) -> Any:
    return gymnasium.make(id, backend="mujoco", goal_conditioned=True, **options).unwrapped


@every_goal
def test_spaces_and_gymnasiums_checker(id: str) -> None:
    env = make(id)
    check(env)
    space = env.observation_space
    plain = gymnasium.make(id, backend="mujoco").unwrapped
    assert isinstance(space, Dict) and set(space) == {"observation", "achieved_goal", "desired_goal"}
    assert space["observation"] == plain.observation_space
    assert {space[name].shape for name in ("achieved_goal", "desired_goal")} == {(3,)}
    seen = [each.reset(seed=1)[0] for each in (env, plain)]
    np.testing.assert_array_equal(seen[0]["observation"], seen[1])


@pytest.mark.parametrize("reward", ["sparse", "dense"])
@every_goal
def test_rewards_of_a_batch_are_those_of_the_steps_and_nothing_terminates(id: str, reward: str) -> None:
    env = make(id, reward=reward)
    expert = Expert(env)
    achieved, desired, rewards, won = [], [], [], []
    for seed in range(2):
        env.reset(seed=seed)
        for step in range(env.horizon):
            observation, given, terminated, truncated, info = env.step(expert.act())
            assert not terminated and truncated == (step == env.horizon - 1)
            assert info["is_success"] is info["success"]
            assert given == env.compute_reward(
                observation["achieved_goal"], observation["desired_goal"], info
            )
            achieved.append(observation["achieved_goal"])
            desired.append(observation["desired_goal"])
            rewards.append(given)
            won.append(info["success"])
    batch = env.compute_reward(np.array(achieved), np.array(desired), [{}] * len(rewards))
    np.testing.assert_array_equal(batch, rewards)
    assert any(won) and not all(won)
    distance = np.linalg.norm(np.subtract(achieved, desired), axis=1)
    if reward == "sparse":
        np.testing.assert_array_equal(rewards, np.where(won, 0.0, -1.0))
    else:
        np.testing.assert_allclose(rewards, -distance, atol=1e-6)
    assert ((distance < NEAR[id]) == won).all()
    grid = env.compute_reward(np.zeros((2, 5, 3)), np.full((2, 5, 3), 0.01), None)
    assert grid.shape == (2, 5)


@every_goal
def test_goals_are_what_the_task_is_about_in_its_units(id: str) -> None:
    env = make(id)
    observation, _ = env.reset(seed=2)
    now = env.readings
    done = now.tool_position if id == "Reach-v0" else now.object_position
    goal = now.object_position if id == "Reach-v0" else env.goal
    np.testing.assert_allclose(observation["achieved_goal"], done / env.size, atol=1e-6)
    np.testing.assert_allclose(observation["desired_goal"], goal / env.size, atol=1e-6)


def test_a_fallen_object_ends_nothing_either() -> None:
    env = make("Push-v0")
    env.reset(seed=0)
    env.backend.data.qpos[env.backend.model.joint("object").qposadr[0] + 2] -= 0.3
    _, reward, terminated, _, _ = env.step(np.zeros(7))
    assert not terminated and -2.0 < reward < 0.0


def test_a_horizon_that_is_given_is_kept() -> None:
    """The tasks with goals once took no horizon of the trainer."""
    for goal_conditioned in (True, False):
        kwargs = {"backend": "mujoco", "goal_conditioned": goal_conditioned}
        env = make_env(EnvConfig("Push-v0", kwargs, horizon=200))
        assert time_limit_of(env) == 200
        env.close()


def test_what_has_no_goal_says_so() -> None:
    with pytest.raises(OptionError, match=r"^goal_conditioned is for tasks with a goal") as raised:
        make("Lift-v0")
    assert "not for Lift" in str(raised.value)
    with pytest.raises(ConfigError, match=r"^Lift-v0 does not start: goal_conditioned is for tasks"):
        make_env(EnvConfig("Lift-v0", {"backend": "mujoco", "goal_conditioned": True}))
    with pytest.raises(ConfigError, match=r"^Push-v0 has no option colour$"):
        make_env(EnvConfig("Push-v0", {"backend": "mujoco", "colour": "red"}))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_it_can_be_trained_on(tmp_path: Path) -> None:
    env = EnvConfig("Push-v0", {"backend": "mujoco", "goal_conditioned": True, "reward": "dense"})
    settings = {"workers": 1, "steps": 300, "warmup_steps": 100, "batch_size": 16, "buffer_size": 1000}
    quick = {"eval_interval": 0, "compile": "off", "run_dir": str(tmp_path / "run")}
    agent = AgentConfig(hidden_width=16, hidden_depth=1)
    run = train(Config(env, agent, TrainConfig(**settings, **quick)), quiet=True)
    assert run.outcome.reason == "steps" and run.folder.last.exists()
