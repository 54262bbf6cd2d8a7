"""What all sides of time_to_success.py share: the task, the settings, and a peer's command line and
snapshots. Needs numpy alone.
"""

import argparse
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ENV = "peers.grasp:NotedGrasp-v0"
BATCH = 128
DISCOUNT = 0.95
TAU = 0.01  # at each update
ALPHA = 0.1  # where the automatic temperature starts
TARGET_ENTROPY = -3.5  # nats: minus half the number of actions
WARM_UP = 500  # environment steps with random actions and no update
BUFFER = 1_000_000  # transitions
EVERY = 1000  # environment steps between snapshots


@dataclass(frozen=True)
class Settings:
    hidden: list[int]  # of policy and critics, with ReLU
    learning_rate: float  # of policy, critics and temperature; Adam
    steps_per_update: int  # environment steps, over all environments, for each update after the warm-up
    layer_norm: bool  # in the critics, on the sides that know it


SETTINGS = {
    "usual": Settings([128, 128], 7e-4, 1, False),  # an update per step, as Soft Actor-Critic is mostly run
    "defaults": Settings([64, 64], 1.5e-3, 3, True),  # sac_dist's own
}
CHOSEN = SETTINGS[os.environ.get("SETTINGS", "usual")]
HIDDEN, LEARNING_RATE, LAYER_NORM = CHOSEN.hidden, CHOSEN.learning_rate, CHOSEN.layer_norm


def frequency(envs: int) -> dict[str, int]:
    """train_freq and gradient_steps of Stable-Baselines3: one environment, or a multiple of
    ``steps_per_update`` that step together.
    """
    steps = CHOSEN.steps_per_update
    return {"train_freq": steps, "gradient_steps": 1} if envs == 1 else {"gradient_steps": envs // steps}


def arguments(description: str) -> argparse.Namespace:
    """The command line that the driver gives each peer; ``unknown`` has the rest."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=20_000, help="environment steps over all environments")
    parser.add_argument(
        "--envs", type=int, default=1, help="environments, or workers, where the peer can have several"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the snapshots")
    return parser.parse_args()


class Snapshots:
    """The deterministic policy after about each EVERY environment steps, in files whose time of writing is
    the snapshot's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.next = folder, EVERY

    def due(self, steps: int) -> bool:
        return steps >= self.next

    def write(self, steps: int, layers: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        """``layers``: weight (inputs, outputs) and bias (outputs,) of each; ReLU between them and tanh at the
        end.
        """
        arrays = {
            f"{name}{i}": array
            for i, layer in enumerate(layers)
            for name, array in zip(("weight", "bias"), layer, strict=True)
        }
        temporary = self.folder / "unfinished.npz"
        np.savez(temporary, **arrays)
        temporary.rename(self.folder / f"step-{steps:09d}.npz")
        self.next = steps - steps % EVERY + EVERY
