"""An agent whose every number lies in one float32 vector, so that processes can share it and train it at once
(Hogwild).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sac_dist.algorithms.base import (
    Algorithm,
    Metrics,
    Update,
    memory_size,
    named_tensors,
    tensors_in,
    united,
)
from sac_dist.algorithms.exploration import RepeatedNoise
from sac_dist.algorithms.generalised import GeneralisedSAC
from sac_dist.algorithms.normalization import NAMES as STATISTICS
from sac_dist.algorithms.normalization import Normalization
from sac_dist.algorithms.reward_scale import NAME as RETURNS
from sac_dist.algorithms.reward_scale import RewardScale
from sac_dist.algorithms.sac import AVERAGE, CRITICS, ENCODER, ENCODER_AVERAGE, POLICY, SAC
from sac_dist.data.batch import Batch
from sac_dist.data.schema import Schema
from sac_dist.networks.build import Networks
from sac_dist.networks.critics import QEnsemble
from sac_dist.networks.parameters import check_parameters
from sac_dist.networks.policy import Actor, GaussianPolicy
from sac_dist.settings import AgentConfig, ConfigError
from sac_dist.settings.algorithms import SOFT_ACTOR_CRITIC, Algorithms, load, settings_of
from sac_dist.system.shared import SharedArray


class SACAgent:
    """Policy, critics, target critics and temperature with their optimizers, on the CPU, and what else its
    algorithms train.

    A new agent trains with SAC; :meth:`use` changes to another algorithm on the same tensors.

    Args:
        schema: what it observes and how many numbers an action has.
        seed: draws the initial networks; ``generator`` continues from it and is the source of all noise.
        algorithms: the settings of the algorithms that it may use, by name. One that trains more than SAC
            does has to be here.
        networks: others than ``config`` describes.
    """

    def __init__(
        self,
        schema: Schema,
        config: AgentConfig,
        seed: int = 0,
        algorithms: Algorithms | None = None,
        networks: Networks | None = None,
    ) -> None:
        self.schema, self.config = schema, config
        self.algorithms = dict(algorithms or {})
        self.networks = Networks.of(schema, config) if networks is None else networks
        self.groups = united([self.algorithm_of(name) for name in (SOFT_ACTOR_CRITIC, *self.algorithms)])
        self.generator = torch.Generator().manual_seed(seed)
        self.updates_made = 0  # by this process, or before it: which of them train the policy
        self._shared: SharedArray | None = None
        normalizes = config.normalize_observations and schema.vector_size > 0
        self.normalization = Normalization(schema.vector_size) if normalizes else None
        self.reward_scale = RewardScale(config.largest_return) if config.normalize_returns else None
        self._bind(torch.zeros(memory_size(self.groups), dtype=torch.float32))
        self._initialise()

    def _initialise(self) -> None:
        for group in sorted(self.groups, key=lambda group: group.name != POLICY):  # drawn before the critics
            parameters = self.tensors.groups[group.name].parameters
            if group.network is None:
                parameters.fill_(group.initial)
            else:
                group.network.initialise(parameters, self.generator)
            if group.copy is not None:
                self.tensors.copies[group.copy].copy_(parameters)

    @property
    def policy(self) -> GaussianPolicy:
        return self.networks.policy

    @property
    def q(self) -> QEnsemble:
        return self.networks.q

    @property
    def observation_size(self) -> int:
        return self.schema.observation_size

    @property
    def action_size(self) -> int:
        return self.schema.action_size

    # memory

    def _bind(self, memory: Tensor) -> None:
        """Make every tensor of the agent a view into ``memory``."""
        self.memory = memory
        longest = self.config.noise_repeat
        self.repeated_noise = RepeatedNoise(self.action_size, longest) if longest > 1 else None
        self.tensors = tensors_in(memory, self.groups)
        self.scale_steps()
        groups, copies = self.tensors.groups, self.tensors.copies
        sees = self.networks.encoder is not None
        self._sample = self._actor(groups[POLICY].parameters, groups[ENCODER].parameters if sees else None)
        self.act_by_average = self._actor(copies[AVERAGE], copies[ENCODER_AVERAGE] if sees else None)
        self.use(SOFT_ACTOR_CRITIC)

    def _actor(self, policy: Tensor, eyes: Tensor | None) -> Actor:
        actor, encoder = self.policy.actor(policy), self.networks.encoder
        if encoder is None or eyes is None:
            return actor if self.normalization is None else self.normalization.before(actor)
        look, schema, normalization = encoder.looker(eyes), self.schema, self.normalization

        def act(
            observation: npt.NDArray[np.float32], noise: npt.NDArray[np.float32] | None
        ) -> npt.NDArray[np.float32]:
            numbers = schema.numbers_of(observation)
            if normalization is not None:
                numbers = normalization.of(numbers)
            return actor(np.concatenate([look(schema.frames_of(observation)), numbers]), noise)

        return act

    def share_memory(self) -> None:
        """Move every tensor into one SharedArray. An agent sent to another process from now on trains the
        same tensors there.
        """
        if self._shared is None:
            self._shared = SharedArray(self.memory.numel(), np.float32)
            shared = self._shared.tensor()
            shared.copy_(self.memory)
            if self.normalization is not None:
                self.normalization.share_memory()
            if self.reward_scale is not None:
                self.reward_scale.share_memory()
            self._bind(shared)

    def __getstate__(self) -> dict[str, Any]:
        kept = (
            "schema",
            "config",
            "algorithms",
            "networks",
            "groups",
            "normalization",
            "reward_scale",
            "_shared",
        )
        state = {name: self.__dict__[name] for name in kept}
        # numpy: multiprocessing moves tensors to /dev/shm
        memory = self.memory.numpy() if self._shared is None else None
        return state | {
            "memory": memory,
            "generator": self.generator.get_state().numpy(),
            "updates_made": self.updates_made,
        }

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
        updates; else the policy acts as it is, with noise from ``generator``.
        """
        x: npt.NDArray[np.float32] = np.asarray(observation, dtype=np.float32)
        if deterministic:
            return self.act_by_average(x, None)
        if self.repeated_noise is None:
            noise = torch.randn(self.schema.action_size, generator=self.generator, dtype=torch.float32)
        else:
            noise = self.repeated_noise.next(self.generator)
        return self._sample(x, noise.numpy())

    # learning

    def algorithm_of(self, name: str) -> Algorithm:
        """The algorithm ``name`` for this agent's networks and settings."""
        kind = load(name)
        if kind is SAC and self.config.generalised:
            kind = GeneralisedSAC
        made: Algorithm = kind(self.networks, self.config, settings_of(self.algorithms, name))
        return made

    def use(self, name: str, update: Update | None = None, critics_update: Update | None = None) -> None:
        """Train with the algorithm ``name`` from now on: "sac" (as a new agent does), "cql", "bc", or another
        of settings/algorithms.py. ``update`` is how to run it (see execution.choose), and ``critics_update``
        the updates between those of the policy, where there are such; left out, autograd records them.

        Networks, targets, temperature and moments stay. What an algorithm leaves alone (the critics: bc)
        keeps its Adam step count too.
        """
        self.algorithm = self.algorithm_of(name)
        missing = {group.name for group in self.algorithm.groups} - {group.name for group in self.groups}
        if missing:
            raise ConfigError(
                f"this agent has no {sorted(missing)[0]}: make it with algorithms={{{name!r}: …}}"
            )
        every = self.policy_every = self.algorithm.policy_every
        self.critics_algorithm = replace(self.algorithm, trains_policy=False) if every > 1 else None
        self.counts = self._counts(self.algorithm)
        self.run_update: Update = update or self.algorithm
        if self.critics_algorithm is not None:
            self.critics_counts = self._counts(self.critics_algorithm)
            self.run_critics_update: Update = critics_update or self.critics_algorithm

    @property
    def variants(self) -> tuple[Algorithm, ...]:
        """What updates run: the algorithm in use, and where not each of them trains the policy, the critics'
        part of it.
        """
        return (
            (self.algorithm,) if self.critics_algorithm is None else (self.algorithm, self.critics_algorithm)
        )

    def _counts(self, algorithm: Algorithm) -> Tensor:
        """(groups,) the Adam steps that an update makes."""
        return torch.tensor([group.name in algorithm.trains for group in self.groups], dtype=torch.float32)

    def scale_steps(self, policy: float = 1.0, all_groups: float = 1.0) -> None:
        """From now on updates in this process train with the share ``all_groups`` of all step sizes, and
        policy and temperature with the share ``policy`` of that; 0: the critics alone.
        """
        rates = [group.lr * all_groups * (policy if group.with_policy else 1.0) for group in self.groups]
        self.lrs = torch.tensor(rates, dtype=torch.float32)

    def take_average(self) -> None:
        """Make the policy its average over the last updates, and what it sees by too."""
        self.tensors.groups[POLICY].parameters.copy_(self.tensors.copies[AVERAGE])
        if self.networks.encoder is not None:
            self.tensors.groups[ENCODER].parameters.copy_(self.tensors.copies[ENCODER_AVERAGE])

    def update(self, batch: Batch) -> Metrics:
        """Train once on ``batch``, of observations as the environment gives them, with the algorithm in use.

        Returns 0-d tensors: critic_loss, actor_loss, q_mean, entropy (nats), alpha (as used),
        critic_grad_norm and actor_grad_norm (before clipping); cql also cql_penalty; bc data_log_prob and
        nothing of the critics. With ``policy_every`` those of the policy are of its updates alone.
        """
        run, counts = self.run_update, self.counts
        if self.policy_every > 1 and self.updates_made % self.policy_every:
            run, counts = self.run_critics_update, self.critics_counts
        self.updates_made += 1
        self.tensors.steps.add_(counts)
        if self.normalization is not None:
            batch = self.normalization.batch(batch)
        if self.reward_scale is not None:
            batch = self.reward_scale.batch(batch)
        return run(self.tensors, batch, self.noise(len(batch.reward)), self.lrs)

    def noise(self, batch_size: int) -> Tensor:
        """Standard normal noise (noise_slabs, B, action_size) from ``generator`` for one update of the
        algorithm in use.
        """
        shape = (self.algorithm.noise_slabs, batch_size, self.action_size)
        return torch.randn(shape, generator=self.generator, dtype=torch.float32)

    # the parameter vectors that others read

    @property
    def policy_parameters(self) -> Tensor:
        return self.tensors.groups[POLICY].parameters

    @property
    def critic_parameters(self) -> Tensor:
        return self.tensors.groups[CRITICS].parameters

    @property
    def acting_numbers(self) -> Tensor:
        """A copy (n,) float32 of what a process has to know that only explores."""
        policy = self.policy_parameters
        if self.normalization is None:
            return policy.clone()
        return torch.cat([policy, torch.from_numpy(self.normalization.numbers)])

    def act_by(self, numbers: Tensor) -> None:
        """Explore by another process's ``acting_numbers`` from now on."""
        policy = self.policy_parameters
        policy.copy_(numbers[: len(policy)])
        if self.normalization is not None:
            self.normalization.numbers[:] = numbers[len(policy) :].numpy()

    # state

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of every network, target, moment and step, of log_alpha and of what normalises observations,
        by name. The generator is apart: ``rng_state``.
        """
        named = {name: tensor.clone() for name, tensor in named_tensors(self.tensors, self.groups).items()}
        for statistics in (self.normalization, self.reward_scale):
            named |= {} if statistics is None else statistics.state()
        return named

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy ``state`` into the agent's tensors, which stay where they are: shared ones stay shared.

        A state from before there was an average has the policy in its place. Raises ConfigError, and changes
        nothing, if a name is missing or unknown, or a tensor has another shape or dtype or is not finite.
        """
        named = named_tensors(self.tensors, self.groups)
        normalization = self.normalization
        moments = None if normalization is None else normalization.moments_in(state)
        if normalization is not None:
            state = {name: tensor for name, tensor in state.items() if name not in STATISTICS}
        returns = None if self.reward_scale is None else self.reward_scale.returns_in(state)
        if returns is not None:
            state = {name: tensor for name, tensor in state.items() if name != RETURNS}
        if not any(name.startswith(f"{AVERAGE}.") for name in state):
            parts = self.policy.shapes
            policies = {part: state[f"{POLICY}.{part}"] for part in parts if f"{POLICY}.{part}" in state}
            state = {**state, **{f"{AVERAGE}.{part}": tensor for part, tensor in policies.items()}}
        check_parameters(state, {name: tuple(tensor.shape) for name, tensor in named.items()})
        for name, tensor in named.items():
            tensor.copy_(state[name])
        if normalization is not None and moments is not None:
            normalization.set(moments)
        if self.reward_scale is not None and returns is not None:
            self.reward_scale.set(returns)

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
