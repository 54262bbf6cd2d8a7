"""What the peers of cameras.py share: the task, their settings, and how they are measured. Needs this
repository's envs.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import envs  # noqa: F401 (registers the task)

BUFFER = 100_000  # transitions
WARM_UP = 500  # environment steps with random actions and no update, as sac_dist
DISCOUNT = 0.95  # sac_dist's
THREADS = 2
FIRST_SEED = 2**30  # sac_dist's evaluation episodes count up from it; training's seeds are below


def make() -> gymnasium.Env:
    """Dict of "wrist", (64, 64, 3) uint8, and "state", (24,) float32."""
    return gymnasium.make("Grasp-v0", disable_env_checker=True, observation="camera+state")


def arguments(description: str | None) -> argparse.Namespace:
    """The command line that cameras.py gives each peer."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=1800, help="seconds of training")
    parser.add_argument("--target", type=float, default=0.8, help="success rate that ends the run")
    parser.add_argument("--every", type=int, default=2500, help="environment steps between evaluations")
    parser.add_argument("--episodes", type=int, default=50, help="of each evaluation")
    parser.add_argument("--out", type=Path, required=True, help="file for what is measured")
    return parser.parse_args()


class Measured:
    """Evaluations of the mean policy, in a file. Its clock begins with it and stands still while it
    evaluates: sac_dist evaluates beside its training, on the same cores.

    Args:
        act: from an observation to an action in [-1, 1].
        replay: MiB of replay for 100,000 transitions, by name.
    """

    def __init__(
        self,
        given: argparse.Namespace,
        act: Callable[[dict[str, np.ndarray]], np.ndarray],
        replay: dict[str, float],
    ) -> None:
        self.given, self.act, self.env = given, act, make()
        self.found: dict[str, Any] = {"replay_mib": replay, "evaluations": []}  # [steps, s, success rate]
        self.next = given.every
        self.began = time.monotonic()

    def goes_on(self, steps: int) -> bool:
        """Evaluate if it is time. False: the target is reached or the budget used up."""
        seconds = time.monotonic() - self.began
        over = seconds >= self.given.budget
        if steps < self.next and not over:
            return True
        success = np.mean([self._succeeds(FIRST_SEED + index) for index in range(self.given.episodes)])
        self.found["evaluations"].append([steps, round(seconds, 1), float(success)])
        self.given.out.write_text(json.dumps(self.found))
        print(f"{steps} steps, {seconds:.0f} s: success {success:.2f}", flush=True)
        self.next += self.given.every
        self.began = time.monotonic() - seconds
        return not over and success < self.given.target

    def _succeeds(self, seed: int) -> bool:
        observation, success, over = self.env.reset(seed=seed)[0], False, False
        while not over:
            observation, _, terminated, truncated, info = self.env.step(self.act(observation))
            success, over = success or bool(info["success"]), terminated or truncated
        return success


def mib(*arrays: np.ndarray) -> float:
    return round(sum(array.nbytes for array in arrays) / 2**20, 1)
