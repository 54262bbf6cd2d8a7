"""An environment with every kind of observation that is made of numbers, as ``toy_spaces:Odd-v0``."""

from collections import OrderedDict
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.wrappers import RescaleAction, RescaleObservation
from toy_envs import Point

# -0.9 + 2 * ((-0.3 + 0.9) / 2) is above -0.3
LOW, HIGH = np.array([[-2.0, -0.9], [3.0, -1.0]]), np.array([[2.0, -0.3], [7.5, 1e3]])


class Odd(gymnasium.Env):
    """Two steps an episode; actions are a matrix of float64 with a range for each number."""

    observed = Dict(
        OrderedDict(
            {
                "zoo": Box(-1, 1, (2, 2), np.float64),
                "gear": Discrete(3, start=-1),
                "both": MultiDiscrete([2, 3]),
                "flags": MultiBinary(3),
                "level": Box(0, 100, (), np.float32),
                "sonar/left": Box(-np.inf, np.inf, (2,), np.float32),
                "inner": Dict(OrderedDict({"y": Box(0, 255, (2,), np.uint8), "x": Box(0, np.inf, (1,))})),
                "pair": Tuple([Discrete(2), Box(-5, 5, (1,))]),
            }
        )
    )
    action_space = Box(LOW, HIGH, dtype=np.float64)
    metadata = {"render_modes": [], "render_fps": 25}  # noqa: RUF012

    def __init__(self) -> None:
        self.observation_space = deepcopy(self.observed)  # which draws

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> Any:
        assert self.action_space.contains(action), action
        self.steps += 1
        return self.observation_space.sample(), float(action.sum()), False, self.steps == 2, {}


def wrapped() -> gymnasium.Env:
    """Its own wrappers are part of an environment."""
    env = RescaleAction(Point(), np.float32(-0.1), np.float32(0.1))
    return RescaleObservation(env, np.float32(-1), np.float32(1))


gymnasium.register("Wrapped-v0", entry_point=wrapped)
gymnasium.register("Odd-v0", entry_point=Odd)
