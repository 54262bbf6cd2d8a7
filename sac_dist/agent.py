"""Soft Actor-Critic over one flat float32 vector, so that processes can share it and train it together (Hogwild)."""

from __future__ import annotations

import math
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sac_dist import losses
from sac_dist.config import AgentConfig, ConfigError
from sac_dist.networks import LOG_STD_MAX, LOG_STD_MIN, GaussianPolicy, Network, QEnsemble, sample_action
from sac_dist.shared import SharedArray
from sac_dist.types import Batch

ALIGNMENT = 16  # floats: each vector starts on a cache line of its own


class Trained(NamedTuple):
    """Parameters and the state of their Adam: views into the agent's memory. ``step`` is a 0-d float so that it is shared too."""

    parameters: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: Tensor


def adam_step(trained: Trained, gradient: Tensor, lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
    """One step of Adam (arXiv:1412.6980, algorithm 1), in place; equal to torch.optim.Adam with its defaults.

    Inductor drops the ``alpha`` of ``add(x, matmul, alpha=…)`` (torch 2.13, pytorch issue 167313), so none is used in here.
    """
    parameters, exp_avg, exp_avg_sq, step = trained
    step.add_(1)
    exp_avg.lerp_(gradient, 1 - beta1)
    exp_avg_sq.lerp_(gradient.square(), 1 - beta2)
    # 1 - βᵗ without its cancellation at small t in float32
    correction1 = -torch.expm1(step * math.log(beta1))
    correction2 = -torch.expm1(step * math.log(beta2))
    denominator = (exp_avg_sq / correction2).sqrt_().add_(eps)
    parameters.sub_(exp_avg * (lr / correction1) / denominator)


def clip_by_norm(gradient: Tensor, largest: float | None) -> tuple[Tensor, Tensor]:
    """The gradient scaled to a norm of at most ``largest`` (as clip_grad_norm_ does), and its norm before."""
    norm = torch.linalg.vector_norm(gradient)
    if largest is not None:
        gradient = gradient * (largest / (norm + 1e-6)).clamp(max=1.0)
    return gradient, norm


class SACAgent:
    """Policy, critics, target critics and temperature with their optimizers.

    ``observation_size`` and ``action_size`` are the lengths of the vectors in a Batch; ``seed`` draws the initial networks and
    then feeds ``generator``, the source of all noise. ``critic_depth`` gives the critics another number of hidden layers than
    ``config.hidden_depth`` (the book's networks differ). Everything lives on the CPU.
    """

    def __init__(self, observation_size: int, action_size: int, config: AgentConfig, seed: int = 0, critic_depth: int | None = None):
        self.config = config
        self.observation_size, self.action_size = observation_size, action_size
        self.target_entropy = -float(action_size) if config.target_entropy is None else config.target_entropy
        depth = config.hidden_depth if critic_depth is None else critic_depth
        self.policy = GaussianPolicy(observation_size, action_size, config.hidden_width, config.hidden_depth)
        self.q = QEnsemble(observation_size, action_size, config.hidden_width, depth, config.critics)
        self.generator = torch.Generator().manual_seed(seed)
        self._shared: SharedArray | None = None
        self._step: Any = self.gradient_step
        self._bind(torch.zeros(self._slots()[1]))
        self.policy.initialise(self.actor.parameters, self.generator)
        self.q.initialise(self.critics.parameters, self.generator)
        self.targets.copy_(self.critics.parameters)
        self.temperature.parameters.fill_(math.log(config.initial_alpha if config.alpha is None else config.alpha))

    # memory

    def _slots(self) -> tuple[dict[str, tuple[int, tuple[int, ...]]], int]:
        """Where each vector lies, name → (offset, shape), and the number of floats in all."""
        shapes: dict[str, tuple[int, ...]] = {"targets": (self.q.size(),)}
        for name, shape in (("policy", (self.policy.size(),)), ("critics", (self.q.size(),)), ("log_alpha", ())):
            shapes |= {name: shape, f"{name}.exp_avg": shape, f"{name}.exp_avg_sq": shape, f"{name}.step": ()}
        slots, end = {}, 0
        for name, shape in shapes.items():
            slots[name] = (end, shape)
            end += math.ceil(math.prod(shape) / ALIGNMENT) * ALIGNMENT
        return slots, end

    def _bind(self, memory: Tensor) -> None:
        """Make every tensor of the agent a view into ``memory``."""
        self._memory = memory
        slots, _ = self._slots()
        self._vectors = {name: memory[start : start + math.prod(shape)].view(shape) for name, (start, shape) in slots.items()}
        self.actor, self.critics, self.temperature = (
            Trained(*(self._vectors[name + part] for part in ("", ".exp_avg", ".exp_avg_sq", ".step")))
            for name in ("policy", "critics", "log_alpha")
        )
        self.targets = self._vectors["targets"]
        layers = [parameter.numpy() for parameter in self.policy.unpack(self.actor.parameters).values()]
        self._layers = [(weight, bias[0]) for weight, bias in zip(layers[::2], layers[1::2], strict=True)]

    def share_memory(self) -> None:
        """Move every tensor into one SharedArray; agents pickled from now on train the same tensors."""
        if self._shared is None:
            self._shared = SharedArray((self._memory.numel(),), np.float32)
            shared = self._shared.tensor()
            shared.copy_(self._memory)
            self._bind(shared)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_vectors", "actor", "critics", "temperature", "targets", "_layers", "_step"):
            del state[name]
        # as bytes: a tensor would be moved to /dev/shm by torch's pickler
        state["_memory"] = self._memory.numpy().copy() if self._shared is None else None
        state["generator"] = self.generator.get_state().numpy()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.generator = torch.Generator()
        self.generator.set_state(torch.from_numpy(state["generator"]))
        self._step = self.gradient_step
        self._bind(torch.from_numpy(state["_memory"]) if self._shared is None else self._shared.tensor())

    # acting

    def act(self, observation: np.ndarray, deterministic: bool = False) -> np.ndarray:
        """An action (action_size,) in [-1, 1], float32, for one ``observation`` (observation_size,).

        ``deterministic`` takes the tanh of the Gaussian's mean; else the noise comes from ``generator``. In numpy: for a single
        row the calls cost more than the arithmetic.
        """
        x = np.asarray(observation, dtype=np.float32)
        for weight, bias in self._layers[:-1]:
            x = np.maximum(x @ weight + bias, 0)
        weight, bias = self._layers[-1]
        mean, log_std = np.split(x @ weight + bias, 2)
        if deterministic:
            return np.tanh(mean)
        noise = torch.randn(self.action_size, generator=self.generator).numpy()
        return np.tanh(mean + np.exp(np.minimum(np.maximum(log_std, LOG_STD_MIN), LOG_STD_MAX)) * noise)

    # learning

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One gradient step of everything on ``batch``; returns 0-d tensors of the losses, α, entropy and gradient norms."""
        return self._step(batch, self.noise(len(batch.reward)))

    def noise(self, batch_size: int) -> Tensor:
        """Standard normal noise (2, B, action_size) from ``generator``: for the actions at s and at s′."""
        return torch.randn(2, batch_size, self.action_size, generator=self.generator)

    def gradient_step(self, batch: Batch, noise: Tensor) -> dict[str, Tensor]:
        """The numeric part of ``update``: a function of the batch, the noise and the agent's tensors, which it changes in place."""
        alpha = self.temperature.parameters.exp()
        metrics = self._train_critics(batch, noise, alpha)
        log_prob, actor_metrics = self._train_actor(batch, noise, alpha)
        metrics |= actor_metrics
        if self.config.alpha is None:
            self._train_temperature(log_prob)
        self.targets.lerp_(self.critics.parameters, self.config.tau)
        return metrics | {"alpha": alpha, "entropy": -log_prob.mean()}

    def critic_objective(self, critics: Tensor, batch: Batch, noise: Tensor, alpha: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the critics' parameter vector minimises, and metrics. A subclass adds its penalty here (CQL)."""
        config = self.config
        policy = self.policy.unpack(self.actor.parameters)
        next_action, next_log_prob = sample_action(*self.policy(policy, batch.next_observation), noise[1])
        next_q = self.q(self.q.unpack(self.targets), batch.next_observation, next_action)
        reward = losses.scaled_reward(batch.reward, config.reward_scale, config.reward_bias, config.normalize_rewards)
        target = losses.td_target(reward, batch.terminated, next_q, next_log_prob, alpha, config.discount)
        q = self.q(self.q.unpack(critics), batch.observation, batch.action)
        loss = losses.critic_loss(q, target)
        return loss, {"critic_loss": loss.detach(), "q_mean": q.detach().mean()}

    def _train_critics(self, batch: Batch, noise: Tensor, alpha: Tensor) -> dict[str, Tensor]:
        critics = self.critics.parameters.detach().requires_grad_()
        loss, metrics = self.critic_objective(critics, batch, noise, alpha)
        (gradient,) = torch.autograd.grad(loss, [critics])
        gradient, norm = clip_by_norm(gradient, self.config.grad_clip)
        adam_step(self.critics, gradient, self.config.critic_lr)
        return metrics | {"critic_grad_norm": norm}

    def _train_actor(self, batch: Batch, noise: Tensor, alpha: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        policy = self.actor.parameters.detach().requires_grad_()
        action, log_prob = sample_action(*self.policy(self.policy.unpack(policy), batch.observation), noise[0])
        q = self.q(self.q.unpack(self.critics.parameters), batch.observation, action)
        loss = losses.actor_loss(log_prob, q, alpha)
        (gradient,) = torch.autograd.grad(loss, [policy])
        gradient, norm = clip_by_norm(gradient, self.config.grad_clip)
        adam_step(self.actor, gradient, self.config.actor_lr)
        return log_prob.detach(), {"actor_loss": loss.detach(), "actor_grad_norm": norm}

    def _train_temperature(self, log_prob: Tensor) -> None:
        log_alpha = self.temperature.parameters.detach().requires_grad_()
        loss = losses.temperature_loss(log_alpha, log_prob, self.target_entropy)
        (gradient,) = torch.autograd.grad(loss, [log_alpha])
        adam_step(self.temperature, gradient, self.config.alpha_lr)

    def compile(self) -> None:
        """Fuse ``gradient_step`` with torch.compile; the next ``update`` pays for it (seconds, or tens of them without a cache).

        A batch of another size, or a change of torch.get_num_threads, compiles anew.
        """
        compiled = torch.compile(self.gradient_step, fullgraph=True, dynamic=False)

        def step(batch: Batch, noise: Tensor) -> dict[str, Tensor]:
            with torch._dynamo.config.patch(trace_autograd_ops=True):
                return compiled(batch, noise)

        self._step = step

    # state

    def _named(self) -> dict[str, Tensor]:
        """Every tensor by its name in ``state_dict``, as a view."""
        networks: dict[str, Network] = {"policy": self.policy, "critics": self.q, "targets": self.q}
        named = {}
        for name, vector in self._vectors.items():
            network = networks.get(name.split(".")[0])
            if network is None or name.endswith(".step"):
                named[name] = vector
            else:
                named |= {f"{name}.{part}": view for part, view in network.unpack(vector).items()}
        return named

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of every network, target, moment and step and of log_alpha, by name. The generator is apart: ``rng_state``."""
        return {name: tensor.clone() for name, tensor in self._named().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy ``state`` into the agent's tensors, which stay where they are (shared ones stay shared).

        Raises ConfigError, and changes nothing, if a name is missing or unknown or a tensor has another shape or dtype or is not finite.
        """
        named = self._named()
        check_tensors(state, {name: tuple(tensor.shape) for name, tensor in named.items()})
        for name, tensor in named.items():
            tensor.copy_(state[name])

    def reseed(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def rng_state(self) -> Tensor:
        """State of ``generator`` as a uint8 tensor."""
        return self.generator.get_state()

    def set_rng_state(self, state: Tensor) -> None:
        """Continue from ``rng_state()``. Raises ConfigError if that is no generator state."""
        try:
            self.generator.set_state(state)
        except (RuntimeError, TypeError) as error:
            raise ConfigError(f"random generator state does not fit: {str(error).splitlines()[0]}") from error


def check_tensors(state: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ConfigError unless ``state`` has exactly the names of ``shapes`` with finite float32 tensors of those shapes."""
    missing, unknown = sorted(shapes.keys() - state.keys()), sorted(state.keys() - shapes.keys())
    if missing or unknown:
        found = [f"{word} {', '.join(map(str, names[:3]))}{' …' if len(names) > 3 else ''}" for word, names in (("missing", missing), ("unknown", unknown)) if names]
        raise ConfigError("parameters do not fit this agent: " + "; ".join(found))
    for name, shape in shapes.items():
        tensor = state[name]
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32:
            raise ConfigError(f"{name} is {tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__}, not a float32 tensor")
        if tuple(tensor.shape) != shape:
            raise ConfigError(f"{name} has shape {tuple(tensor.shape)}, this agent needs {shape}")
        if not tensor.isfinite().all():
            raise ConfigError(f"{name} holds NaN or infinite values")
