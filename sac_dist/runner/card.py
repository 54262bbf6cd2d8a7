"""What an exported policy observes and does: the part of a file that people and programs read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.settings.option import ConfigError

FORMAT, VERSION = "sac_dist policy", 1
LARGEST = 1e15  # of a number of an observation, as in training
WIDEST = 1e6  # a bound beyond ± this says nothing of what is observed
ROUNDING = 0.01  # share of its range that a number may lie beyond it
MOST = 100_000_000  # numbers of a field or an action
KINDS = "fiub"  # of dtypes: numbers and truth values
Array = npt.NDArray[Any]
Random = np.random.Generator | np.random.RandomState


@dataclass(frozen=True)
class Field:
    """One named array of an observation, as the environment gives it."""

    name: str
    path: tuple[str, ...]  # where it lies in the observation: a name, and names or numbers within that part
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    low: Array  # of the shape; ±inf where the environment names no bound
    high: Array
    # of a choice among n, from first on, and not a measure: (first, n) for each of its numbers
    choices: tuple[tuple[int, int], ...] | None = None
    stack: int = 1  # pictures of the last so many steps, oldest first: the shape's first number

    @classmethod
    def of(cls, part: Mapping[str, Any]) -> Field:
        shape, dtype = tuple(int(size) for size in part["shape"]), np.dtype(part["dtype"])
        stacked = part.get("stack", 1) in (1, *shape[:1])
        choices = part.get("choices")
        numbers = math.prod(shape) + sum(max(int(n), 0) for _, n in choices or ())
        if (
            dtype.kind not in KINDS
            or min(shape, default=1) < 1
            or not part["path"]
            or not stacked
            or numbers > MOST
        ):
            raise ValueError(f"the field {part['name']}")
        return cls(
            str(part["name"]),
            tuple(map(str, part["path"])),
            shape,
            dtype,
            bounds(part["low"], shape, -np.inf),
            bounds(part["high"], shape, np.inf),
            None if choices is None else tuple((int(first), int(n)) for first, n in choices),
            int(part.get("stack", 1)),
        )

    @property
    def size(self) -> int:
        """How many numbers of the network's input it becomes."""
        return int(np.prod(self.shape)) if self.choices is None else sum(n for _, n in self.choices)

    def random(self, generator: Random) -> Array:
        """A value in its range; where there is no bound, or one that says nothing, near 0."""
        low, high = np.maximum(self.low, -LARGEST), np.minimum(self.high, LARGEST)
        bounded = (self.low >= -WIDEST) & (self.high <= WIDEST)
        within = generator.uniform(np.where(bounded, low, 0.0), np.where(bounded, high, 1.0))
        anywhere = np.clip(generator.normal(0.0, 3.0, self.shape), low, high)
        value = np.where(bounded, within, anywhere)
        if self.dtype.kind == "f":
            return value.astype(self.dtype)
        return np.clip(np.round(value), low, high).astype(self.dtype)


@dataclass(frozen=True)
class Action:
    """The array that the environment takes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    low: Array  # of the shape
    high: Array
    stop: Array | None  # what makes the robot stand still; None: not known
    held: tuple[int, ...]  # numbers that keep, in a stop, what was sent last, such as the gripper's

    @classmethod
    def of(cls, part: Mapping[str, Any]) -> Action:
        shape, dtype = tuple(int(size) for size in part["shape"]), np.dtype(part["dtype"])
        if dtype.kind not in KINDS or min(shape, default=0) < 1 or math.prod(shape) > MOST:
            raise ValueError("the action's shape or dtype")
        low, high = (bounds(part[end], shape, np.nan).astype(dtype) for end in ("low", "high"))
        if not (low < high).all():  # false for a bound that is missing, too
            raise ValueError("the action's range")
        stop = None if part["stop"] is None else np.array(part["stop"], dtype).reshape(shape)
        held = tuple(int(index) for index in part["held"])
        if not all(0 <= index < low.size for index in held):
            raise ValueError("the action's held numbers")
        return cls(shape, dtype, low, high, stop, held)


@dataclass(frozen=True)
class Card:
    """The whole of it; ``parts`` is the JSON with what only people read: units, robot, training, success."""

    fields: tuple[Field, ...]
    action: Action
    control_period: float | None  # s from one action to the next; None: the environment does not say
    parts: dict[str, Any]

    @classmethod
    def of(cls, parts: Any) -> Card:
        """Raises ConfigError for the file of another version, and for one that is damaged or foreign."""
        if not isinstance(parts, dict) or parts.get("format") != FORMAT:
            raise ConfigError("is not a policy that sac_dist exported")
        if parts.get("version") != VERSION:
            raise ConfigError(
                f"has version {str(parts.get('version'))[:20]}, and this sac_dist reads {VERSION}: "
                "use the sac_dist that wrote it, or export the policy again"
            )
        try:
            period = parts["control_period"]
            fields = tuple(Field.of(part) for part in parts["observation"])
            if not fields or not isinstance(parts["environment"], dict):
                raise ValueError("no fields or no environment")
            return cls(fields, Action.of(parts["action"]), None if period is None else float(period), parts)
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            raise ConfigError(f"is damaged: its description lacks or garbles {error}") from None

    @property
    def noise_size(self) -> int:
        """Numbers of noise that a sampled action takes."""
        return int(np.prod(self.action.shape))

    def random(self, generator: Random) -> dict[str, Any]:
        """An observation within the fields' ranges."""
        found: dict[str, Any] = {}
        for field in self.fields:
            *parents, last = field.path
            inner = found
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[last] = field.random(generator)
        return found

    def arrays(self, observation: dict[str, Any]) -> dict[str, Array]:
        """Undo the nesting of :meth:`random`."""
        found: dict[str, Array] = {}
        for field in self.fields:
            part: Any = observation
            for name in field.path:
                part = part[name]
            found[field.name] = part
        return found


def bounds(values: Any, shape: tuple[int, ...], nothing: float) -> Array:
    """The array of ``values``, one for all or one for each, None where there is no bound."""
    listed = values if isinstance(values, list) else [values]
    numbers = np.array([nothing if value is None else value for value in listed], np.float64)
    return np.array(np.broadcast_to(numbers[0], shape) if len(listed) == 1 else numbers.reshape(shape))
