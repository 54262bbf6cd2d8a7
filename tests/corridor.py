"""A task small enough to check by hand, and variants of it that SAC cannot be used on."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from envs.backends.base import BackendError


class Corridor(gymnasium.Env):
    """Walk from 0 to a goal in 1 … 2 within 10 steps of at most 0.5; each step costs the distance that is
    left.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space: gymnasium.Space = Box(-np.inf, np.inf, (2,), np.float64)
    action_space: gymnasium.Space = Box(-0.5, 0.5, (1,), np.float32)

    def __init__(
        self, render_mode: str | None = None, tolerance: float = 0.1, says_success: bool = True
    ) -> None:
        self.render_mode, self.tolerance, self.says_success = render_mode, tolerance, says_success
        self.seeds: list[int | None] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.position, self.steps, self.goal = 0.0, 0, self.np_random.uniform(1, 2)
        return self.observe(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.position += float(action[0])
        self.steps += 1
        distance = abs(self.goal - self.position)
        success = distance < self.tolerance
        info = {"success": success} if self.says_success else {}
        return self.observe(), -distance, success, self.steps >= 10, info

    def observe(self) -> Any:
        return np.array([self.position, self.goal], self.observation_space.dtype)

    def render(self) -> np.ndarray:
        picture = np.zeros((49, 65, 3), np.uint8)  # odd sides, which H.264 does not take
        picture[:, int(np.clip(self.position / 2, 0, 1) * 56) :][:, :8] = 255
        return picture


class Fitting(Corridor):
    """Needs no wrapper at all."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)


class Parts(Corridor):
    observation_space = Dict({"position": Box(-9, 9, (1,)), "door": Discrete(3)})

    def observe(self) -> Any:
        return {"position": np.array([self.position], np.float32), "door": 1}


class DiscreteActions(Corridor):
    action_space = Discrete(4)


class UnboundedActions(Corridor):
    action_space = Box(-np.inf, np.inf, (1,), np.float32)


class IntegerActions(Corridor):
    action_space = Box(-3, 3, (1,), np.int32)


class Image(Corridor):
    observation_space = Box(0, 255, (32, 32, 3), np.uint8)


class PartsWithImage(Corridor):
    observation_space = Dict({"position": Box(-9, 9, (1,)), "camera": Box(0, 255, (32, 32, 3), np.uint8)})


class NeedsPackage(Corridor):
    def __init__(self) -> None:
        raise gymnasium.error.DependencyNotInstalled("Box3D is missing: pip install box3d")


class BrokenSimulator(Corridor):
    def __init__(self, backend: str = "auto") -> None:
        raise BackendError(f"no {backend} here: install it\nand a second line")


class CannotDraw(Corridor):
    def render(self) -> np.ndarray:
        raise RuntimeError("an OpenGL platform library has not been loaded\nmore")


for variant in [Corridor, *Corridor.__subclasses__()]:
    gymnasium.register(f"{variant.__name__}-v0", entry_point=variant)
