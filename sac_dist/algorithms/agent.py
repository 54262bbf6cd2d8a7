"""Soft Actor-Critic whose every number lies in one float32 vector, so that processes can share it and train
it together (Hogwild).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sac_dist.algorithms.offline import BCUpdate, CQLUpdate
from sac_dist.algorithms.sac import Metrics, SACUpdate, Tensors, Trained
from sac_dist.data.batch import Batch
from sac_dist.data.schema import Schema
from sac_dist.execution.explicit import WrittenOut
from sac_dist.networks.mlp import LOG_STD_MAX, LOG_STD_MIN, GaussianPolicy, QEnsemble, check_parameters
from sac_dist.settings import AgentConfig, ConfigError
from sac_dist.system.shared import SharedArray

ALGORITHMS = {"sac": SACUpdate, "cql": CQLUpdate, "bc": BCUpdate}
ALIGNMENT = 16  # floats in a cache line

Step = Callable[[Tensors, Batch, Tensor, Tensor], Metrics]  # as SACUpdate is called


def aligned(shape: tuple[int, ...]) -> int:
    """Floats to set aside for ``shape`` so that what follows starts on a cache line of its own."""
    return math.ceil(math.prod(shape) / ALIGNMENT) * ALIGNMENT


def least_size(schema: Schema, config: AgentConfig) -> int:
    """How many weights the networks have at least: what a file that names its own sizes has to hold before
    memory is taken for them.
    """
    width, critic_depth = (
        config.hidden_width,
        config.hidden_depth if config.critic_depth is None else config.critic_depth,
    )
    inputs = schema.observation_size + schema.action_size
    return width * (
        inputs * (1 + config.critics)
        + width * (config.hidden_depth - 1 + config.critics * (critic_depth - 1))
    )


class SACAgent:
    """Policy, critics, target critics and temperature with their optimizers, on the CPU.

    SAC with automatic temperature: arXiv:1812.05905, algorithm 1. :meth:`use` changes to another algorithm on
        the same tensors.

    Args:
        schema: what it observes and how many numbers an action has.
        seed: draws the initial networks; then ``generator`` continues from it and is the source of all noise.
    """

    def __init__(self, schema: Schema, config: AgentConfig, seed: int = 0) -> None:
        self.schema, self.config = schema, config
        observation_size, action_size = schema.observation_size, schema.action_size
        self.action_size = action_size
        depth = config.hidden_depth if config.critic_depth is None else config.critic_depth
        self.policy = GaussianPolicy(observation_size, action_size, config.hidden_width, config.hidden_depth)
        self.q = QEnsemble(
            observation_size, action_size, config.hidden_width, depth, config.critics, config.layer_norm
        )
        # in the order of an update's ``trains``; CQL's weight is there only where it is tuned
        self.trained = (
            ("critics", "policy", "log_alpha")
            if config.cql_lagrange is None
            else ("critics", "policy", "log_alpha", "log_weight")
        )
        self.target_entropy = -action_size / 2 if config.target_entropy is None else config.target_entropy
        self.generator = torch.Generator().manual_seed(seed)
        self._shared: SharedArray | None = None
        self._bind(torch.zeros(sum(map(aligned, self._shapes().values()))))
        self.policy.initialise(self.tensors.policy.parameters, self.generator)
        self.q.initialise(self.tensors.critics.parameters, self.generator)
        self.tensors.targets.copy_(self.tensors.critics.parameters)
        self.tensors.average.copy_(self.tensors.policy.parameters)
        self.tensors.log_alpha.parameters.fill_(
            math.log(config.initial_alpha if config.alpha is None else config.alpha)
        )
        if self.tensors.log_weight is not None:
            self.tensors.log_weight.parameters.fill_(math.log(config.cql_weight))

    @property
    def observation_size(self) -> int:
        return self.schema.observation_size

    # memory

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The vectors and scalars in the memory, in order."""
        q, policy = (sum(self.q.sizes),), (sum(self.policy.sizes),)
        shapes: dict[str, tuple[int, ...]] = {"targets": q, "average": policy, "steps": (len(self.trained),)}
        for name, shape in zip(self.trained, (q, policy, (), ()), strict=False):
            shapes |= {name: shape, f"{name}.exp_avg": shape, f"{name}.exp_avg_sq": shape}
        return shapes

    def _bind(self, memory: Tensor) -> None:
        """Make every tensor of the agent a view into ``memory``."""
        self.memory = memory
        self.tensors = self.tensors_in(memory)
        self.scale_policy_steps(1.0)
        self._layers, self._mean_layers = (
            self._in_numpy(self.tensors.policy.parameters),
            self._in_numpy(self.tensors.average),
        )
        self.use("sac")

    def tensors_in(self, memory: Tensor) -> Tensors:
        """Everything that an update changes, as views into ``memory``, laid out as the agent's own."""
        shapes = self._shapes()
        pieces = memory.split([aligned(shape) for shape in shapes.values()])
        vectors = {
            name: piece[: math.prod(shape)].view(shape)
            for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
        }
        trained = (
            Trained(vectors[name], vectors[f"{name}.exp_avg"], vectors[f"{name}.exp_avg_sq"])
            for name in self.trained
        )
        return Tensors(vectors["steps"], vectors["targets"], vectors["average"], *trained)

    def _in_numpy(self, policy: Tensor) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        """Weight and bias of each layer, as views: what ``act`` reads."""
        layers = [parameter.numpy() for parameter in self.policy.unpack(policy).values()]
        return [(weight, bias[0]) for weight, bias in zip(layers[::2], layers[1::2], strict=True)]

    def share_memory(self) -> None:
        """Move every tensor into one SharedArray. An agent sent to another process from now on trains the
        same tensors there.
        """
        if self._shared is None:
            self._shared = SharedArray(self.memory.numel(), np.float32)
            shared = self._shared.tensor()
            shared.copy_(self.memory)
            self._bind(shared)

    def __getstate__(self) -> dict[str, Any]:
        kept = (
            "schema",
            "action_size",
            "config",
            "policy",
            "q",
            "trained",
            "target_entropy",
            "_shared",
        )
        state = {name: self.__dict__[name] for name in kept}
        memory = (
            self.memory.numpy() if self._shared is None else None
        )  # numpy: multiprocessing moves tensors to /dev/shm
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

        ``deterministic`` takes the tanh of the Gaussian's mean, by the policy's average over the last
        updates; else the policy acts as it is, with noise from ``generator``. It is in numpy because for a
        single row the calls cost more than the arithmetic.
        """
        x: npt.NDArray[np.float32] = np.asarray(observation, dtype=np.float32)
        *hidden, (weight, bias) = self._mean_layers if deterministic else self._layers
        for hidden_weight, hidden_bias in hidden:
            x = np.maximum(x @ hidden_weight + hidden_bias, 0)
        output = x @ weight + bias
        mean, log_std = output[: self.action_size], output[self.action_size :]
        if deterministic:
            return np.tanh(mean)
        noise = torch.randn(self.action_size, generator=self.generator).numpy()
        return np.tanh(mean + np.exp(np.minimum(np.maximum(log_std, LOG_STD_MIN), LOG_STD_MAX)) * noise)

    # learning

    def use(self, algorithm: str, step: Step | None = None) -> None:
        """Train with "sac" (as a new agent does), "cql" or "bc" from now on. ``step`` is that algorithm's
        update, compiled; without it plain SAC takes its gradients written out, the others have them recorded.

        Networks, targets, temperature and moments stay. What an algorithm leaves alone (the critics: bc)
        keeps its Adam step count too.
        """
        self.algorithm = ALGORITHMS[algorithm](self.policy, self.q, self.config, self.target_entropy)
        self.counts = torch.tensor(self.algorithm.trains[: len(self.trained)], dtype=torch.float32)
        written_out = WrittenOut.covers(self.algorithm)
        self.step: Step = step or (
            WrittenOut(self.algorithm, self.tensors) if written_out else self.algorithm
        )

    def scale_policy_steps(self, share: float) -> None:
        """From now on updates in this process train policy and temperature with this share of their step
        sizes; 0: the critics alone.
        """
        config = self.config
        lrs = config.critic_lr, share * config.actor_lr, share * config.alpha_lr, config.critic_lr
        self.lrs = torch.tensor(lrs[: len(self.trained)])

    def take_average(self) -> None:
        """Make the policy its average over the last updates."""
        self.tensors.policy.parameters.copy_(self.tensors.average)

    def update(self, batch: Batch) -> Metrics:
        """Train once on ``batch`` with the algorithm in use.

        Returns 0-d tensors: critic_loss, actor_loss, q_mean, entropy (nats), alpha (as used),
        critic_grad_norm and actor_grad_norm (before clipping); cql also cql_penalty; bc data_log_prob and
        nothing of the critics.
        """
        self.tensors.steps.add_(self.counts)
        return self.step(self.tensors, batch, self.noise(len(batch.reward)), self.lrs)

    @property
    def needs_returns(self) -> bool:
        """Whether the algorithm in use needs batches with ``return_to_go``."""
        return isinstance(self.algorithm, CQLUpdate) and self.config.cal_ql

    def noise(self, batch_size: int) -> Tensor:
        """Standard normal noise (draws, B, action_size) from ``generator`` for one update of the algorithm in
        use.
        """
        return torch.randn(self.algorithm.draws, batch_size, self.action_size, generator=self.generator)

    # state

    def _named(self) -> dict[str, Tensor]:
        """Every tensor under its name in ``state_dict``, as a view."""
        tensors = self.tensors
        named = {f"targets.{part}": view for part, view in self.q.unpack(tensors.targets).items()}
        named |= {f"average.{part}": view for part, view in self.policy.unpack(tensors.average).items()}
        for name, trained, network in (
            ("critics", tensors.critics, self.q),
            ("policy", tensors.policy, self.policy),
        ):
            for suffix, vector in zip(("", ".exp_avg", ".exp_avg_sq"), trained, strict=True):
                named |= {f"{name}{suffix}.{part}": view for part, view in network.unpack(vector).items()}
        for name, scalar in (("log_alpha", tensors.log_alpha), ("log_weight", tensors.log_weight)):
            if scalar is not None:
                named |= {
                    f"{name}{suffix}": view
                    for suffix, view in zip(("", ".exp_avg", ".exp_avg_sq"), scalar, strict=True)
                }
        return named | {f"{name}.step": step for name, step in zip(self.trained, tensors.steps, strict=True)}

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of every network, target, moment and step and of log_alpha, by name. The generator is apart:
        ``rng_state``.
        """
        return {name: tensor.clone() for name, tensor in self._named().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy ``state`` into the agent's tensors, which stay where they are: shared ones stay shared.

        A state from before there was an average has the policy in its place. Raises ConfigError, and changes
        nothing, if a name is missing or unknown, or a tensor has another shape or dtype or is not finite.
        """
        named = self._named()
        if not any(name.startswith("average.") for name in state):
            policies = {name: tensor for name, tensor in state.items() if name.startswith("policy.linear")}
            state = {
                **state,
                **{name.replace("policy", "average", 1): tensor for name, tensor in policies.items()},
            }
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
            raise ConfigError(
                f"the random generator's state does not fit: {str(error).splitlines()[0]}"
            ) from error
