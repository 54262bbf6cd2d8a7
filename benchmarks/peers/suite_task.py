"""Stable-Baselines3's SAC, or SBX's, as a side of suites.py: their defaults on a task of somebody else's
suite, and with --her SB3's HerReplayBuffer with the sizes and step sizes of sac_dist's preset goals for
Fetch.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

FIRST_SEED = 2**30  # sac_dist's evaluation episodes count up from it; training's seeds are below
# 0.8 of each batch with another goal; else as sac_dist/settings/tuned/gymnasium_robotics+FetchPush-v4.yaml
HER = {
    **{"learning_rate": 1e-3, "gamma": 0.95, "tau": 0.05, "batch_size": 256, "learning_starts": 300},
    **{"ent_coef": "auto_0.1", "policy_kwargs": {"net_arch": [256, 256]}},
}


def made(given: argparse.Namespace) -> gymnasium.Env:
    env = gymnasium.make(given.env, **given.env_kwargs)
    flat = given.her or isinstance(env.observation_space, gymnasium.spaces.Box)
    return env if flat else gymnasium.wrappers.FlattenObservation(env)


class Measured(BaseCallback):
    """Evaluations of the mean policy, in a file. Its clock begins with the training and stands still while it
    evaluates.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        super().__init__()
        self.given, self.env = given, made(given)
        self.found: list[Any] = []  # [steps, s, mean return, success rate]
        self.next = given.every

    def _on_training_start(self) -> None:
        self.began = time.monotonic()

    def _on_step(self) -> bool:
        seconds = time.monotonic() - self.began
        over = seconds >= self.given.budget or self.num_timesteps >= self.given.steps
        if self.num_timesteps < self.next and not over:
            return True
        episodes = self.given.last_episodes if over else self.given.episodes
        played = [self._episode(FIRST_SEED + index) for index in range(episodes)]
        means = [float(np.mean(each)) for each in zip(*played, strict=True)]
        self.found.append([self.num_timesteps, round(seconds, 1), *means])
        self.given.out.write_text(json.dumps(self.found))
        print(*self.found[-1], flush=True)
        self.next += self.given.every
        self.began = time.monotonic() - seconds
        return not over and means[1] < self.given.target

    def _episode(self, seed: int) -> tuple[float, bool]:
        observation, total, success, over = self.env.reset(seed=seed)[0], 0.0, False, False
        while not over:
            action = self.model.predict(observation, deterministic=True)[0]
            observation, reward, terminated, truncated, info = self.env.step(action)
            total, over = total + float(reward), terminated or truncated
            success = bool(info.get("is_success", success or info.get("success", False)))
        return total, success


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=["sb3", "sbx"], required=True)
    parser.add_argument("--env", required=True)
    parser.add_argument("--env-kwargs", type=json.loads, default={})
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--every", type=int, required=True)
    parser.add_argument("--episodes", type=int, required=True)
    parser.add_argument("--last-episodes", type=int, help="of the last evaluation; default: --episodes")
    parser.add_argument("--budget", type=float, required=True, help="seconds of training")
    parser.add_argument("--target", type=float, required=True, help="success rate that ends the run")
    parser.add_argument("--threads", type=int, required=True, help="of torch")
    parser.add_argument("--her", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.last_episodes = given.last_episodes or given.episodes
    torch.set_num_threads(given.threads)
    options: dict[str, Any] = {"device": "cpu"} if given.side == "sb3" else {}
    if given.side == "sb3":
        from stable_baselines3 import SAC
    else:
        from sbx import SAC
    if given.her:
        from stable_baselines3 import HerReplayBuffer

        options |= HER | {
            "replay_buffer_class": HerReplayBuffer,
            "replay_buffer_kwargs": {"n_sampled_goal": 4, "goal_selection_strategy": "future"},
        }
    policy = "MultiInputPolicy" if given.her else "MlpPolicy"
    SAC(policy, made(given), seed=given.seed, **options).learn(10**9, Measured(given))


if __name__ == "__main__":
    main()
