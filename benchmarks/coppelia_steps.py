"""Random actions in several CoppeliaSims at once: steps per second, memory, and whether every number stays
finite.

python benchmarks/coppelia_steps.py --processes 2 --steps 10000 [--scene FILE.ttt]
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path

import gymnasium
import numpy as np

import envs  # noqa: F401 (registers the tasks)


def private_mib() -> float:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024


def play(pipe: Connection, scene: str | None, steps: int, seed: int) -> None:
    env = gymnasium.make("SawyerGrasp-v0", backend="coppelia", scene=scene).unwrapped
    env.action_space.seed(seed)
    env.reset(seed=seed)
    memory, finite, episodes, began = [], True, 1, time.monotonic()
    for step in range(steps):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        finite = finite and bool(np.isfinite(observation).all() and np.isfinite(reward))
        if terminated or truncated:
            env.reset()
            episodes += 1
        if step % (steps // 10) == steps // 10 - 1:
            memory.append(private_mib())
    pipe.send((steps / (time.monotonic() - began), episodes, finite, memory))
    env.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10_000, help="of each process")
    parser.add_argument("--scene")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for seed in range(arguments.processes):
        ours, theirs = context.Pipe()
        process = context.Process(target=play, args=(theirs, arguments.scene, arguments.steps, seed))
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    for pipe, process in zip(pipes, processes, strict=True):
        try:
            rate, episodes, finite, memory = pipe.recv()
        except EOFError:
            process.join()
            print(f"crashed with status {process.exitcode}")
            continue
        process.join()
        print(
            f"{rate:.0f} steps/s with {episodes} resets, all numbers finite: {finite}, private memory "
            f"{memory[0]:.1f} MiB after a tenth, "
            f"{memory[-1]:.1f} MiB at the end, exit status {process.exitcode}"
        )


if __name__ == "__main__":
    main()
