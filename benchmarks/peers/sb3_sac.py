"""Stable-Baselines3's SAC as a side of time_to_success.py.

With --envs above 1 each environment has a process (SubprocVecEnv) and a step of all of them is followed by
several updates. SB3's critics
have no layer normalisation to switch on: NormedPolicy gives them its own networks with one. Everything else
    that common.py does not name is
SB3's default.
"""

import torch
from peers import common
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import create_mlp
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv
from stable_baselines3.sac.policies import SACPolicy


class NormedCritic(ContinuousCritic):
    def __init__(self, *arguments, **keywords) -> None:
        super().__init__(*arguments, **keywords)
        inputs = self.q_networks[0][0].in_features
        layers = [
            create_mlp(inputs, 1, common.HIDDEN, post_linear_modules=[torch.nn.LayerNorm])
            for _ in self.q_networks
        ]
        self.q_networks = [torch.nn.Sequential(*each) for each in layers]
        for i, network in enumerate(self.q_networks):
            setattr(self, f"qf{i}", network)


class NormedPolicy(SACPolicy):
    def make_critic(self, features_extractor=None) -> ContinuousCritic:
        return NormedCritic(**self._update_features_extractor(self.critic_kwargs, features_extractor)).to(
            self.device
        )


class Keep(BaseCallback):
    def __init__(self, snapshots: common.Snapshots) -> None:
        super().__init__()
        self.snapshots = snapshots

    def _on_step(self) -> bool:
        if self.snapshots.due(self.num_timesteps):
            actor = self.model.actor
            linear = [
                module for module in (*actor.latent_pi, actor.mu) if isinstance(module, torch.nn.Linear)
            ]
            self.snapshots.write(
                self.num_timesteps, [(m.weight.detach().numpy().T, m.bias.detach().numpy()) for m in linear]
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
        NormedPolicy if common.LAYER_NORM else "MlpPolicy",
        env,
        learning_rate=common.LEARNING_RATE,
        buffer_size=common.BUFFER,
        learning_starts=common.WARM_UP,
        batch_size=common.BATCH,
        tau=common.TAU,
        gamma=common.DISCOUNT,
        **common.frequency(arguments.envs),
        ent_coef=f"auto_{common.ALPHA}",
        target_entropy=common.TARGET_ENTROPY,
        policy_kwargs={"net_arch": common.HIDDEN, "activation_fn": torch.nn.ReLU},
        seed=arguments.seed,
        device="cpu",
    )
    model.learn(arguments.steps, Keep(common.Snapshots(arguments.out)))
    env.close()


if __name__ == "__main__":
    main()
