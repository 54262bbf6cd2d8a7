"""What a transition consists of. Only this module knows how a transition lies in a row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from sac_dist.settings import ConfigError

Rows = npt.NDArray[np.float32]  # (…, row_width)

STATE = "state"  # the one field of an observation that is a plain vector


@dataclass(frozen=True)
class Field:
    """One named array of an observation."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Schema:
    """The named arrays of an observation, the size of an action, and the layout of a row.

    A row is float32 ``[observation | action | reward | next_observation | terminated | truncated]``.
    An observation lies in it as one vector: its fields side by side, each flattened, in the order of
    their names. A plain vector is one field.

    Raises:
        ConfigError: no field, two of one name, or a size below 1.
    """

    fields: tuple[Field, ...]
    action_size: int

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"an observation needs fields with names of their own, and has {names}")
        if names != sorted(names):
            raise ConfigError(f"an observation's fields are in the order of their names, not {names}")
        if min(self.action_size, *(size for field in self.fields for size in (1, *field.shape))) < 1:
            raise ConfigError("an observation's fields and the action need at least one number each")
        for field in self.fields:
            if field.dtype != "float32":
                raise ConfigError(f"the field {field.name} is {field.dtype}: a row holds float32")

    @classmethod
    def vector(cls, observation_size: int, action_size: int) -> Schema:
        """The schema of an environment whose observation is one vector."""
        return cls((Field(STATE, (observation_size,)),), action_size)

    @classmethod
    def from_spaces(cls, observation: spaces.Space, action: spaces.Box) -> Schema:
        """The schema of spaces. Numbers of any dtype become float32; a Discrete becomes one number a choice.

        Raises ConfigError for a picture or a space that does not become numbers.
        """
        parts = observation.spaces if isinstance(observation, spaces.Dict) else {STATE: observation}
        fields = tuple(Field(name, _shape(name, parts[name])) for name in sorted(parts))
        return cls(fields, math.prod(action.shape))

    # sizes

    @cached_property
    def observation_size(self) -> int:
        """Numbers of an observation, over all fields."""
        return sum(field.size for field in self.fields)

    @cached_property
    def row_width(self) -> int:
        """Numbers of a row."""
        return 2 * self.observation_size + self.action_size + 3

    @cached_property
    def columns(self) -> dict[str, slice | int]:
        """Where each part of a transition lies in a row: a slice for vectors, a number for numbers."""
        observation, action = self.observation_size, self.action_size
        reward = observation + action
        end = reward + 1 + observation
        return {
            "observation": slice(0, observation),
            "action": slice(observation, reward),
            "reward": reward,
            "next_observation": slice(reward + 1, end),
            "terminated": end,
            "truncated": end + 1,
        }

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each part of a transition as it lies in a row."""
        observation, action = (self.observation_size,), (self.action_size,)
        return {
            "observation": observation,
            "action": action,
            "reward": (),
            "next_observation": observation,
            "terminated": (),
            "truncated": (),
        }

    @cached_property
    def places(self) -> dict[str, slice]:
        """Where each field lies in an observation's vector."""
        ends = np.cumsum([field.size for field in self.fields]).tolist()
        return {
            field.name: slice(end - field.size, end) for field, end in zip(self.fields, ends, strict=True)
        }

    # rows

    def views(self, rows: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """The parts of transitions as views of ``rows`` (…, row_width)."""
        return {name: rows[..., column] for name, column in self.columns.items()}

    def rows(self, parts: Mapping[str, npt.ArrayLike]) -> Rows:
        """N transitions as new rows (N, row_width), from checked arrays (N, …) by name."""
        rows = np.empty((len(np.asarray(parts["reward"])), self.row_width), np.float32)
        for name, column in self.columns.items():
            rows[:, column] = parts[name]
        return rows

    def discounts(
        self, rows: Rows, discount: float, out: npt.NDArray[np.float32] | None = None
    ) -> npt.NDArray[np.float32]:
        """(…,) how the value goes on after each transition: by ``discount``, or by 0 where it terminated."""
        out = np.subtract(1, rows[..., self.columns["terminated"]], out=out)
        if discount != 1:
            out *= discount
        return out

    def ended(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """(…,) whether each transition is marked as the last one of its episode."""
        parts = self.views(rows)
        return (parts["terminated"] != 0) | (parts["truncated"] != 0)

    # JSON

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: what a checkpoint holds."""
        fields = {field.name: {"shape": list(field.shape), "dtype": field.dtype} for field in self.fields}
        return {"observation": fields, "action_size": self.action_size}

    @classmethod
    def from_dict(cls, parts: Mapping[str, Any]) -> Schema:
        """Undo :meth:`to_dict`. Raise KeyError, TypeError, ValueError or ConfigError where it is damaged."""
        fields = tuple(
            Field(str(name), tuple(int(size) for size in field["shape"]), str(field["dtype"]))
            for name, field in sorted(parts["observation"].items())
        )
        return cls(fields, int(parts["action_size"]))

    def __str__(self) -> str:
        fields = ", ".join(f"{field.name} {'×'.join(map(str, field.shape)) or 1}" for field in self.fields)
        return f"observation: {fields}; action: {self.action_size}"


def _shape(name: str, space: spaces.Space) -> tuple[int, ...]:
    if isinstance(space, spaces.Box) and len(space.shape) > 1 and space.dtype == np.uint8:
        raise ConfigError(
            f"the observation {name} is a picture of the shape {space.shape}: only numbers are read"
        )
    if not space.is_np_flattenable:
        raise ConfigError(
            f"the observation {name} is of {space}: the networks need numbers that flatten to a vector"
        )
    if isinstance(space, spaces.Box):
        return tuple(space.shape)
    return (spaces.flatdim(space),)
