"""A file's policy held against the trainer's own."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np
import numpy.typing as npt

from sac_dist.algorithms.agent import SACAgent
from sac_dist.algorithms.sac import AVERAGE
from sac_dist.data.schema import STATE
from sac_dist.runner.card import Card
from sac_dist.runner.networks import Flattening
from sac_dist.runner.policy import Policy
from sac_dist.runner.program import Program

OBSERVATIONS = 1000
TOLERANCE = 1e-5
# Far from what a policy has seen its outputs are small differences of large sums, and float32 itself is not
# within TOLERANCE: so many times as much as the trainer's own rounding is allowed then, but never more than …
ROUNDINGS, MOST = 4.0, 1e-4


class Differences(NamedTuple):
    """Of actions, in halves of their range, at most."""

    largest: float  # of the file from the trainer
    rounding: float  # of the trainer from the same computation in float64

    @property
    def allowed(self) -> float:
        return min(max(TOLERANCE, ROUNDINGS * self.rounding), MOST)

    @property
    def small(self) -> bool:
        return self.largest <= self.allowed


def differences(written: Policy, program: Program, agent: SACAgent, env: gymnasium.Env) -> Differences:
    """Over observations drawn in the fields' ranges: by the mean, and by samples with one and the same noise.
    ``env`` is the trainer's, whose wrappers flatten and scale.
    """
    card = written.card
    action = card.action
    half = (action.high.astype(np.float64) - action.low) / 2
    sampler = agent.policy.actor(agent.tensors.copies[AVERAGE])
    sampler = sampler if agent.normalization is None else agent.normalization.before(sampler)
    exact, generator, found = in_double(card, program), np.random.default_rng(1), []
    for _ in range(OBSERVATIONS):
        own = card.random(generator)
        noise = generator.standard_normal(card.noise_size).astype(np.float32)
        seen = observed(env, own)
        for theirs, given in ((agent.act(seen, deterministic=True), None), (sampler(seen, noise), noise)):
            theirs = acted(env, theirs).astype(np.float64)
            others = written(own, given), exact(own, np.zeros_like(noise) if given is None else given)
            found.append([(np.abs(other - theirs) / half).max() for other in others])
    largest, rounding = np.max(found, axis=0)  # NaN where there is one, which is not small
    return Differences(float(largest), float(rounding))


def in_double(card: Card, program: Program) -> Any:
    """The policy in float64."""
    constants = tuple(array.astype(np.float64) for array in program.constants)
    run, flat = Program(constants, program.steps).compiled(), Flattening(card.fields)

    def act(observation: dict[str, Any], noise: npt.NDArray[np.float32]) -> Any:
        return run(flat(card.arrays(observation)).astype(np.float64), noise.astype(np.float64))

    return act


def observed(env: gymnasium.Env, observation: dict[str, Any]) -> np.ndarray:
    """What the trainer's wrappers make of the environment's own observation."""
    layers = []
    layer: Any = env
    while isinstance(layer, gymnasium.Wrapper):
        layers.append(layer)
        layer = layer.env
    seen: Any = as_space_has_it(layer.observation_space, observation)
    for wrapper in reversed(layers):
        if isinstance(wrapper, gymnasium.ObservationWrapper):
            seen = wrapper.observation(seen)
    return np.asarray(seen, np.float32)


def acted(env: gymnasium.Env, action: np.ndarray) -> np.ndarray:
    """What they make of the trainer's action."""
    layer: Any = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, gymnasium.ActionWrapper):
            action = layer.action(action)
        layer = layer.env
    return action


def as_space_has_it(space: gymnasium.Space, part: Any) -> Any:
    """Named arrays as the environment nests them: its Tuples as tuples, and one array by itself."""
    if isinstance(space, gymnasium.spaces.Dict):
        return {name: as_space_has_it(inner, part[str(name)]) for name, inner in space.spaces.items()}
    if not isinstance(part, dict):
        return part
    if isinstance(space, gymnasium.spaces.Tuple):
        if STATE in part:  # the whole observation
            part = part[STATE]
        return tuple(as_space_has_it(inner, part[str(k)]) for k, inner in enumerate(space.spaces))
    return part[STATE]
