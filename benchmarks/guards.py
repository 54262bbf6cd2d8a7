"""What the guards of a training cost: one run with them and without them in turn, a quarter of a second each.

python benchmarks/guards.py [--seconds 240]

Without: no check of what the environment returns, of what is stored, of metrics and actions; no heartbeat,
    nobody who looks
for one. The two kinds of slices differ in nothing else, and the steps of all workers are counted in each.
"""

import argparse
import json
import math
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import machine
from timed_grasp import times_of

from sac_dist import AgentConfig, Config, EnvConfig, TrainConfig, train
from sac_dist.acting.episode import Play
from sac_dist.data.ring import ReplayBuffer
from sac_dist.engine.control import OFFLINE_UPDATES, STEPS, UPDATES, Control
from sac_dist.engine.guard import Guard
from sac_dist.engine.worker import Worker

RESULTS = Path(__file__).parent / "results" / "guards.json"
SLICE = 0.25  # s: short beside what else the machine does
START_UP = 20.0  # s that are not counted


def guarded(moment: float) -> bool:
    return int(moment / SLICE) % 2 == 0


class Bare:
    """The guarded methods, without their guards."""

    @staticmethod
    def step(play: Play, action: np.ndarray) -> tuple[float, bool, bool]:
        observation, reward, terminated, truncated, play.info = play.env.step(action)
        play.length += 1
        play.observation = np.array(observation, np.float32)
        reward, play._terminated = float(reward), bool(terminated)
        play.total_reward += reward
        play.over = play._terminated or bool(truncated)
        return reward, play._terminated, bool(truncated)

    @staticmethod
    def fill(buffer: ReplayBuffer, row: np.ndarray, *values) -> bool:
        for column, value in zip(buffer._columns, values, strict=True):
            row[column] = value
        return True

    @staticmethod
    def update(worker: Worker, batch) -> None:
        worker.metrics = {name: value.item() for name, value in worker.agent.update(batch).items()}
        worker.control.count(worker.rank, UPDATES)

    @staticmethod
    def choose(worker: Worker, observation: np.ndarray) -> np.ndarray:
        if (
            worker.control.total(STEPS) < worker.config.warmup_steps
            and worker.control.total(OFFLINE_UPDATES) == 0
        ):
            return worker.rng.uniform(-1, 1, worker.agent.action_size).astype(np.float32)
        return worker.agent.act(observation)


def in_turn(owner: type, name: str, bare) -> None:
    """Replace a method by one that is itself in guarded slices and ``bare`` in the others."""
    itself = getattr(owner, name)

    def either(*arguments):
        return (itself if guarded(time.monotonic()) else bare)(*arguments)

    setattr(owner, name, either)


def take_turns() -> None:
    in_turn(Play, "step", Bare.step)
    in_turn(ReplayBuffer, "_fill_quickly", Bare.fill)
    in_turn(Worker, "update", Bare.update)
    in_turn(Worker, "choose", Bare.choose)
    in_turn(Control, "beat", lambda control, row: None)
    in_turn(Guard, "look", lambda guard: None)


if __name__ in ("__main__", "__mp_main__"):  # the second: the run's processes
    take_turns()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=240.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ["TIMES"] = name
        settings = TrainConfig(
            workers=2,
            time=arguments.seconds,
            eval_interval=0,
            checkpoint_interval=10**9,
            run_dir=f"{name}/run",
        )
        train(Config(EnvConfig("timed_grasp:TimedGrasp-v0"), AgentConfig(), settings), quiet=True)
        times = times_of(Path(name), settings.workers)
    first = math.ceil((max(steps[0] for steps in times) + START_UP) / (2 * SLICE)) * 2  # a guarded slice
    last = int(min(steps[-1] for steps in times) / SLICE)
    counts = np.bincount(np.concatenate([steps // SLICE for steps in times]).astype(int), minlength=last)[
        first:last
    ]
    pairs = counts[: len(counts) // 2 * 2].reshape(-1, 2)  # guarded, bare
    slower = 1 - pairs[:, 0] / pairs[:, 1]
    drawn = np.random.default_rng(0).choice(len(pairs), (10_000, len(pairs)))
    low, high = np.quantile(1 - pairs[drawn, 0].sum(1) / pairs[drawn, 1].sum(1), (0.025, 0.975))
    whole = 1 - pairs[:, 0].sum() / pairs[:, 1].sum()
    rates = pairs.mean(0) / SLICE
    print(f"{len(pairs)} pairs of slices: {rates[0]:.1f} steps/s with guards, {rates[1]:.1f} without")
    print(
        f"slower with guards by {whole:+.2%} (95 % interval {low:+.2%} to {high:+.2%}), median of the "
        f"pairs {np.median(slower):+.2%}"
    )
    RESULTS.parent.mkdir(exist_ok=True)
    result = {"steps_in_slices": pairs.tolist(), "slower": whole, "interval": [low, high]}
    RESULTS.write_text(json.dumps({"machine": machine(), **result}, indent=1))


if __name__ == "__main__":
    main()
