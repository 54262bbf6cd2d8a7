"""What a transition consists of. Only this module knows how a transition lies in a row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from sac_dist.settings import ConfigError

Rows = npt.NDArray[np.float32]  # (…, row_width)

STATE = "state"  # the one field of an observation that is a plain vector
PICTURE = "picture"  # … that is one picture
MOST_CHANNELS = 16
# A field of this name is for the critics alone, which no policy needs once it is trained: Pinto et al.,
# Asymmetric Actor Critic, arXiv:1710.06542.
PRIVILEGED = "privileged"


@dataclass(frozen=True)
class Field:
    """One named array of an observation: numbers, or a uint8 picture (height, width, channels)."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    stack: int = 1  # of a picture: it and so many less one before it are seen at once, oldest first

    @property
    def is_picture(self) -> bool:
        return self.dtype == "uint8"

    def __str__(self) -> str:
        size = "×".join(map(str, self.shape)) or "1"
        if not self.is_picture:
            return f"{self.name} {size}"
        return f"{self.name} {size} uint8" + (f" ({self.stack} stacked)" if self.stack > 1 else "")

    @property
    def size(self) -> int:
        """How many numbers it has in an observation."""
        return self.stack * math.prod(self.shape)


@dataclass(frozen=True)
class Schema:
    """The named arrays of an observation, the size of an action, and the layout of a row.

    An observation is one vector: its fields side by side, each flattened, in the order of their names. A
    plain vector is one field.

    A row is float32 ``[observation | action | reward | next_observation | terminated | truncated]`` without
    pictures. Those lie beside the rows, once a step, as uint8: the newest of each field, side by side, are a
    *frame* (frame_size,).

    Raises:
        ConfigError: no field, two of one name, a size below 1, a dtype that no row holds, pictures that are
            not (height, width, channels) or not stacked alike.
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
            if field.dtype not in ("float32", "uint8"):
                raise ConfigError(f"the field {field.name} is {field.dtype}: a row holds float32")
            if field.is_picture and len(field.shape) != 3:
                raise ConfigError(f"the picture {field.name} has the shape {field.shape}, not three sides")
            if field.stack < 1 or (field.stack > 1 and not field.is_picture):
                raise ConfigError(f"the field {field.name} cannot be stacked {field.stack} times")
        if len({field.stack for field in self.pictures}) > 1:
            raise ConfigError("all pictures are stacked alike")

    @classmethod
    def vector(cls, observation_size: int, action_size: int) -> Schema:
        """The schema of an environment whose observation is one vector."""
        return cls((Field(STATE, (observation_size,)),), action_size)

    @classmethod
    def from_spaces(cls, observation: spaces.Space, action: spaces.Box, stack: int = 1) -> Schema:
        """The schema of spaces. Numbers of any dtype become float32; a Discrete becomes one number a choice;
        a uint8 Box of two or three axes is a picture, ``stack`` of which are seen at once.

        Raises ConfigError for a picture of no known layout and a space that does not become numbers.
        """
        parts = named_parts(observation)
        return cls(tuple(_field(name, parts[name], stack) for name in sorted(parts)), math.prod(action.shape))

    # sizes

    @cached_property
    def observation_size(self) -> int:
        """Numbers of an observation, over all fields."""
        return sum(field.size for field in self.fields)

    @cached_property
    def pictures(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.is_picture)

    @cached_property
    def vector_size(self) -> int:
        """Numbers of an observation that are no pictures."""
        return sum(field.size for field in self.fields if not field.is_picture)

    @cached_property
    def frame_size(self) -> int:
        """Bytes of one step's pictures."""
        return sum(math.prod(field.shape) for field in self.pictures)

    @cached_property
    def stack(self) -> int:
        """Frames that are seen at once."""
        return self.pictures[0].stack if self.pictures else 1

    @cached_property
    def row_width(self) -> int:
        """Numbers of a row."""
        return 2 * self.vector_size + self.action_size + 3

    @cached_property
    def columns(self) -> dict[str, slice | int]:
        """Where each part of a transition lies in a row: a slice for vectors, a number for numbers."""
        observation, action = self.vector_size, self.action_size
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
        observation, action = (self.vector_size,), (self.action_size,)
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
        """Where each field of numbers lies in the observation of a row."""
        return side_by_side(field for field in self.fields if not field.is_picture)

    @cached_property
    def spans(self) -> dict[str, slice]:
        """Where each field lies in an observation's vector, pictures included."""
        return side_by_side(self.fields)

    # observations with pictures

    def numbers_of(self, observations: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(…, vector_size) what lies in rows of ``observations`` (…, observation_size)."""
        if not self.pictures:
            return observations
        parts = [observations[..., self.spans[field.name]] for field in self.fields if not field.is_picture]
        return np.concatenate([observations[..., :0], *parts], axis=-1)

    def frames_of(self, observations: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(…, stack, frame_size) what ``observations`` (…, observation_size) show, oldest first."""
        lead = observations.shape[:-1]
        parts = [
            observations[..., self.spans[field.name]].reshape(*lead, field.stack, -1)
            for field in self.pictures
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def newest_frames(self, observations: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """(…, frame_size) the newest that ``observations`` show. Raise ValueError for a number that is no
        uint8.
        """
        frames = self.frames_of(observations)[..., -1, :]
        if not (frames.min() >= 0 and frames.max() <= 255):
            raise ValueError("pictures hold numbers from 0 to 255")
        return frames.astype(np.uint8)

    def observations_of(self, numbers: npt.NDArray[Any], frames: npt.NDArray[np.uint8]) -> Rows:
        """(n, observation_size) of what rows hold (n, vector_size) and frames (n, stack, frame_size)."""
        observations = np.empty((len(numbers), self.observation_size), np.float32)
        places = side_by_side(replace(field, stack=1) for field in self.pictures)
        for field in self.fields:
            part = (
                frames[..., places[field.name]] if field.is_picture else numbers[:, self.places[field.name]]
            )
            observations[:, self.spans[field.name]] = part.reshape(len(numbers), -1)
        return observations

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
        fields: dict[str, Any] = {
            field.name: {"shape": list(field.shape), "dtype": field.dtype}
            | ({"stack": field.stack} if field.stack > 1 else {})
            for field in self.fields
        }
        return {"observation": fields, "action_size": self.action_size}

    @classmethod
    def from_dict(cls, parts: Mapping[str, Any]) -> Schema:
        """Undo :meth:`to_dict`. Raise KeyError, TypeError, ValueError or ConfigError where it is damaged."""
        fields = tuple(
            Field(
                str(name),
                tuple(int(size) for size in field["shape"]),
                str(field["dtype"]),
                int(field.get("stack", 1)),
            )
            for name, field in sorted(parts["observation"].items())
        )
        return cls(fields, int(parts["action_size"]))

    def __str__(self) -> str:
        return f"observation: {', '.join(map(str, self.fields))}; action: {self.action_size}"


def named_parts(space: spaces.Space) -> dict[str, spaces.Space]:
    """The fields' spaces by their names."""
    if isinstance(space, spaces.Dict):
        return dict(space.spaces)
    return {PICTURE if is_picture(space) else STATE: space}


def is_picture(space: spaces.Space) -> bool:
    """Whether it is a Box of uint8 with rows and columns."""
    return isinstance(space, spaces.Box) and len(space.shape) > 1 and space.dtype == np.uint8


def side_by_side(fields: Iterable[Field]) -> dict[str, slice]:
    """Where each of ``fields`` lies in a vector of them."""
    places, end = {}, 0
    for field in fields:
        places[field.name] = slice(end, end + field.size)
        end += field.size
    return places


def _field(name: str, space: spaces.Space, stack: int) -> Field:
    if is_picture(space):
        shape = space.shape
        assert shape is not None
        if len(shape) == 2:
            shape = (*shape, 1)
        if len(shape) != 3 or shape[2] > MOST_CHANNELS:
            raise ConfigError(
                f"the observation {name} is a picture of the shape {space.shape}: it has to be (height, "
                f"width, channels) with at most {MOST_CHANNELS} channels; "
                "gymnasium.wrappers.TransformObservation can turn it"
            )
        return Field(name, tuple(shape), "uint8", stack)
    if _hides_picture(space) or not space.is_np_flattenable:
        raise ConfigError(
            f"the observation {name} is of {space}: the networks need numbers that flatten to a vector, or "
            "pictures by names of their own"
        )
    if isinstance(space, spaces.Box):
        return Field(name, tuple(space.shape))
    return Field(name, (spaces.flatdim(space),))


def _hides_picture(space: spaces.Space) -> bool:
    if isinstance(space, spaces.Dict):
        return any(map(_hides_picture, space.spaces.values()))
    if isinstance(space, spaces.Tuple):
        return any(map(_hides_picture, space.spaces))
    return is_picture(space)
