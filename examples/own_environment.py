"""An environment of your own: the README's, run as `python examples/own_environment.py`."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from sac_dist import Config, EnvConfig, TrainConfig, train


class Reach(gymnasium.Env):
    observation_space = Box(-2, 2, (4,), np.float32)
    action_space = Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.hand, self.goal = self.np_random.uniform(-1, 1, (2, 2))
        return self.observation(), {}

    def step(self, action):
        self.hand = np.clip(self.hand + 0.1 * action, -2, 2)
        distance = float(np.linalg.norm(self.hand - self.goal))
        return self.observation(), -distance, distance < 0.1, False, {"success": distance < 0.1}

    def observation(self):
        return np.concatenate([self.hand, self.goal]).astype(np.float32)


if __name__ == "__main__":  # train starts processes, which import this file
    run = train(Config(EnvConfig(Reach, horizon=50), train=TrainConfig(steps=10_000)))
    print(run.folder.best, run.outcome.evaluation)
