"""Policies of a user's, as ``scripts:Name`` for ``--record-demos --policy``."""

import itertools
import sys
from collections.abc import Callable

import gymnasium
import numpy as np


class Home:
    """Steers toy_envs' Point to its goal; fails on the right half of the plane."""

    def __init__(self, env: gymnasium.Env) -> None:
        self.begun = np.array(env.unwrapped.place)
        self.calls = 0

    def __len__(self) -> int:
        return 0  # nothing that is left to do: still the same script

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


def silent(env: gymnasium.Env) -> Callable[[np.ndarray], object]:
    return lambda observation: None


def leaving(env: gymnasium.Env) -> Callable[[np.ndarray], object]:
    return lambda observation: sys.exit(0)


def direct(observation: object) -> np.ndarray:
    return np.zeros(2)


def stepping(env: gymnasium.Env) -> Callable[[np.ndarray], object]:
    return lambda observation: (env.step(np.zeros(2)), np.zeros(2))[1]


def resetting(env: gymnasium.Env) -> Callable[[np.ndarray], object]:
    calls = itertools.count()
    return lambda observation: (next(calls) == 3 and env.reset(), np.zeros(2))[1]
