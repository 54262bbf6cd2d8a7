"""Soft Actor-Critic whose every number lies in one float32 vector, so that processes can share it and train it together (Hogwild)."""

from __future__ import annotations

import math
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sac_dist import losses
from sac_dist.config import AgentConfig, ConfigError
from sac_dist.networks import LOG_STD_MAX, LOG_STD_MIN, GaussianPolicy, QEnsemble, check_parameters, sample_action
from sac_dist.shared import SharedArray
from sac_dist.types import Batch

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # Adam's, as in torch.optim.Adam
LOG_BETAS = torch.tensor([math.log(BETA1), math.log(BETA2)])
TRAINED = ("critics", "policy", "log_alpha")  # the order in which an update trains them
ALIGNMENT = 16  # floats in a cache line

Metrics = dict[str, Tensor]


class Trained(NamedTuple):
    """Parameters and the state of their Adam: views into the agent's memory. ``step`` is a 0-d float so that it is shared too."""

    parameters: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: Tensor


def aligned(shape: tuple[int, ...]) -> int:
    """Floats to set aside for ``shape`` so that what follows starts on a cache line of its own."""
    return math.ceil(math.prod(shape) / ALIGNMENT) * ALIGNMENT


def adam_scales(steps: Tensor, lrs: Tensor) -> Tensor:
    """Step sizes and ε with Adam's bias corrections in them, for ``steps`` t (n,) and step sizes ``lrs`` (n,): (n, 2).

    lr √(1 − β₂ᵗ) / (1 − β₁ᵗ) and ε √(1 − β₂ᵗ), by expm1 as 1 − βᵗ cancels in float32 while t is small.
    """
    correction1, correction2 = -torch.expm1(torch.outer(LOG_BETAS, steps))
    root = correction2.sqrt()
    return torch.stack([lrs * root / correction1, EPS * root], dim=1)


def adam_step(trained: Trained, gradient: Tensor, scales: Tensor) -> None:
    """One step of Adam (arXiv:1412.6980, algorithm 1 as reordered in section 2) in place; equals torch.optim.Adam.

    ``scales`` (2,) is this network's row of ``adam_scales``. Inductor drops ``alpha`` from ``add(x, matmul, alpha=…)`` (torch 2.13,
    pytorch issue 167313): none is used here.
    """
    step_size, eps = scales.unbind()
    trained.exp_avg.lerp_(gradient, 1 - BETA1)
    trained.exp_avg_sq.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    trained.parameters.sub_(trained.exp_avg * step_size / (trained.exp_avg_sq.sqrt() + eps))


def clip_by_norm(gradient: Tensor, largest: float | None) -> tuple[Tensor, Tensor]:
    """The gradient scaled to a norm of at most ``largest`` (as clip_grad_norm_ does), and its norm before that."""
    norm = torch.linalg.vector_norm(gradient)
    if largest is not None:
        gradient = gradient * (largest / (norm + 1e-6)).clamp(max=1.0)
    return gradient, norm


class SACAgent:
    """Policy, critics, target critics and temperature with their optimizers, on the CPU.

    SAC with automatic temperature: arXiv:1812.05905, algorithm 1.

    Args:
        observation_size, action_size: lengths of the vectors in a Batch.
        seed: draws the initial networks; then ``generator`` continues from it and is the source of all noise.
        critic_depth: hidden layers of the critics, where not ``config.hidden_depth`` (the book's have 3, its policy 4).
    """

    def __init__(
        self, observation_size: int, action_size: int, config: AgentConfig, seed: int = 0, critic_depth: int | None = None
    ) -> None:
        self.observation_size, self.action_size, self.config = observation_size, action_size, config
        depth = config.hidden_depth if critic_depth is None else critic_depth
        self.policy = GaussianPolicy(observation_size, action_size, config.hidden_width, config.hidden_depth)
        self.q = QEnsemble(observation_size, action_size, config.hidden_width, depth, config.critics)
        self.target_entropy = -float(action_size) if config.target_entropy is None else config.target_entropy
        self.generator = torch.Generator().manual_seed(seed)
        self._shared: SharedArray | None = None
        self._bind(torch.zeros(sum(map(aligned, self._shapes().values()))))
        self.policy.initialise(self.actor.parameters, self.generator)
        self.q.initialise(self.critics.parameters, self.generator)
        self.targets.copy_(self.critics.parameters)
        self.temperature.parameters.fill_(math.log(config.initial_alpha if config.alpha is None else config.alpha))

    # memory

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The vectors and scalars in the memory, in order."""
        q, policy = (sum(self.q.sizes),), (sum(self.policy.sizes),)
        shapes: dict[str, tuple[int, ...]] = {"targets": q, "steps": (len(TRAINED),)}
        for name, shape in zip(TRAINED, (q, policy, ()), strict=True):
            shapes |= {name: shape, f"{name}.exp_avg": shape, f"{name}.exp_avg_sq": shape}
        return shapes

    def _bind(self, memory: Tensor) -> None:
        """Make every tensor of the agent a view into ``memory``."""
        self._memory = memory
        shapes = self._shapes()
        pieces = memory.split([aligned(shape) for shape in shapes.values()])
        vectors = {name: piece[: math.prod(shape)].view(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}
        self.targets, self.steps = vectors["targets"], vectors["steps"]
        self._lrs = torch.tensor([self.config.critic_lr, self.config.actor_lr, self.config.alpha_lr])
        self.critics, self.actor, self.temperature = (
            Trained(vectors[name], vectors[f"{name}.exp_avg"], vectors[f"{name}.exp_avg_sq"], self.steps[i])
            for i, name in enumerate(TRAINED)
        )
        layers = [parameter.numpy() for parameter in self.policy.unpack(self.actor.parameters).values()]
        self._layers = [(weight, bias[0]) for weight, bias in zip(layers[::2], layers[1::2], strict=True)]  # what ``act`` reads
        self._gradient_step: Callable[[Batch, Tensor, Tensor], Metrics] = self.gradient_step

    def share_memory(self) -> None:
        """Move every tensor into one SharedArray. An agent sent to another process from now on trains the same tensors there."""
        if self._shared is None:
            self._shared = SharedArray(self._memory.numel(), np.float32)
            shared = self._shared.tensor()
            shared.copy_(self._memory)
            self._bind(shared)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("observation_size", "action_size", "config", "policy", "q", "target_entropy", "_shared")
        state = {name: self.__dict__[name] for name in kept}
        memory = self._memory.numpy() if self._shared is None else None  # numpy: multiprocessing moves tensors to /dev/shm
        return state | {"memory": memory, "generator": self.generator.get_state().numpy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        memory, generator = state.pop("memory"), state.pop("generator")
        self.__dict__.update(state)
        self.generator = torch.Generator()
        self.set_rng_state(torch.from_numpy(generator))
        self._bind(torch.from_numpy(memory) if self._shared is None else self._shared.tensor())

    # acting

    def act(self, observation: npt.NDArray[Any], deterministic: bool = False) -> npt.NDArray[np.float32]:
        """An action (action_size,) in [-1, 1], float32, for one ``observation`` (observation_size,).

        ``deterministic`` takes the tanh of the Gaussian's mean; else the noise comes from ``generator``. It is in numpy because for
        a single row the calls cost more than the arithmetic.
        """
        x: npt.NDArray[np.float32] = np.asarray(observation, dtype=np.float32)
        for weight, bias in self._layers[:-1]:
            x = np.maximum(x @ weight + bias, 0)
        weight, bias = self._layers[-1]
        output = x @ weight + bias
        mean, log_std = output[: self.action_size], output[self.action_size :]
        if deterministic:
            return np.tanh(mean)
        noise = torch.randn(self.action_size, generator=self.generator).numpy()
        return np.tanh(mean + np.exp(np.minimum(np.maximum(log_std, LOG_STD_MIN), LOG_STD_MAX)) * noise)

    # learning

    def update(self, batch: Batch) -> Metrics:
        """Train everything once on ``batch``.

        Returns 0-d tensors: critic_loss, actor_loss, q_mean, entropy (nats), alpha (as used), critic_grad_norm and actor_grad_norm
        (before clipping).
        """
        steps = self.steps if self.config.alpha is None else self.steps[:2]
        steps.add_(1)  # float32 counts to 2²⁴ and stays there, where both corrections have long been 1
        return self._gradient_step(batch, self.noise(len(batch.reward)), adam_scales(steps, self._lrs[: len(steps)]))

    def noise(self, batch_size: int) -> Tensor:
        """Standard normal noise (2, B, action_size) from ``generator``: for the actions at s and at s′."""
        return torch.randn(2, batch_size, self.action_size, generator=self.generator)

    def gradient_step(self, batch: Batch, noise: Tensor, scales: Tensor) -> Metrics:
        """The numeric part of ``update``, which ``compile`` fuses: it changes the agent's tensors in place and draws nothing."""
        alpha = self.temperature.parameters.exp()
        metrics = self._train_critics(batch, noise, alpha, scales[0])
        log_prob, actor_metrics = self._train_actor(batch, noise[0], alpha, scales[1])
        if self.config.alpha is None:
            # with α = exp(log α), dJ/dlog α is J itself
            adam_step(self.temperature, losses.temperature_loss(self.temperature.parameters, log_prob, self.target_entropy), scales[2])
        self.targets.lerp_(self.critics.parameters, self.config.tau)
        return metrics | actor_metrics | {"alpha": alpha, "entropy": -log_prob.mean()}

    def critic_objective(self, critics: Tensor, batch: Batch, noise: Tensor, alpha: Tensor) -> tuple[Tensor, Metrics]:
        """What the critics' parameter vector minimises, and its metrics. A subclass adds its penalty here (and its noise in ``noise``)."""
        config = self.config
        mean, log_std = self.policy(self.policy.unpack(self.actor.parameters), batch.next_observation)
        next_action, next_log_prob = sample_action(mean, log_std, noise[1])
        next_q = self.q(self.q.unpack(self.targets), batch.next_observation, next_action)
        reward = losses.scaled_reward(batch.reward, config.reward_scale, config.reward_bias, config.normalize_rewards)
        target = losses.td_target(reward, batch.terminated, next_q, next_log_prob, alpha, config.discount)
        q = self.q(self.q.unpack(critics), batch.observation, batch.action)
        loss = losses.critic_loss(q, target)
        return loss, {"critic_loss": loss.detach(), "q_mean": q.detach().mean()}

    def _train_critics(self, batch: Batch, noise: Tensor, alpha: Tensor, scales: Tensor) -> Metrics:
        critics = self.critics.parameters.detach().requires_grad_()  # the same memory, with gradients for this step only
        loss, metrics = self.critic_objective(critics, batch, noise, alpha)
        gradient, norm = clip_by_norm(torch.autograd.grad(loss, [critics])[0], self.config.grad_clip)
        adam_step(self.critics, gradient, scales)
        return metrics | {"critic_grad_norm": norm}

    def _train_actor(self, batch: Batch, noise: Tensor, alpha: Tensor, scales: Tensor) -> tuple[Tensor, Metrics]:
        policy = self.actor.parameters.detach().requires_grad_()
        mean, log_std = self.policy(self.policy.unpack(policy), batch.observation)
        action, log_prob = sample_action(mean, log_std, noise)
        q = self.q(self.q.unpack(self.critics.parameters), batch.observation, action)
        loss = losses.actor_loss(log_prob, q, alpha)
        gradient, norm = clip_by_norm(torch.autograd.grad(loss, [policy])[0], self.config.grad_clip)
        adam_step(self.actor, gradient, scales)
        return log_prob.detach(), {"actor_loss": loss.detach(), "actor_grad_norm": norm}

    def compile(self) -> None:
        """Fuse ``gradient_step`` by torch.compile. The next ``update`` pays: half a minute, or seconds from inductor's cache.

        Another batch size or torch.get_num_threads() compiles anew. ``share_memory`` and another process's copy return to eager.
        Raises in that update what inductor raises where ``compile_obstacle`` is not None.
        """
        # the C++ wrapper saves the microseconds that Python takes between two kernels, 0.1 ms per update
        compiled = torch.compile(self.gradient_step, fullgraph=True, dynamic=False, options={"cpp_wrapper": True})

        def step(batch: Batch, noise: Tensor, scales: Tensor) -> Metrics:
            with torch._dynamo.config.patch(trace_autograd_ops=True):  # it is off by default in torch 2.13
                return compiled(batch, noise, scales)

        self._gradient_step = step

    # state

    def _named(self) -> dict[str, Tensor]:
        """Every tensor under its name in ``state_dict``, as a view."""
        named = {f"targets.{part}": view for part, view in self.q.unpack(self.targets).items()}
        for name, trained, network in (("critics", self.critics, self.q), ("policy", self.actor, self.policy)):
            for suffix, vector in zip(("", ".exp_avg", ".exp_avg_sq"), trained, strict=False):
                named |= {f"{name}{suffix}.{part}": view for part, view in network.unpack(vector).items()}
            named[f"{name}.step"] = trained.step
        log_alpha, exp_avg, exp_avg_sq, step = self.temperature
        return named | {"log_alpha": log_alpha, "log_alpha.exp_avg": exp_avg, "log_alpha.exp_avg_sq": exp_avg_sq, "log_alpha.step": step}

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of every network, target, moment and step and of log_alpha, by name. The generator is apart: ``rng_state``."""
        return {name: tensor.clone() for name, tensor in self._named().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy ``state`` into the agent's tensors, which stay where they are: shared ones stay shared.

        Raises ConfigError, and changes nothing, if a name is missing or unknown, or a tensor has another shape or dtype or is not finite.
        """
        named = self._named()
        check_parameters(state, {name: tuple(tensor.shape) for name, tensor in named.items()})
        for name, tensor in named.items():
            tensor.copy_(state[name])

    def reseed(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def rng_state(self) -> Tensor:
        """State of ``generator``, a uint8 tensor."""
        return self.generator.get_state()

    def set_rng_state(self, state: Tensor) -> None:
        """Continue from ``state``, a result of ``rng_state``. Raises ConfigError if it is none."""
        try:
            self.generator.set_state(state)
        except (RuntimeError, TypeError) as error:
            raise ConfigError(f"the random generator's state does not fit: {str(error).splitlines()[0]}") from error


def compile_obstacle() -> str | None:
    """Why ``SACAgent.compile`` cannot work on this machine, in one line, or None. Builds a small library, which takes a second or two."""
    if not hasattr(torch._dynamo.config, "trace_autograd_ops"):
        return f"torch {torch.__version__} cannot trace gradients, 2.13 can"
    from torch._inductor.cpp_builder import get_cpp_compiler  # two seconds to import

    try:
        compiler = get_cpp_compiler()
    except Exception as error:  # whatever inductor raises where it finds none
        return f"no C++ compiler: {(str(error) or type(error).__name__).splitlines()[0]}"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text("#include <Python.h>\n#include <omp.h>\n#include <vector>\n")
        command = [compiler, "-shared", "-fPIC", "-fopenmp", f"-I{sysconfig.get_path('include')}", str(source), "-o", f"{folder}/probe.so"]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{compiler} does not run: {error}"
    errors = [line for line in result.stderr.splitlines() if "error" in line] or ["no reason given"]
    return f"{compiler} cannot build a Python extension: {errors[0]}" if result.returncode else None
