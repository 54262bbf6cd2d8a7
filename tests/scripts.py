"""Policies of a user's, as ``scripts:Name`` for ``--record-demos --policy``."""

from collections.abc import Callable

import gymnasium
import numpy as np


class Home:
    """Steers toy_envs' Point to its goal; fails on the right half of the plane."""

    def __init__(self, env: gymnasium.Env) -> None:
        self.begun = np.array(env.unwrapped.place)
        self.calls = 0

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls == 1:
            assert np.array_equal(observation, self.begun), "made for an episode that has begun"
        return np.zeros(2) if self.begun[0] > 0 else np.clip(-4 * observation, -1, 1)


def short(env: gymnasium.Env) -> Callable[[np.ndarray], object]:
    return lambda observation: [0.5]


def far(env: gymnasium.Env) -> Callable[[np.ndarray], object]:
    return lambda observation: [0.5, -3.2]


def nowhere(env: gymnasium.Env) -> Callable[[np.ndarray], object]:
    return lambda observation: [0.5, np.nan]


def failing(env: gymnasium.Env) -> Callable[[np.ndarray], object]:
    return lambda observation: observation["place"]
