"""What all sides of time_to_success.py share: the task, the settings, and a peer's command line and snapshots. Needs numpy alone."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

ENV = "peers.grasp:NotedGrasp-v0"
HIDDEN = [int(os.environ.get("HIDDEN_WIDTH", 128))] * 2  # of policy and critics, with ReLU
BATCH = 128
LEARNING_RATE = 7e-4  # of policy, critics and temperature; Adam
DISCOUNT = 0.95
TAU = 0.01  # at each update
ALPHA = 0.1  # where the automatic temperature starts
TARGET_ENTROPY = -3.5  # nats: minus half the number of actions
WARM_UP = 500  # environment steps with random actions and no update; then one update per step
BUFFER = 1_000_000  # transitions
EVERY = 1000  # environment steps between snapshots


def arguments(description: str) -> argparse.Namespace:
    """The command line that the driver gives each peer; ``unknown`` has the rest."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=20_000, help="environment steps over all environments")
    parser.add_argument("--envs", type=int, default=1, help="environments, or workers, where the peer can have several")
    parser.add_argument("--out", type=Path, required=True, help="folder for the snapshots")
    return parser.parse_args()


class Snapshots:
    """The deterministic policy after about each EVERY environment steps, in files whose time of writing is the snapshot's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.next = folder, EVERY

    def due(self, steps: int) -> bool:
        return steps >= self.next

    def write(self, steps: int, layers: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        """``layers``: weight (inputs, outputs) and bias (outputs,) of each; ReLU between them and tanh at the end."""
        arrays = {f"{name}{i}": array for i, layer in enumerate(layers) for name, array in zip(("weight", "bias"), layer, strict=True)}
        temporary = self.folder / "unfinished.npz"
        np.savez(temporary, **arrays)
        temporary.rename(self.folder / f"step-{steps:09d}.npz")
        self.next = steps - steps % EVERY + EVERY
