"""DrQ-v2 (Yarats et al., arXiv:2107.09645) as a side of cameras.py, written after the paper: its own code
wants an old mujoco and dm_control.

The paper's: DDPG with clipped double Q and returns of 3 steps; an encoder of four 3 x 3 convolutions of 32
channels that the critics' loss trains, and for actor and critics a layer to 50 numbers and two layers of
1024; pictures shifted by up to 4 pixels; a noise that falls from 1 to 0.1; an update of 256 transitions to
two steps, Adam with 1e-4; a replay that stores each picture once. Other than there the arm's own numbers
stand beside the 50, one picture is seen and not three (velocities are among the numbers), an action is not
repeated, and the noise falls over NOISE_STEPS: the paper's 100,000 frames and more are not seen here.
"""

import copy
import itertools

import numpy as np
import torch
from peers import camera_task
from torch import Tensor, nn
from torch.nn import functional

BATCH = 256
N_STEP = 3
UPDATE_EVERY = 2  # environment steps
LEARNING_RATE = 1e-4
TAU = 0.01
SHIFT = 4  # pixels
NOISE, NOISE_STEPS, NOISE_CLIP = (1.0, 0.1), 10_000, 0.3
CHANNELS, TRUNK, WIDTH = 32, 50, 1024


class Replay:
    """A ring of slots: each holds what was observed and the transition that begins there. The last of an
    episode begins none.
    """

    def __init__(self, transitions: int, observation: dict[str, np.ndarray], actions: int) -> None:
        self.slots = transitions * 31 // 30 + 1  # episodes of 30 steps observe 31 times
        self.frames = np.zeros((self.slots, *observation["wrist"].shape), np.uint8)
        self.states = np.zeros((self.slots, *observation["state"].shape), np.float32)
        self.actions = np.zeros((self.slots, actions), np.float32)
        self.rewards = np.zeros(self.slots, np.float32)
        self.terminated, self.last = np.zeros((2, self.slots), bool)
        self.written = 0
        arrays = self.frames, self.states, self.actions, self.rewards, self.terminated, self.last
        self.mib = camera_task.mib(*arrays) * 100_000 / transitions

    def put(
        self,
        observation: dict[str, np.ndarray],
        action: np.ndarray | None = None,
        reward: float = 0.0,
        terminated: bool = False,
    ) -> None:
        """Without an action: the last of an episode."""
        slot = self.written % self.slots
        self.frames[slot], self.states[slot] = observation["wrist"], observation["state"]
        self.actions[slot], self.rewards[slot] = 0.0 if action is None else action, reward
        self.terminated[slot], self.last[slot] = terminated, action is None
        self.written += 1

    def sample(self, random: np.random.Generator) -> tuple[Tensor, ...]:
        """frames, states, actions, returns of N_STEP steps, the discount after them, frames, states."""
        newest = self.written - 1  # what follows it is not known yet
        drawn = random.integers(max(0, self.written - self.slots), newest, 3 * BATCH)
        first = drawn[~self.last[drawn % self.slots]][:BATCH]
        at = first.copy()
        returns, discount = np.zeros(len(first), np.float32), np.ones(len(first), np.float32)
        for _ in range(N_STEP):
            slot = at % self.slots
            goes = (at < newest) & ~self.last[slot]
            returns += goes * discount * self.rewards[slot]
            discount *= np.where(goes, camera_task.DISCOUNT * ~self.terminated[slot], 1.0)
            at += goes
        then, first = at % self.slots, first % self.slots
        now = self.frames[first], self.states[first], self.actions[first], returns
        return tuple(map(torch.from_numpy, (*now, discount, self.frames[then], self.states[then])))


def layers(*sizes: int) -> list[nn.Module]:
    """Linear layers with ReLU between."""
    linear = itertools.starmap(nn.Linear, itertools.pairwise(sizes))
    return [part for layer in linear for part in (layer, nn.ReLU())][:-1]


def orthogonal(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.orthogonal_(module.weight, 2**0.5 if isinstance(module, nn.Conv2d) else 1.0)
        nn.init.zeros_(module.bias)


class Encoder(nn.Sequential):
    def __init__(self) -> None:
        pairs = [(nn.Conv2d(CHANNELS if i else 3, CHANNELS, 3, 1 if i else 2), nn.ReLU()) for i in range(4)]
        super().__init__(*itertools.chain(*pairs), nn.Flatten())

    def forward(self, frames: Tensor) -> Tensor:
        """(B, features) of (B, H, W, 3) uint8."""
        return super().forward(frames.permute(0, 3, 1, 2).float() / 255 - 0.5)


class Head(nn.Module):
    """``count`` networks behind one layer that makes features small; numbers stand beside those."""

    def __init__(self, features: int, numbers: int, outputs: int, count: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(features, TRUNK), nn.LayerNorm(TRUNK), nn.Tanh())
        sizes = TRUNK + numbers, WIDTH, WIDTH, outputs
        self.networks = nn.ModuleList([nn.Sequential(*layers(*sizes)) for _ in range(count)])

    def forward(self, features: Tensor, *numbers: Tensor) -> list[Tensor]:
        seen = torch.cat([self.trunk(features), *numbers], dim=1)
        return [network(seen) for network in self.networks]


class Agent:
    def __init__(self, frame: np.ndarray, states: int, actions: int) -> None:
        self.encoder = Encoder()
        features = self.encoder(torch.from_numpy(frame)[None]).shape[1]
        self.actor = Head(features, states, actions, 1)
        self.critic = Head(features, states + actions, 1, 2)
        for network in (self.encoder, self.actor, self.critic):
            network.apply(orthogonal)
        self.target = copy.deepcopy(self.critic)
        critics = [*self.encoder.parameters(), *self.critic.parameters()]
        self.critic_step = torch.optim.Adam(critics, LEARNING_RATE)
        self.actor_step = torch.optim.Adam(self.actor.parameters(), LEARNING_RATE)

    @torch.no_grad()
    def act(self, observation: dict[str, np.ndarray], noise: float = 0.0) -> np.ndarray:
        features = self.encoder(torch.from_numpy(observation["wrist"])[None])
        mean = self.mean(features, torch.from_numpy(observation["state"])[None])
        return (mean + noise * torch.randn_like(mean)).clamp(-1, 1)[0].numpy()

    def mean(self, features: Tensor, states: Tensor) -> Tensor:
        return torch.tanh(self.actor(features, states)[0])

    def noisy(self, features: Tensor, states: Tensor, noise: float) -> Tensor:
        """Actions with clipped noise; at their limits the gradient passes."""
        mean = self.mean(features, states)
        action = mean + (noise * torch.randn_like(mean)).clamp(-NOISE_CLIP, NOISE_CLIP)
        return action + (action.clamp(-1, 1) - action).detach()

    def update(self, batch: tuple[Tensor, ...], noise: float) -> None:
        frames, states, actions, returns, discount, next_frames, next_states = batch
        features = self.encoder(shifted(frames))
        with torch.no_grad():
            following = self.encoder(shifted(next_frames))
            next_actions = self.noisy(following, next_states, noise)
            value = torch.minimum(*self.target(following, next_states, next_actions))
            target = returns[:, None] + discount[:, None] * value
        loss = sum(functional.mse_loss(q, target) for q in self.critic(features, states, actions))
        self.critic_step.zero_grad()
        loss.backward()
        self.critic_step.step()
        features = features.detach()
        value = torch.minimum(*self.critic(features, states, self.noisy(features, states, noise)))
        self.actor_step.zero_grad()
        (-value.mean()).backward()
        self.actor_step.step()
        with torch.no_grad():
            for slow, new in zip(self.target.parameters(), self.critic.parameters(), strict=True):
                slow.lerp_(new, TAU)


def shifted(frames: Tensor) -> Tensor:
    """(B, H, W, 3) each moved by up to SHIFT pixels, their borders repeated."""
    count, height, width, _ = frames.shape
    up, left = torch.randint(-SHIFT, SHIFT + 1, (2, count, 1))
    rows = (torch.arange(height) + up).clamp(0, height - 1)
    columns = (torch.arange(width) + left).clamp(0, width - 1)
    return frames[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def main() -> None:
    given = camera_task.arguments(__doc__)
    torch.set_num_threads(camera_task.THREADS)
    torch.manual_seed(given.seed)
    random, env = np.random.default_rng(given.seed), camera_task.make()
    env.action_space.seed(given.seed)
    observation, actions = env.reset(seed=given.seed)[0], env.action_space.shape[0]
    agent = Agent(observation["wrist"], len(observation["state"]), actions)
    replay = Replay(camera_task.BUFFER, observation, actions)
    measured, steps = camera_task.Measured(given, agent.act, {"default": replay.mib}), 0
    while measured.goes_on(steps):
        noise = float(np.interp(steps, (0, NOISE_STEPS), NOISE))
        action = agent.act(observation, noise) if steps >= camera_task.WARM_UP else env.action_space.sample()
        following, reward, terminated, truncated, _ = env.step(action)
        replay.put(observation, action, float(reward), terminated)
        observation = following
        if terminated or truncated:
            replay.put(observation)
            observation = env.reset()[0]
        steps += 1
        if steps > camera_task.WARM_UP and steps % UPDATE_EVERY == 0:
            agent.update(replay.sample(random), noise)


if __name__ == "__main__":
    main()
