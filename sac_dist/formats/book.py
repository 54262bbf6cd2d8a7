"""The book's demonstrations: a pickled list of (state, action, reward, next_state, done)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.data.transitions import Transitions
from sac_dist.formats import pickle_reader as book_pickle
from sac_dist.formats.check import check_size, checked, refusal
from sac_dist.formats.pickled_numpy import Array, Refused
from sac_dist.settings import ConfigError

FIELDS = ("state", "action", "reward", "next_state", "done")
ITEM = 4  # bytes of a float32


def read(path: Path) -> Transitions:
    """The transitions of a book's pickle; ``done`` is terminated. Raises ConfigError with file, transition,
    field and reason.

    state, action, next_state: an array, list or tuple of numbers, or one number. reward, done: a number, or
        an array of one.
    The file does not mark time limits; ``check.checked`` says where it finds them.
    """
    name, size = str(path), path.stat().st_size
    check_size(name, size, size)
    try:
        transitions = book_pickle.loads(path.read_bytes())
    except Refused as error:
        raise ConfigError(f"{name} {error}") from None
    if not isinstance(transitions, (list, tuple)):
        raise ConfigError(
            f"{name} holds {_kind(transitions)}, not a list of transitions ({', '.join(FIELDS)})"
        )
    count = len(transitions)
    if not count:
        raise ConfigError(f"{name} holds no transitions")
    first = _fields(name, 0, transitions[0])
    widths = [_vector(name, 0, field, value).size for field, value in zip(FIELDS, first, strict=True)]
    check_size(name, count * sum(widths) * ITEM, size)
    columns = [np.empty((count, width), np.float32) for width in widths]
    with np.errstate(over="ignore", invalid="ignore"):
        for index, transition in enumerate(transitions):
            values = _fields(name, index, transition)
            for field, value, column in zip(FIELDS, values, columns, strict=True):
                vector = _vector(name, index, field, value)
                if vector.size != column.shape[1]:
                    raise refusal(
                        name,
                        index,
                        field,
                        f"has {vector.size} entries, and transition 0's has {column.shape[1]}",
                    )
                column[index] = vector
    state, action, reward, next_state, done = columns
    for field, column in (("reward", reward), ("done", done)):
        if column.shape[1] != 1:
            raise refusal(name, 0, field, f"has {column.shape[1]} entries instead of one number")
    return checked(
        name,
        observation=state,
        action=action,
        reward=reward[:, 0],
        next_observation=next_state,
        terminated=done[:, 0],
    )


def write(demos: Transitions, path: Path) -> None:
    """Arrays of float32, float and bool in protocol 4, which every Python 3 reads. Truncated, success and
    source are lost.
    """
    rows = zip(
        demos.observation,
        demos.action,
        demos.reward.tolist(),
        demos.next_observation,
        demos.terminated.tolist(),
        strict=True,
    )
    with open(path, "wb") as file:
        pickle.dump(list(rows), file, protocol=4)


def _fields(name: str, index: int, transition: Any) -> Any:
    if not isinstance(transition, (list, tuple)) or len(transition) != len(FIELDS):
        held = f"{len(transition)} values" if isinstance(transition, (list, tuple)) else _kind(transition)
        raise ConfigError(f"{name}: transition {index} is {held} instead of a tuple ({', '.join(FIELDS)})")
    return transition


def _vector(name: str, index: int, field: str, value: Any) -> npt.NDArray[Any]:
    """A value's numbers, in one dimension."""
    if type(value) is Array:
        array = value.value
        if array is None or array.dtype.kind not in "biuf":
            raise refusal(name, index, field, "is an array without its numbers")
        if array.ndim > 1 and array.size != max(array.shape):
            raise refusal(name, index, field, f"has the shape {array.shape}: only vectors are read")
        return array.reshape(-1)
    numbers = value if isinstance(value, (list, tuple)) else (value,)
    for number in numbers:
        if not isinstance(number, (bool, int, float)):
            inside = f"holds {_kind(number)}" if numbers is value else f"is {_kind(value)}"
            raise refusal(name, index, field, f"{inside}, not numbers")
    try:
        return np.array(numbers, np.float64)
    except OverflowError:
        raise refusal(
            name, index, field, "holds a whole number beyond any float: not a finite float32"
        ) from None


def _kind(value: Any) -> str:
    names = {
        Array: "an array",
        bytes: "bytes",
        str: "text",
        list: "a list",
        tuple: "a tuple",
        type(None): "None",
    }
    return names.get(
        type(value),
        f"one {type(value).__name__}" if isinstance(value, (bool, int, float)) else "something else",
    )
