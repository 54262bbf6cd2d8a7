"""Small environments for process tests, as ``toy_envs:Name-v0``: quick, and each broken in one way."""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from sac_dist.acting.episode import TRAINING_SEEDS


def tried_before_the_run() -> bool:
    """Whether this is the process that looks at an environment before a run begins."""
    return multiprocessing.current_process().name == "apart"


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
        return (
            self.place,
            -distance + 5.0 * success,
            success,
            self.steps >= self.horizon,
            {"success": success},
        )


class Slow(Point):
    """Point at 5 ms a step; leaves its process id in the folder named by TOY_PIDS."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        if "TOY_PIDS" in os.environ and not tried_before_the_run():
            (Path(os.environ["TOY_PIDS"]) / str(os.getpid())).touch()
        return super().reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        time.sleep(0.005)
        return super().step(action)


class Timed(gymnasium.Env):
    """Two steps of 5 ms to an episode; writes when each was taken to ``folder``/training or /evaluation.
    Succeeds in all episodes but the evaluation's from number ``fails_from`` on.
    """

    observation_space = action_space = Box(-1, 1, (1,), np.float32)

    def __init__(self, folder: str, fails_from: int) -> None:
        self.folder, self.fails_from = Path(folder), fails_from

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.number, self.steps = (seed or 0) - TRAINING_SEEDS, 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        time.sleep(0.005)
        self.steps += 1
        kind = "training" if self.number < 0 else "evaluation"
        if not tried_before_the_run():
            with open(self.folder / kind, "a") as file:
                file.write(f"{time.monotonic()}\n")
        info = {"success": self.number < self.fails_from}
        return np.zeros(1, np.float32), 0.0, False, self.steps == 2, info


class Helped(Point):
    """A person acts in the steps 3, 4 and 5 of each episode, as in gym-hil: towards the origin."""

    action_space = Box(-2, 2, (2,), np.float32)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        acts = self.steps in (2, 3, 4)
        action = np.clip(-self.place, -1.6, 1.6) if acts else action
        *others, info = super().step(action)
        return *others, {**info, "is_intervention": acts, "teleop_action": action}


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
        if tried_before_the_run():
            return super().step(action)
        raise ZeroDivisionError("the toy never works")


class KillsItself(Slow):
    """Dies of SIGSEGV like a simulator would, once per TOY_FLAG."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        flag = Path(os.environ["TOY_FLAG"])
        if not flag.exists() and not tried_before_the_run():
            flag.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().step(action)


class Discretes(Point):
    action_space = Discrete(3)  # type: ignore[assignment]


def first() -> bool:
    """Whether nobody has asked yet: the file named by TOY_FLAG remembers it for all processes."""
    try:
        Path(os.environ["TOY_FLAG"]).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class FaultyOnce(Point):
    """Its 100th step in a process goes wrong, once per TOY_FLAG; with ``evaluated``, its first step of an
    evaluation.
    """

    evaluated = False
    taken = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.in_evaluation = seed is not None and seed >= 2**30
        return super().reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> Any:
        FaultyOnce.taken += 1
        result = super().step(action)
        due = self.in_evaluation if self.evaluated else FaultyOnce.taken >= 100
        return self.fault(*result) if due and first() else result

    def fault(self, observation: Any, reward: Any, terminated: Any, truncated: Any, info: Any) -> Any:
        raise NotImplementedError


class NanObservation(FaultyOnce):
    def fault(self, observation: Any, *rest: Any) -> Any:
        return np.array([observation[0], np.nan], np.float32), *rest


class HugeReward(FaultyOnce):
    def fault(self, observation: Any, reward: Any, *rest: Any) -> Any:
        return observation, 1e30, *rest


class LargeReward(FaultyOnce):
    def fault(self, observation: Any, reward: Any, *rest: Any) -> Any:
        return observation, 1e12, *rest


class WrongShape(FaultyOnce):
    def fault(self, observation: Any, *rest: Any) -> Any:
        return np.zeros(3, np.float32), *rest


class Exits(FaultyOnce):
    def fault(self, *result: Any) -> Any:
        sys.exit(0)


class ExitsAtOnce(FaultyOnce):
    def fault(self, *result: Any) -> Any:
        os._exit(0)


class Interrupts(FaultyOnce):
    def fault(self, *result: Any) -> Any:
        raise KeyboardInterrupt


class HangsInStep(FaultyOnce):
    def fault(self, *result: Any) -> Any:
        time.sleep(1000)


class StopsItself(FaultyOnce):
    def fault(self, *result: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSTOP)
        return result


class EvaluatedNan(NanObservation):
    evaluated = True


class EvaluatedExits(ExitsAtOnce):
    evaluated = True


class EvaluatedHangs(HangsInStep):
    evaluated = True


class HangsInConstructor(Point):
    def __init__(self) -> None:
        if multiprocessing.current_process().name.startswith("worker") and first():
            time.sleep(1000)


class HangsAtOnce(Point):
    def __init__(self) -> None:
        time.sleep(1000)


class ExitsInConstructor(Point):
    def __init__(self) -> None:
        sys.exit(0)


class AlwaysNan(Point):
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, *rest = super().step(action)
        return observation if tried_before_the_run() else np.full_like(observation, np.nan), *rest


class Leaks(Slow):
    """Keeps 4 MiB more with each step, and writes to them, so that they count."""

    kept: ClassVar[list[bytes]] = []

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.kept.append(b"x" * 2**22)
        return super().step(action)


class Endless(Point):
    """Never ends, and says nothing of success."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, *_ = super().step(action)
        return observation, reward, False, False, {}


class EndlessSlow(Slow):
    """Slow, never ends, and says nothing of success."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, *_ = super().step(action)
        return observation, reward, False, False, {}


class LongSteps(Point):
    """Its 30th step takes 20 s."""

    taken = 0

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        LongSteps.taken += 1
        if LongSteps.taken == 30:
            Path(os.environ["TOY_FLAG"]).touch()
            time.sleep(20)
        return super().step(action)


class DiesInLateEvaluations(Point):
    """The process ends in evaluation episodes 5, 6, …"""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        if seed is not None and seed >= 2**30 + 5:
            os._exit(7)
        return super().reset(seed=seed, options=options)


class Draws(Endless):
    """Endless, and draws a picture in 50 ms; the file named by TOY_FLAG says that it has begun."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 30}  # type: ignore[misc]

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def render(self) -> np.ndarray:  # type: ignore[override]
        Path(os.environ["TOY_FLAG"]).touch()
        time.sleep(0.05)
        return np.zeros((64, 64, 3), np.uint8)


class Pattern(gymnasium.Env):
    """Its transitions check themselves: see faults.pattern_holds. 1 ms a step."""

    observation_space = Box(-np.inf, np.inf, (3,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 30}  # type: ignore[misc]
    horizon = 10

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    @staticmethod
    def observation(key: Any, step: Any) -> np.ndarray:
        """(…, 3) of an episode's key and the steps taken, (…,) each: small whole numbers, exact in float32."""
        return np.stack([key, step, (key * 31 + step * 17) % 1009], axis=-1).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.key, self.steps = int(self.np_random.integers(1, 1000)), 0
        return self.observation(self.key, 0), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        time.sleep(0.001)
        self.steps += 1
        return self.observation(self.key, self.steps), float(action[0]), False, self.steps >= self.horizon, {}

    def render(self) -> np.ndarray:  # type: ignore[override]
        time.sleep(0.02)
        return np.zeros((32, 32, 3), np.uint8)


class LongPattern(Pattern):
    """Episodes of 20 s."""

    horizon = 20_000


class EndlessPattern(Pattern):
    horizon = 10**12


class Painted(Point):
    """Point, to be seen: a picture of the plane with a spot at the point, and how many steps are gone. It gives
    its state.
    """

    observation_space = Dict(  # type: ignore[assignment]
        {"picture": Box(0, 255, (16, 16, 1), np.uint8), "gone": Box(0, 10, (1,), np.float32)}
    )

    def look(self) -> Any:
        picture = np.zeros((16, 16, 1), np.uint8)
        row, column = np.clip(8 + 6 * self.place, 1, 14).astype(int)
        picture[row - 1 : row + 2, column - 1 : column + 2] = 255
        return {"picture": picture, "gone": np.array([self.steps], np.float32)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.look(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        _, *others = super().step(action)
        return (self.look(), *others)  # after the step

    def get_state(self) -> dict[str, Any]:
        random = self.np_random.bit_generator.state
        return {"place": self.place, "steps": self.steps, "random": random}

    def set_state(self, state: dict[str, Any]) -> None:
        self.place, self.steps = state["place"], state["steps"]
        self.np_random.bit_generator.state = state["random"]


class Told(Painted):
    """Critics are told where the point is."""

    observation_space = Dict(  # type: ignore[assignment]
        {**Painted.observation_space, "privileged": Box(-10, 10, (2,), np.float32)}
    )
    get_state = set_state = None  # type: ignore[assignment]

    def look(self) -> Any:
        return {**super().look(), "privileged": self.place.astype(np.float32)}


class Photographed(Painted):
    """Its picture alone, and no state."""

    observation_space = Box(0, 255, (16, 16), np.uint8)
    get_state = set_state = None  # type: ignore[assignment]

    def look(self) -> Any:
        return super().look()["picture"][..., 0]


TOYS = [
    value for value in list(globals().values()) if isinstance(value, type) and issubclass(value, Point)
] + [Pattern, LongPattern, EndlessPattern, Timed]
for toy in TOYS:
    gymnasium.register(f"{toy.__name__}-v0", entry_point=toy)
