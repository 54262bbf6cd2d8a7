"""Data sets for the offline benchmarks, as .npz files of Transitions' arrays (see
sac_dist/data/transitions.py).

    python benchmarks/make_offline_data.py grasp grasp-mixed.npz       half random actions, half the scripted expert's
    python benchmarks/make_offline_data.py replay grasp-replay.npz     everything a SAC agent met until it was half good
    python benchmarks/make_offline_data.py human grasp-human.npz       the expert with a hand's noise, pauses and drift
    python benchmarks/make_offline_data.py pendulum pendulum.npz       everything a SAC agent met in its first 100 episodes,
                                                                       its rewards as (r + 8) / 8, as the chapter learns from them

No episode has a seed of evaluation.evaluation_seed: those lie above episode.TRAINING_SEEDS, all training
seeds below.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
from offline_common import ARRAYS, save

from envs.tasks.expert import Expert
from sac_dist import EnvConfig, make_env
from sac_dist.acting.episode import success_of, training_seed
from sac_dist.data.transitions import Transitions
from sac_dist.formats import files

GRASP = "SawyerGrasp-v0"


def record(
    env,
    act: Callable[[np.ndarray], np.ndarray],
    transitions: int,
    seed: int,
    part: int,
    reset: Callable[[], None] = lambda: None,
) -> dict[str, np.ndarray]:
    """Whole episodes until there are at least ``transitions``; ``part`` keeps the episodes' seeds of two
    recordings apart, ``reset`` is called before each.
    """
    rows: list[tuple] = []
    successes: list[bool] = []
    while len(rows) < transitions:
        observation, _ = env.reset(seed=training_seed(seed, part, 0, len(successes)))
        reset()
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


class Hand:
    """Somebody who steers the arm as the scripted expert would, but not as well.

    He is slow (each episode has a gain in 0.6 … 1), stops for some steps now and then, and errs: by noise at
    each step and by a drift that wanders (an Ornstein-Uhlenbeck process).
    """

    PAUSE, PAUSES = 0.05, 3  # the chance that one begins at a step, and its steps at most
    NOISE, DRIFT, BACK = 0.1, 0.06, 0.2  # σ at each step, and of the drift, whose share BACK goes back

    def __init__(self, env: gymnasium.Env, seed: int) -> None:
        self.expert, self.generator = Expert(env), np.random.default_rng(seed)
        self.size = env.action_space.shape[0]

    def reset(self) -> None:
        self.gain = self.generator.uniform(0.6, 1.0)
        self.drift, self.pause = np.zeros(self.size), 0

    def act(self) -> np.ndarray:
        generator = self.generator
        self.drift += -self.BACK * self.drift + self.DRIFT * generator.normal(size=self.size)
        if self.pause == 0 and generator.random() < self.PAUSE:
            self.pause = int(generator.integers(1, self.PAUSES + 1))
        wanted = self.gain * self.expert.act()
        if self.pause:
            self.pause -= 1
            wanted = np.zeros(self.size)
        noisy = wanted + self.drift + self.NOISE * generator.normal(size=self.size)
        return np.clip(noisy, -1, 1).astype(np.float32)


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
    keep(path, parts, "half uniformly random, half scripted expert", seed)


def human(path: Path, transitions: int, seed: int) -> None:
    """Whole episodes of a Hand."""
    env = make_env(EnvConfig(GRASP))
    hand = Hand(env, seed)
    part = record(env, lambda _: hand.act(), transitions, seed, 2, hand.reset)
    env.close()
    keep(path, {"hand": part}, "scripted expert with noise, pauses and drift", seed)


def keep(path: Path, parts: dict[str, dict[str, np.ndarray]], policy: str, seed: int) -> None:
    """Write ``parts``, one after the other, and say what is in each."""
    names = next(iter(parts.values())).keys()
    arrays = {name: np.concatenate([part[name] for part in parts.values()]) for name in names}
    save(path, arrays, {"env": {"env": GRASP}, "policy": policy, "seed": seed})
    for name, part in parts.items():
        ends = int((part["terminated"] | part["truncated"]).sum())
        print(f"{name}: {len(part['reward'])} transitions, {ends} episodes, {int(part['terminated'].sum())} terminated, "
              f"success {part['success'].mean():.0%}, mean reward {part['reward'].mean():.3f}")  # fmt: skip


def replay_of(env: str, seed: int, *flags: str) -> Transitions:
    """What one SAC run with one worker met, by the package's own reader."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["--train", "--env", env, "--workers", "1", "--no-tuned", "--seed", str(seed), *flags]
        command += ["--eval-interval", "0", "--no-video", "--run-dir", f"{folder}/run"]
        subprocess.run([sys.executable, "-m", "sac_dist", *command], check=True)
        return files.read(f"{folder}/run")


def replay(path: Path, steps: int, seed: int) -> None:
    """The replay of SAC on the grasp up to a policy of medium quality."""
    transitions = replay_of(GRASP, seed, "--steps", str(steps))
    files.write(transitions, str(path))
    last = transitions.ends[len(transitions.ends) * 9 // 10 :] - 1
    print(
        f"{len(transitions)} transitions, {len(transitions.ends)} episodes, of the last tenth "
        f"{transitions.rows[last][:, transitions.schema.columns['terminated']].mean():.0%} terminated"
    )


def pendulum(path: Path, episodes: int, seed: int) -> None:
    """The replay of one SAC run of ``episodes`` episodes, its rewards scaled."""
    transitions = replay_of("Pendulum-v1", seed, "--episodes", str(episodes))
    rewards = transitions.rows[:, transitions.schema.columns["reward"]]
    rewards[:] = (rewards + 8) / 8
    files.write(transitions, str(path))
    print(
        f"{len(transitions)} transitions, {len(transitions.ends)} episodes, mean return "
        f"{transitions.returns.mean():.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("grasp", "replay", "human", "pendulum"))
    parser.add_argument("path", type=Path)
    parser.add_argument(
        "--transitions",
        type=int,
        default=20_000,
        help="of grasp (its halves together) and human (default 20000)",
    )
    parser.add_argument("--steps", type=int, default=6000, help="of replay's SAC run (default 6000)")
    parser.add_argument("--episodes", type=int, default=100, help="of the Pendulum's SAC run (default 100)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make, size = {
        "grasp": (grasp, arguments.transitions),
        "replay": (replay, arguments.steps),
        "human": (human, arguments.transitions),
        "pendulum": (pendulum, arguments.episodes),
    }[arguments.task]
    make(arguments.path, size, arguments.seed)


if __name__ == "__main__":
    main()
