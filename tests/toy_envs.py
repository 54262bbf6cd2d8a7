"""Small environments for process tests, as ``toy_envs:Name-v0``: quick, and each broken in one way."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete


class Point(gymnasium.Env):
    """Move a point in the plane to the origin within 10 steps; success within 0.2."""

    observation_space = Box(-10, 10, (2,), np.float32)
    action_space = Box(-1, 1, (2,), np.float32)
    horizon = 10

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        self.steps = 0
        return self.place, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.place = np.clip(self.place + 0.3 * np.asarray(action, np.float32), -10, 10).astype(np.float32)
        distance = float(np.linalg.norm(self.place))
        success = distance < 0.2
        return self.place, -distance + 5.0 * success, success, self.steps >= self.horizon, {"success": success}


class Slow(Point):
    """Point at 5 ms a step; leaves its process id in the folder named by TOY_PIDS."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        if "TOY_PIDS" in os.environ:
            (Path(os.environ["TOY_PIDS"]) / str(os.getpid())).touch()
        return super().reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        time.sleep(0.005)
        return super().step(action)


class RaisesOnce(Slow):
    """Raises in the 30th step of the first process that gets so far: the file named by TOY_FLAG remembers it."""

    taken = 0

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        RaisesOnce.taken += 1
        flag = Path(os.environ["TOY_FLAG"])
        if RaisesOnce.taken == 30 and not flag.exists():
            flag.touch()
            raise ZeroDivisionError("the toy broke")
        return super().step(action)


class AlwaysRaises(Point):
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        raise ZeroDivisionError("the toy never works")


class KillsItself(Slow):
    """Dies of SIGSEGV like a simulator would, once per TOY_FLAG."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        flag = Path(os.environ["TOY_FLAG"])
        if not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().step(action)


class Discretes(Point):
    action_space = Discrete(3)  # type: ignore[assignment]


for toy in (Point, Slow, RaisesOnce, AlwaysRaises, KillsItself, Discretes):
    gymnasium.register(f"{toy.__name__}-v0", entry_point=toy)
