"""What the tests of tasks share."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env

import envs

IDS = tuple(envs.TASKS)
GENERAL = tuple(id for id in IDS if id not in envs.SAWYER_IDS)
RANGES = {
    "mass": [0.5, 2],
    "friction": [0.5, 1.5],
    "damping": [0.5, 2],
    "gain": [0.5, 1],
    "action_delay": [0, 2],
    "observation_delay": [0, 2],
    "observation_noise": [0, 0.02],
}


def make(id: str, **options: Any) -> Any:
    return gymnasium.make(id, backend="mujoco", **options).unwrapped


def check(env: Any) -> None:
    """gymnasium's checker finds nothing, not even something to warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return all(np.array_equal(one[name], other[name]) for name in one)
    return np.array_equal(one, other)


def actions(env: Any, count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, env.action_space.shape).astype(np.float32) for _ in range(count)]


def success_rate(env: Any, episodes: int, act: Any, first: int = 1000) -> float:
    won = 0
    for seed in range(first, first + episodes):
        env.reset(seed=seed)
        done = False
        while not done:
            _, _, terminated, truncated, info = env.step(act())
            done = terminated or truncated
        won += info["success"]
    return won / episodes
