"""A file's policy held against the trainer's own."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from sac_dist.algorithms.agent import SACAgent
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


def differences(
    written: Policy, program: Program, agent: SACAgent, env: gymnasium.Env, own: gymnasium.Env
) -> Differences:
    """Over observations drawn in the fields' ranges: by the mean, and by samples with one and the same noise.
    ``env`` is the trainer's, whose wrappers around ``own`` flatten and scale.
    """
    card = written.card
    action = card.action
    half = (action.high.astype(np.float64) - action.low) / 2
    exact, generator, found = in_double(card, program), np.random.default_rng(1), []
    for _ in range(OBSERVATIONS):
        observation = card.random(generator)
        noise = generator.standard_normal(card.noise_size).astype(np.float32)
        seen = observed(env, own, card, observation)
        for given in (None, noise):
            theirs = acted(env, own, agent.act_by_average(seen, given)).astype(np.float64)
            others = (
                written(observation, given),
                exact(observation, np.zeros_like(noise) if given is None else given),
            )
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


def wrappers(env: gymnasium.Env, own: gymnasium.Env) -> list[gymnasium.Wrapper]:
    """The trainer's around ``own``, from the outermost in."""
    found, layer = [], env
    while layer is not own:
        assert isinstance(layer, gymnasium.Wrapper)
        found.append(layer)
        layer = layer.env
    return found


def observed(
    env: gymnasium.Env, own: gymnasium.Env, card: Card, observation: dict[str, Any]
) -> npt.NDArray[np.float32]:
    """What the trainer's wrappers make of the environment's own observation."""
    space, seen = own.observation_space, None
    stacks = {field.name: field.stack for field in card.fields if field.stack > 1}
    layers = [each for each in wrappers(env, own) if isinstance(each, gymnasium.ObservationWrapper)]
    for step in range(max(stacks.values(), default=1)):
        named = {name: part[step] if name in stacks else part for name, part in observation.items()}
        seen = nested(space, named if isinstance(space, spaces.Dict) else next(iter(named.values())))
        for wrapper in reversed(layers):
            seen = wrapper.observation(seen)
    return np.asarray(seen, np.float32)


def acted(env: gymnasium.Env, own: gymnasium.Env, action: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What they make of the trainer's action."""
    for wrapper in wrappers(env, own):
        if isinstance(wrapper, gymnasium.ActionWrapper):
            action = wrapper.action(action)
    return action


def nested(space: spaces.Space, part: Any) -> Any:
    """Named arrays as the environment has them: its Tuples as tuples."""
    if isinstance(space, spaces.Dict):
        return {
            name: nested(inner, part[str(name)]) if str(name) in part else inner.sample()  # privileged
            for name, inner in space.spaces.items()
        }
    if isinstance(space, spaces.Tuple):
        return tuple(nested(inner, part[str(k)]) for k, inner in enumerate(space.spaces))
    return part
