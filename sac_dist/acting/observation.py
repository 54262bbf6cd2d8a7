"""An environment's observation as one vector, and its schema."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium import spaces

from sac_dist.acting.episode import EnvironmentFault
from sac_dist.data.schema import Schema, is_picture, named_parts
from sac_dist.settings import ConfigError


class FlatObservation(gymnasium.ObservationWrapper):
    """The parts of an observation side by side, each flattened, in the schema's order: that of their names,
    and so within parts that have names themselves. Of a picture the last ``stack`` ones, oldest first; before
    there are so many, the first one again.

    Raises ConfigError for a space that does not become numbers.
    """

    def __init__(self, env: gymnasium.Env, stack: int = 1) -> None:
        super().__init__(env)
        space = env.observation_space
        assert isinstance(env.action_space, spaces.Box)
        self.schema = Schema.from_spaces(space, env.action_space, stack)
        self.is_dict = isinstance(space, spaces.Dict)
        named = named_parts(space)
        self.parts = {field.name: in_order(named[field.name]) for field in self.schema.fields}
        self.sizes = {name: spaces.flatdim(part) for name, part in self.parts.items()}
        self.stacks = {field.name: field.stack for field in self.schema.fields if field.stack > 1}
        self._before: dict[str, list[Any]] = {}  # of each picture, those that are seen with it
        boxes = [
            box
            for name, part in self.parts.items()
            for box in [spaces.flatten_space(part)] * self.stacks.get(name, 1)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the bounds lose digits
            low, high = (np.concatenate([getattr(box, end) for box in boxes]) for end in ("low", "high"))
            self.observation_space = spaces.Box(
                low.astype(np.float32), high.astype(np.float32), dtype=np.float32
            )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self._before.clear()
        return super().reset(seed=seed, options=options)

    def observation(self, observation: Any) -> np.ndarray:
        named = observation if self.is_dict else dict.fromkeys(self.parts, observation)
        flat: Any = [
            part
            for name, space in self.parts.items()
            for part in self._stacked(name, self._flat(named, name, space))
        ]
        return np.concatenate(flat, dtype=np.float32, casting="unsafe")

    def _stacked(self, name: str, picture: Any) -> list[Any]:
        if name not in self.stacks:
            return [picture]
        seen = [*self._before.get(name, [picture] * (self.stacks[name] - 1)), picture.copy()]
        self._before[name] = seen[1:]
        return seen

    def go_on_from(self, observation: np.ndarray) -> None:
        """As if it had returned this last."""
        for name, stack in self.stacks.items():
            frames = observation[self.schema.spans[name]].reshape(stack, -1)
            self._before[name] = list(frames[1:])

    def _flat(self, named: Any, name: str, space: spaces.Space) -> Any:
        try:
            part = named[name]
        except (IndexError, KeyError, TypeError):
            has = ", ".join(map(str, named)) if isinstance(named, dict) else f"a {type(named).__name__}"
            self._fault(f"the observation has no {name}, as its space has; it has {has}")
        if is_picture(space) and np.shape(part) != space.shape:
            self._fault(f"the picture {name} has the shape {np.shape(part)}, in its space {space.shape}")
        flat = spaces.flatten(space, part)
        if len(flat) != self.sizes[name]:  # the sum of all sizes might still be right
            self._fault(f"the observation's {name} has {len(flat)} numbers, in its space {self.sizes[name]}")
        return flat

    def _fault(self, what: str) -> NoReturn:
        raise EnvironmentFault(f"{type(self.env.unwrapped).__name__}: {what}") from None

    @property
    def reordered(self) -> bool:
        """Whether the environment has its parts in another order, which sac_dist 0.1's policies saw."""
        own = self.env.observation_space
        return _names(own) != _names(in_order(own))


def in_order(space: spaces.Space) -> spaces.Space:
    """``space`` with the names of every dict in it sorted, as whoever reads files sorts them."""
    if isinstance(space, spaces.Dict):
        parts = {name: in_order(space.spaces[name]) for name in sorted(space.spaces)}
        return spaces.Dict(OrderedDict(parts))
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([in_order(part) for part in space.spaces])
    return space


def _names(space: spaces.Space) -> list[object]:
    """The names of the dicts in ``space`` in their order, level by level."""
    if isinstance(space, spaces.Dict):
        return [(name, _names(part)) for name, part in space.spaces.items()]
    return [_names(part) for part in space.spaces] if isinstance(space, spaces.Tuple) else []


def schema_of(env: gymnasium.Env) -> Schema:
    """The schema of an environment that ``make_env`` has made."""
    flat = _flat_part(env)
    if flat is not None:
        return flat.schema
    assert isinstance(env.action_space, spaces.Box)
    return Schema.from_spaces(env.observation_space, env.action_space)


def goal_spaces(env: gymnasium.Env) -> tuple[spaces.Space, spaces.Space] | None:
    """Those of achieved_goal and desired_goal of an environment of ``make_env``; None: it has no goals."""
    flat = _flat_part(env)
    if flat is None or not {"achieved_goal", "desired_goal"} <= flat.parts.keys():
        return None
    return flat.parts["achieved_goal"], flat.parts["desired_goal"]


def check_policy_fits(schema: Schema, env: gymnasium.Env, name: str) -> None:
    """Raise ConfigError if a policy of ``schema`` does not fit ``env``, which is called ``name``.

    A policy that knows its observation as one vector fits any of that size.
    """
    own = schema_of(env)
    for kind, theirs, ours in (
        ("observations", own.observation_size, schema.observation_size),
        ("actions", own.action_size, schema.action_size),
    ):
        if theirs != ours:
            raise ConfigError(f"the policy has {ours} {kind}, {name} with these options has {theirs}")
    if schema.fields == own.fields:
        return
    if len(schema.fields) > 1 or schema.pictures or own.pictures:
        raise ConfigError(f"the policy's {schema} is not that of {name} with these options: {own}")
    flat = _flat_part(env)
    if flat is not None and flat.reordered:
        raise ConfigError(
            f"the policy does not name the parts of its observation, and the order of {name}'s "
            f"({', '.join(flat.parts)}) has changed since sac_dist 0.1: train it anew"
        )


def _flat_part(env: gymnasium.Env) -> FlatObservation | None:
    layer: Any = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, FlatObservation):
            return layer
        layer = layer.env
    return None
