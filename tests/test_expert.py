"""The scripted expert does both tasks with either control: the physics is right, and demonstrations can be
made.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from envs.tasks.expert import Expert


def episode(env: Any, seed: int) -> tuple[bool, list[np.ndarray]]:
    """Whether the expert succeeded, and its actions."""
    env.reset(seed=seed)
    expert, actions = Expert(env), []
    while True:
        actions.append(expert.act())
        _, _, terminated, truncated, info = env.step(actions[-1])
        if terminated or truncated:
            return info["success"], actions


@pytest.mark.parametrize(
    ("id", "control", "episodes"),
    [
        ("SawyerGrasp-v0", "joint_velocity", 50),
        ("SawyerGrasp-v0", "end_position", 20),
        ("SawyerLift-v0", "joint_velocity", 50),
        ("SawyerLift-v0", "end_position", 20),
    ],
)
def test_expert_succeeds(make: Any, id: str, control: str, episodes: int) -> None:
    env = make(id, control=control)
    failed = [seed for seed in range(episodes) if not episode(env, 1000 + seed)[0]]
    assert len(failed) <= episodes // 50, failed


def test_expert_is_deterministic_and_in_range(make: Any) -> None:
    env = make("SawyerLift-v0")
    _, first = episode(env, 7)
    episode(env, 8)
    _, again = episode(env, 7)
    assert np.array_equal(first, again)
    assert first[0].dtype == np.float32 and max(np.abs(action).max() for action in first) <= 1.0


def test_expert_refuses_other_environments() -> None:
    with pytest.raises(ValueError, match="Pendulum"):
        Expert(gymnasium.make("Pendulum-v1"))
