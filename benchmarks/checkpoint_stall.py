"""How long checkpoints of a run hold up its workers when the replay buffer holds 1,000,000 transitions of the
grasp task.

python benchmarks/checkpoint_stall.py [--workers 2] [--seconds 60]

The buffer is filled by a file of made-up demonstrations before the first step. The gap between two steps of a
worker holds an update, at an episode's end a reset too, and what the machine does besides; the longest one
while a checkpoint is taken is set beside the longest of the others.
"""

import argparse
import json
import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from timed_grasp import times_of

from sac_dist import AgentConfig, Config, DataConfig, EnvConfig, TrainConfig, train
from sac_dist.engine.checkpointing import Checkpointing

RESULTS = Path(__file__).parent / "results" / "checkpoint_stall.json"
CAPACITY, EPISODE = 1_000_000, 50
INTERVAL = 2000  # steps


def write_demonstrations(path: Path) -> None:
    rng = np.random.default_rng(0)
    ends = np.arange(CAPACITY) % EPISODE == EPISODE - 1
    observations = rng.normal(size=(CAPACITY, 31)).astype(np.float32)
    following = np.roll(observations, -1, axis=0)
    actions = rng.uniform(-1, 1, (CAPACITY, 7)).astype(np.float32)
    rewards = -rng.random(CAPACITY).astype(np.float32)
    fields = {
        "observation": observations,
        "action": actions,
        "reward": rewards,
        "next_observation": following,
    }
    np.savez(path, **fields, terminated=np.zeros(CAPACITY, bool), truncated=ends)


def watch_checkpoints() -> list[tuple[float, float, float]]:
    """A list that gets, for each checkpoint of this process's runs: when it begins, when the workers may go
    on, when it is written.
    """
    seen: list[tuple[float, float, float]] = []
    begun: list[float] = []
    pause, write = Checkpointing.pause, Checkpointing.write

    def timed_pause(checkpoints: Checkpointing, *arguments: Any) -> None:
        begun.append(time.monotonic())
        pause(checkpoints, *arguments)

    def timed_write(checkpoints: Checkpointing, *arguments: Any) -> int:
        resume, resumed = checkpoints.control.resume, []
        checkpoints.control.resume = lambda: (resume(), resumed.append(time.monotonic()))
        clock = write(checkpoints, *arguments)
        checkpoints.control.resume = resume
        seen.append((begun[-1], resumed[0], time.monotonic()))
        return clock

    Checkpointing.pause, Checkpointing.write = timed_pause, timed_write
    return seen


def longest(times: list[np.ndarray], begin: float, end: float) -> float:
    """s of the longest gap between two steps of a worker that lies at least partly in this span."""
    gaps = [np.diff(steps)[(steps[:-1] < end) & (steps[1:] > begin)] for steps in times]
    return max(float(part.max()) for part in gaps if len(part))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TIMES"] = name
        write_demonstrations(folder / "demos.npz")
        settings = TrainConfig(
            workers=arguments.workers, time=arguments.seconds, buffer_size=CAPACITY, eval_interval=0, checkpoint_interval=INTERVAL,
            run_dir=f"{name}/run",
        )  # fmt: skip
        data = DataConfig(demos=(f"{name}/demos.npz",), demo_mode="prefill", demo_overwrite=True)
        seen = watch_checkpoints()
        train(Config(EnvConfig("timed_grasp:TimedGrasp-v0"), AgentConfig(), settings, data), quiet=True)
        times = times_of(folder, arguments.workers)
    during = [
        (begin, end, written)
        for begin, end, written in seen
        if all(steps[0] < begin and end < steps[-1] for steps in times)
    ]
    stalls = [1e3 * longest(times, begin, end) for begin, end, _ in during]
    writing = [1e3 * longest(times, begin, written) for begin, _, written in during]
    outside = [1e3 * longest(times, earlier[2], later[0]) for earlier, later in pairwise(during)]
    copied = [1e3 * (end - begin) for begin, end, _ in during]
    print(
        f"{len(during)} checkpoints, {sum(map(len, times)):,} steps of {arguments.workers} workers "
        f"beside a full buffer of {CAPACITY:,}"
    )
    print(f"workers asked to wait for {np.median(copied):.1f} ms (median), {max(copied):.1f} ms at most")
    print(
        f"longest gap between two steps: {max(stalls):.1f} ms over a wait, {max(writing):.1f} ms until "
        "the checkpoint is written"
    )
    print(
        f"longest gap between checkpoints, one for each: {np.median(outside):.1f} ms (median), "
        f"{max(outside):.1f} ms at most"
    )
    result = {
        "wait_ms": copied,
        "gap_over_wait_ms": stalls,
        "gap_until_written_ms": writing,
        "gap_between_ms": outside,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine(), "workers": arguments.workers, **result}, indent=1))


if __name__ == "__main__":
    main()
