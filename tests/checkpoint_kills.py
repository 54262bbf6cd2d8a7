"""Kills a process that writes checkpoints at random moments, and looks whether the last one is whole.

python tests/checkpoint_kills.py --kills 100 --seed 0
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from faults import pattern_holds
from toy_envs import Pattern

from sac_dist.algorithms.agent import SACAgent
from sac_dist.data.ring import ReplayBuffer
from sac_dist.data.schema import Schema
from sac_dist.settings import AgentConfig, Config, ConfigError
from sac_dist.storage import checkpoint
from sac_dist.storage.run_folder import RunFolder
from sac_dist.storage.segments import ReplayFiles

RING, BLOCK = 3000, 500  # transitions: of the buffer, between two checkpoints


def write_checkpoints(folder: RunFolder, ready: int) -> None:
    """What a run writes, again and again, going on from what is there: networks full of n, n blocks of
    transitions, the number n.
    """
    schema, n = Schema.vector(3, 1), 0
    agent, files = SACAgent(schema, AgentConfig()), ReplayFiles(folder.replay, schema)
    replay = ReplayBuffer(RING, schema)
    if folder.last.exists():
        saved = checkpoint.read(folder.last)
        files.load(saved.run["replay"], replay)
        n = saved.run["n"]
    os.write(ready, b"x")
    while True:
        n += 1
        steps = np.arange(BLOCK, dtype=np.float32) % Pattern.horizon
        here, after = (Pattern.observation(np.full(BLOCK, n % 1000), k) for k in (steps, steps + 1))
        action = np.random.default_rng(n).uniform(-1, 1, (BLOCK, 1)).astype(np.float32)
        replay.extend(here, action, action[:, 0], after, np.zeros(BLOCK), steps + 1 >= Pattern.horizon)
        agent.memory.fill_(n)
        run = {"n": n, "replay": files.write(files.copy_new(replay))}
        checkpoint.write(
            folder.last, checkpoint.Checkpoint(agent.state_dict(), agent.schema, Config(), {}, run)
        )
        files.prune()


def checkpoint_kills(count: int, seed: int) -> list[str]:
    """Kill a process that writes checkpoints, at random moments; what was wrong with the last one each time."""
    rng, wrong = random.Random(seed), []
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="sac-faults-") as name:
        folder = RunFolder.create(Path(name) / "run")
        folder.unlock()
        for kill in range(count):
            ready, theirs = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    write_checkpoints(folder, theirs)
                finally:
                    os._exit(1)
            os.close(theirs)
            os.read(ready, 1)  # or the child's end
            time.sleep(rng.uniform(0.0, 0.1) if kill else 1.0)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(ready)
            if problem := wrong_with(folder):
                wrong.append(f"kill {kill}: {problem}")
        written = checkpoint.read(folder.last).run["n"]
    print(f"{count} kills, {written} checkpoints written, {len(wrong)} that do not load whole")
    return wrong


def wrong_with(folder: RunFolder) -> str | None:
    """What is not as ``write_checkpoints`` wrote it."""
    try:
        saved = checkpoint.read(folder.last)
        segment = ReplayFiles(folder.replay, saved.schema).read(saved.run["replay"])
    except ConfigError as error:
        return str(error)
    n = saved.run["n"]
    if not all(bool((tensor == n).all()) for tensor in saved.agent.values()):
        return f"the networks are not those of checkpoint {n}"
    if int(segment.stop.sum()) != n * BLOCK or len(segment.rows) != min(n * BLOCK, RING):
        return f"{segment.stop.sum()} transitions counted and {len(segment.rows)} kept at checkpoint {n}"
    if not pattern_holds(segment.rows).all():
        return "torn transitions"
    begun = (n * BLOCK - len(segment.rows)) // Pattern.horizon * Pattern.horizon
    expected = np.arange(begun, n * BLOCK, Pattern.horizon)
    return (
        None if np.array_equal(segment.episodes[0], expected) else "the episodes do not begin where they did"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    wrong = checkpoint_kills(arguments.kills, arguments.seed)
    print("".join(f"{line}\n" for line in wrong), end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
