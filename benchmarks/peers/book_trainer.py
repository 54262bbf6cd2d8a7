"""The trainer of "Deep Reinforcement Learning", chapter 16 (sac_learn.py), written anew, as a side of
time_to_success.py.

As there: a BaseManager's process keeps the replay buffer, a Python list, and workers push and sample through
    its proxy, so that every
transition and every batch is pickled; the networks and Adam's moments lie in shared memory; each worker steps
its own environment and makes one update after each step, without a lock. Unlike there the mathematics is
SAC's as published, the networks are the other sides', and a worker has one torch thread: with more, the
workers are slower. --envs is the number of workers.
"""

import copy
import math
import multiprocessing
import random
import time
from itertools import pairwise
from multiprocessing.managers import BaseManager
from typing import Any

import gymnasium
import numpy as np
import torch
from peers import common
from torch import nn
from torch.nn.functional import mse_loss, softplus

BUFFER = 100_000  # transitions; a list of arrays takes several times their bytes


class ReplayBuffer:
    def __init__(self, capacity: int) -> None:
        self.capacity, self.position, self.buffer = capacity, 0, []

    def push(self, *transition: Any) -> None:
        if len(self.buffer) < self.capacity:
            self.buffer.append(transition)
        else:
            self.buffer[self.position] = transition
        self.position = (self.position + 1) % self.capacity

    def sample(self, batch_size: int) -> list[np.ndarray]:
        return [np.stack(column) for column in zip(*random.sample(self.buffer, batch_size), strict=True)]


class Manager(BaseManager):
    pass


Manager.register("ReplayBuffer", ReplayBuffer)


class SharedAdam(torch.optim.Adam):
    """Adam whose moments and step counts all workers share."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, lr=common.LEARNING_RATE)
        for p in self.param_groups[0]["params"]:
            state = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(p),
                "exp_avg_sq": torch.zeros_like(p),
            }
            self.state[p] = {name: tensor.share_memory_() for name, tensor in state.items()}


def network(inputs: int, outputs: int) -> nn.Sequential:
    sizes = [inputs, *common.HIDDEN]
    layers = [module for pair in pairwise(sizes) for module in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs)).share_memory()


class Agent:
    """SAC (arXiv:1812.05905) on shared networks."""

    def __init__(self, observations: int, actions: int) -> None:
        self.policy = network(observations, 2 * actions)
        self.critics = [network(observations + actions, 1) for _ in range(2)]
        self.targets = copy.deepcopy(self.critics)
        for target in self.targets:
            target.share_memory()
        self.log_alpha = torch.full((), math.log(common.ALPHA)).share_memory_().requires_grad_()
        self.policy_adam = SharedAdam(self.policy.parameters())
        self.critic_adam = SharedAdam([p for critic in self.critics for p in critic.parameters()])
        self.alpha_adam = SharedAdam([self.log_alpha])

    def sample(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Action (B, A) and log density (B,)."""
        mean, log_std = self.policy(observation).chunk(2, dim=-1)
        normal = torch.distributions.Normal(mean, log_std.clamp(-20, 2).exp())
        u = normal.rsample()
        log_derivative = 2 * (math.log(2) - u - softplus(-2 * u))
        return u.tanh(), (normal.log_prob(u) - log_derivative).sum(-1)

    @torch.no_grad()
    def act(self, observation: np.ndarray) -> np.ndarray:
        return self.sample(torch.from_numpy(observation))[0].numpy()

    @staticmethod
    def least(critics: list[nn.Sequential], observation: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        x = torch.cat([observation, action], dim=-1)
        return torch.minimum(critics[0](x), critics[1](x)).squeeze(-1)

    def update(self, batch: list[np.ndarray]) -> None:
        observation, action, reward, following, terminated = (
            torch.from_numpy(np.asarray(column, np.float32)) for column in batch
        )
        alpha = self.log_alpha.exp().detach()
        with torch.no_grad():
            next_action, log_density = self.sample(following)
            value = self.least(self.targets, following, next_action) - alpha * log_density
            target = reward + common.DISCOUNT * (1 - terminated) * value
        x = torch.cat([observation, action], dim=-1)
        self.step(self.critic_adam, sum(mse_loss(critic(x).squeeze(-1), target) for critic in self.critics))
        action, log_density = self.sample(observation)
        self.step(
            self.policy_adam, (alpha * log_density - self.least(self.critics, observation, action)).mean()
        )
        self.step(
            self.alpha_adam, -(self.log_alpha.exp() * (log_density.detach() + common.TARGET_ENTROPY)).mean()
        )
        with torch.no_grad():
            for critic, target_critic in zip(self.critics, self.targets, strict=True):
                for p, target_p in zip(critic.parameters(), target_critic.parameters(), strict=True):
                    target_p.lerp_(p, common.TAU)

    @staticmethod
    def step(adam: SharedAdam, loss: torch.Tensor) -> None:
        adam.zero_grad()
        loss.backward()
        adam.step()


def work(seed: int, steps: int, agent: Agent, buffer: Any, counter: Any) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    env = gymnasium.make(common.ENV)
    env.action_space.seed(seed)
    observation, _ = env.reset(seed=seed)
    while True:
        with counter.get_lock():
            if counter.value >= steps:
                break
            counter.value += 1
            step = counter.value
        observation = np.asarray(observation, np.float32)
        action = env.action_space.sample() if step <= common.WARM_UP else agent.act(observation)
        following, reward, terminated, truncated, _ = env.step(action)
        buffer.push(observation, action, reward, following, terminated)
        if step > common.WARM_UP:
            agent.update(buffer.sample(common.BATCH))
        observation = env.reset()[0] if terminated or truncated else following
    env.close()


def main() -> None:
    arguments = common.arguments(__doc__)
    context = multiprocessing.get_context("fork")
    manager = Manager(ctx=context)
    manager.start()
    buffer = manager.ReplayBuffer(BUFFER)
    torch.manual_seed(arguments.seed)
    env = gymnasium.make(common.ENV)
    agent = Agent(env.observation_space.shape[0], actions := env.action_space.shape[0])
    counter = context.Value("q", 0)
    shared = arguments.steps, agent, buffer, counter
    workers = [
        context.Process(target=work, args=(1000 * arguments.seed + i, *shared)) for i in range(arguments.envs)
    ]
    for worker in workers:
        worker.start()
    snapshots = common.Snapshots(arguments.out)
    while any(worker.is_alive() for worker in workers):
        time.sleep(0.02)
        if snapshots.due(steps := counter.value):
            arrays = [
                (m.weight.detach().numpy().T, m.bias.detach().numpy())
                for m in agent.policy
                if isinstance(m, nn.Linear)
            ]
            arrays[-1] = tuple(array[..., :actions] for array in arrays[-1])  # the others are log σ
            snapshots.write(steps, arrays)
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a worker failed")


if __name__ == "__main__":
    main()
