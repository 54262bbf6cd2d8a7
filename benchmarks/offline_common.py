"""What both sides of the offline benchmark share: the settings and the data. Needs numpy alone: the peer's
Python reads it too.
"""

import argparse
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

ARRAYS = {
    "observation": np.float32,  # (N, observation_size)
    "action": np.float32,  # (N, action_size), in [-1, 1]
    "reward": np.float32,  # (N,)
    "next_observation": np.float32,  # (N, observation_size), the true last one at an episode's end
    "terminated": np.bool_,  # (N,)
    "truncated": np.bool_,  # (N,)
}


ALGORITHMS = "cql", "iql", "awac", "td3bc", "rebrac"


@dataclass(frozen=True)
class Settings:
    """One learner for both sides, by the names of sac_dist's configuration. The defaults are d3rlpy 2.8's of
    CQL, but that the penalty's weight is fixed and the target soft.
    """

    algo: str = "cql"  # as --algo: cql, iql, awac, td3bc, rebrac
    hidden_width: int = 256  # of policy and critics alike
    hidden_depth: int = 2
    # in the critics' hidden layers; sac_dist's lies before the ReLU, d3rlpy's after it: two networks
    layer_norm: bool = False
    batch_size: int = 256
    actor_lr: float = 1e-4
    critic_lr: float = 3e-4
    alpha_lr: float = 1e-4  # of SAC's temperature
    initial_alpha: float = 1.0
    discount: float = 0.99
    tau: float = 0.005
    cql_weight: float = (
        2.5  # against ½ squared error; d3rlpy's conservative_weight is twice that: see d3rlpy_cql.py
    )
    cql_samples: int = 10  # actions from each of uniform, π(s), π(s')
    entropy_backup: bool = (
        True  # without it d3rlpy's target is at the policy's mean, sac_dist's at a sample: two algorithms
    )
    iql_expectile: float = 0.7
    iql_beta: float = 3.0
    awac_lambda: float = 1.0
    td3bc_alpha: float = 2.5
    rebrac_actor_bc: float = 0.01  # d3rlpy's own defaults are 0.001 and 0.01
    rebrac_critic_bc: float = 0.01

    @classmethod
    def add_to(cls, parser: argparse.ArgumentParser) -> None:
        """A flag for each field."""
        group = parser.add_argument_group("settings of both sides")
        for field in fields(cls):
            flag, default = "--" + field.name.replace("_", "-"), field.default
            if isinstance(default, bool):
                group.add_argument(flag, action=argparse.BooleanOptionalAction, default=default)
            else:
                group.add_argument(flag, type=type(default), default=default, help=f"default {default}")

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "Settings":
        return cls(**{field.name: getattr(arguments, field.name) for field in fields(cls)})

    def values(self) -> dict[str, Any]:
        """By name, but for ``algo`` and what is another algorithm's."""
        others = tuple(f"{name}_" for name in ALGORITHMS if name != self.algo)
        return {
            name: value
            for name, value in asdict(self).items()
            if name != "algo" and not name.startswith(others)
        }

    def flags(self) -> list[str]:
        """The command-line flags that give these settings."""
        flags = [f"--algo={self.algo}"]
        for name, value in self.values().items():
            name = name.replace("_", "-")
            flags.append(
                f"--{'' if value else 'no-'}{name}" if isinstance(value, bool) else f"--{name}={value}"
            )
        return flags


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of ARRAYS in their dtypes; refuses data that does not end with an episode's end."""
    with np.load(path) as file:
        arrays = {name: np.asarray(file[name], dtype) for name, dtype in ARRAYS.items()}
    if not (arrays["terminated"] | arrays["truncated"])[-1]:
        raise ValueError(f"{path}: the last transition is neither terminated nor truncated")
    return arrays


def save(path: Path, arrays: dict[str, np.ndarray], source: dict[str, Any]) -> None:
    """Write ``arrays`` (those of ARRAYS, and ``success`` (episodes,)) with where they come from; by
    sac_dist's writer if there is one.
    """
    try:
        from sac_dist.data.transitions import Transitions
        from sac_dist.formats import files
    except ImportError:
        np.savez_compressed(path, **arrays, source=np.array(json.dumps(source)))
    else:
        success = arrays.get("success")
        files.write(Transitions.of_arrays(arrays, success, source), str(path))


def step_times(seconds: np.ndarray) -> dict[str, float]:
    """Milliseconds per update from the seconds (updates,) that each took."""
    return {
        "median_ms": round(float(np.median(seconds)) * 1e3, 3),
        "mean_ms": round(float(np.mean(seconds)) * 1e3, 3),
    }
