"""SBX's SAC (Stable-Baselines3 in JAX) as a side of time_to_success.py.

With --envs above 1 each environment has a process (SubprocVecEnv) and a step of all of them is followed by as
many updates, in one compiled loop. Everything else that common.py does not name is SBX's default.
"""

import numpy as np
from peers import common
from sbx import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv


class Keep(BaseCallback):
    def __init__(self, snapshots: common.Snapshots) -> None:
        super().__init__()
        self.snapshots = snapshots

    def _on_step(self) -> bool:
        if self.snapshots.due(self.num_timesteps):
            layers = self.model.policy.actor_state.params["params"]
            names = [f"Dense_{i}" for i in range(len(common.HIDDEN) + 1)]  # the next one is log σ
            self.snapshots.write(
                self.num_timesteps,
                [(np.asarray(layers[name]["kernel"]), np.asarray(layers[name]["bias"])) for name in names],
            )
        return True


def main() -> None:
    arguments = common.arguments(__doc__)
    env = make_vec_env(
        common.ENV,
        arguments.envs,
        arguments.seed,
        vec_env_cls=DummyVecEnv if arguments.envs == 1 else SubprocVecEnv,
    )
    model = SAC(
        "MlpPolicy",
        env,
        learning_rate=common.LEARNING_RATE,
        qf_learning_rate=common.LEARNING_RATE,
        buffer_size=common.BUFFER,
        learning_starts=common.WARM_UP,
        batch_size=common.BATCH,
        tau=common.TAU,
        gamma=common.DISCOUNT,
        **common.frequency(arguments.envs),
        ent_coef=f"auto_{common.ALPHA}",
        target_entropy=common.TARGET_ENTROPY,
        policy_kwargs={"net_arch": common.HIDDEN, "layer_norm": common.LAYER_NORM},
        seed=arguments.seed,
    )
    model.learn(arguments.steps, Keep(common.Snapshots(arguments.out)))
    env.close()


if __name__ == "__main__":
    main()
