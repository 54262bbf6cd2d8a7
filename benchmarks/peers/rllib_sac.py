"""RLlib's SAC (its new API stack, everything in one process) as a side of time_to_success.py.

RLlib's own critic has a network for observations, one for actions and one that joins them; Catalog gives it
the plain network of the other sides. What differs and cannot be set: the loss of its critics is Huber's, the
warm-up acts with the untrained policy, not uniformly, and Adam's ε is 1e-7. The replay buffer is the uniform
one, not RLlib's default with priorities. RLlib's own deterministic action leaves the tanh out; the snapshots'
has it.
"""

import torch
from peers import common
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.algorithms.sac.sac_catalog import SACCatalog
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.base import ENCODER_OUT
from ray.rllib.core.models.configs import MLPEncoderConfig
from ray.rllib.core.models.torch.encoder import TorchMLPEncoder
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec


class Joined(TorchMLPEncoder):
    """A multilayer perceptron of observation and action."""

    def _forward(self, inputs, **kwargs):
        return {ENCODER_OUT: self.net(torch.cat([inputs[Columns.OBS], inputs[Columns.ACTIONS]], dim=-1))}


class Catalog(SACCatalog):
    def _build_qf_encoder_continuous(self, framework):
        sizes = (self.observation_space.shape[0] + self.action_space.shape[0],)
        return Joined(
            MLPEncoderConfig(
                input_dims=sizes,
                hidden_layer_dims=common.HIDDEN[:-1],
                hidden_layer_activation="relu",
                output_layer_dim=common.HIDDEN[-1],
                output_layer_activation="relu",
            )
        )


def configuration(envs: int, seed: int) -> SACConfig:
    """One update per environment step: a round takes a step of each environment, and gives as many updates."""
    config = SACConfig()
    config.environment(common.ENV)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=envs, rollout_fragment_length=1)
    config.learners(num_learners=0)
    config.rl_module(
        rl_module_spec=RLModuleSpec(catalog_class=Catalog),
        model_config=DefaultModelConfig(
            fcnet_hiddens=common.HIDDEN, fcnet_activation="relu", head_fcnet_hiddens=[]
        ),
    )
    config.training(
        twin_q=True,
        gamma=common.DISCOUNT,
        tau=common.TAU,
        actor_lr=common.LEARNING_RATE,
        critic_lr=common.LEARNING_RATE,
        alpha_lr=common.LEARNING_RATE,
        initial_alpha=common.ALPHA,
        target_entropy=common.TARGET_ENTROPY,
        train_batch_size_per_learner=common.BATCH,
        training_intensity=common.BATCH,
        target_network_update_freq=0,
        num_steps_sampled_before_learning_starts=common.WARM_UP,
        replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": common.BUFFER},
    )
    config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=common.EVERY)
    config.debugging(seed=seed)
    return config


def main() -> None:
    arguments = common.arguments(__doc__)
    algorithm = configuration(arguments.envs, arguments.seed).build_algo()
    snapshots, steps = common.Snapshots(arguments.out), 0
    while steps < arguments.steps:
        steps = int(algorithm.train()["env_runners"]["num_env_steps_sampled_lifetime"])
        if snapshots.due(steps):
            module = algorithm.get_module()
            linear = [
                m
                for part in (module.pi_encoder, module.pi)
                for m in part.modules()
                if isinstance(m, torch.nn.Linear)
            ]
            arrays = [(m.weight.detach().numpy().T, m.bias.detach().numpy()) for m in linear]
            actions = algorithm.env_runner.env.single_action_space.shape[0]
            arrays[-1] = tuple(array[..., :actions] for array in arrays[-1])  # the others are log σ
            snapshots.write(steps, arrays)
    algorithm.stop()


if __name__ == "__main__":
    main()
