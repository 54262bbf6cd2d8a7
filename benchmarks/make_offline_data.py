"""Data sets for the offline benchmarks, as .npz files of Transitions' arrays (see
sac_dist/demos/transitions.py).

    python benchmarks/make_offline_data.py grasp grasp-mixed.npz       half random actions, half the scripted
    expert's python benchmarks/make_offline_data.py pendulum pendulum.npz       everything a SAC agent met in
    its first 100 episodes,
                                                                       its rewards as (r + 8) / 8, as the
                                                                       chapter learns from them

No episode has a seed of evaluation.evaluation_seed: those lie above episode.TRAINING_SEEDS, all training
seeds below.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from offline_common import ARRAYS, save

from envs.tasks.expert import Expert
from sac_dist import EnvConfig, make_env
from sac_dist.acting.episode import success_of, training_seed

GRASP = "SawyerGrasp-v0"


def record(
    env, act: Callable[[np.ndarray], np.ndarray], transitions: int, seed: int, part: int
) -> dict[str, np.ndarray]:
    """Whole episodes until there are at least ``transitions``; ``part`` keeps the episodes' seeds of two
    recordings apart.
    """
    rows: list[tuple] = []
    successes: list[bool] = []
    while len(rows) < transitions:
        observation, _ = env.reset(seed=training_seed(seed, part, 0, len(successes)))
        terminated = truncated = False
        while not (terminated or truncated):
            action = act(observation)
            following, reward, terminated, truncated, info = env.step(action)
            rows.append((observation, action, reward, following, terminated, truncated and not terminated))
            observation = following
        successes.append(bool(success_of(info)))
    columns = zip(*rows, strict=True)
    arrays = {
        name: np.array(column, dtype) for (name, dtype), column in zip(ARRAYS.items(), columns, strict=True)
    }
    return arrays | {"success": np.array(successes)}


def grasp(path: Path, transitions: int, seed: int) -> None:
    """Whole episodes of uniformly random actions, then as many transitions of envs/expert.py's, without
    noise.
    """
    env = make_env(EnvConfig(GRASP))
    generator, expert = np.random.default_rng(seed), Expert(env)
    size = env.action_space.shape[0]
    parts = {
        "random": record(
            env, lambda _: generator.uniform(-1, 1, size).astype(np.float32), transitions // 2, seed, 0
        ),
        "expert": record(env, lambda _: expert.act(), transitions // 2, seed, 1),
    }
    env.close()
    names = parts["random"].keys()
    arrays = {name: np.concatenate([part[name] for part in parts.values()]) for name in names}
    save(
        path,
        arrays,
        {"env": {"env": GRASP}, "policy": "half uniformly random, half scripted expert", "seed": seed},
    )
    for name, part in parts.items():
        ends = int((part["terminated"] | part["truncated"]).sum())
        print(f"{name}: {len(part['reward'])} transitions, {ends} episodes, {int(part['terminated'].sum())} terminated, "
              f"success {part['success'].mean():.0%}, mean reward {part['reward'].mean():.3f}")  # fmt: skip


def pendulum(path: Path, episodes: int, seed: int) -> None:
    """The replay of one SAC run of ``episodes`` episodes with one worker, by the package's own converter."""
    from sac_dist.formats import files

    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        flags = [
            "--train",
            "--env",
            "Pendulum-v1",
            "--episodes",
            str(episodes),
            "--workers",
            "1",
            "--seed",
            str(seed),
            "--run-dir",
            run,
        ]
        subprocess.run([sys.executable, "-m", "sac_dist", *flags, "--eval-interval", "0"], check=True)
        demonstrations = files.read(run)
    demonstrations = replace(demonstrations, reward=(demonstrations.reward + 8) / 8)
    files.write(demonstrations, str(path))
    print(
        f"{len(demonstrations)} transitions, {len(demonstrations.ends)} episodes, mean return "
        f"{demonstrations.returns.mean():.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("grasp", "pendulum"))
    parser.add_argument("path", type=Path)
    parser.add_argument(
        "--transitions", type=int, default=20_000, help="of the grasp's two halves together (default 20000)"
    )
    parser.add_argument("--episodes", type=int, default=100, help="of the Pendulum's SAC run (default 100)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.task == "grasp":
        grasp(arguments.path, arguments.transitions, arguments.seed)
    else:
        pendulum(arguments.path, arguments.episodes, arguments.seed)


if __name__ == "__main__":
    main()
