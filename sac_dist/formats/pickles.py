"""Pickles: the book's list of (state, action, reward, next_state, done), and trajectories as dicts of
arrays.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sac_dist.data.transitions import Transitions
from sac_dist.formats import pickle_reader, trajectories
from sac_dist.formats.check import check_size, checked, joined, refusal
from sac_dist.formats.format import Format, has_suffix, whole
from sac_dist.formats.pickled_numpy import Array, Refused, shortened
from sac_dist.settings import ConfigError

FIELDS = ("state", "action", "reward", "next_state", "done")
ITEM = 4  # bytes of a float32
SUFFIXES = ".pickle", ".pkl"
BEGINNINGS = (b"\x80", b"(l", b"]q", b"(d", b"}q")  # of a list or dict: protocols 2 to 5, 0 and 1


def matches(name: str) -> bool:
    """Whether a file's name or its beginning says that it is a pickle."""
    if has_suffix(*SUFFIXES)(name):
        return True
    if not Path(name).is_file():
        return False
    with open(name, "rb") as file:
        return file.read(2).startswith(BEGINNINGS)


def read(name: str) -> Transitions:
    """The transitions of all objects in the file, which may have been written one behind the other.

    An object is a list of the book's transitions, one of them, a list of trajectories, or one dict of arrays
    for all. Raises ConfigError with file, transition, field and reason.
    """
    size = Path(name).stat().st_size
    check_size(name, size, size)
    try:
        objects = pickle_reader.loads(Path(name).read_bytes())
    except Refused as error:
        raise ConfigError(f"{name} {error}") from None
    if len(objects) == 1 and isinstance(objects[0], dict):
        found = _of_dict(name, objects[0], _Budget(name, size), one_episode=False)
        if found is None:
            raise ConfigError(f"{name} holds no whole transitions")
        return found
    items: list[Any] = []
    for value in objects:
        if isinstance(value, dict) or _is_transition(value):
            items.append(value)
        elif isinstance(value, (list, tuple)):
            items.extend(value)
        else:
            raise ConfigError(
                f"{name} holds {_kind(value)}, not a list of transitions ({', '.join(FIELDS)}) or of "
                "trajectories (dicts of observations, actions, rewards, terminals)"
            )
    if not items:
        raise ConfigError(f"{name} holds no transitions")
    return _of_trajectories(name, items, size) if isinstance(items[0], dict) else _of_rows(name, items, size)


def _is_transition(value: Any) -> bool:
    """A list of five transitions has one in its middle, and a transition a reward."""
    return type(value) is tuple and len(value) == len(FIELDS) and not isinstance(value[2], (list, tuple))


def _of_trajectories(name: str, paths: list[Any], size: int) -> Transitions:
    """One dict, one episode."""
    for index, path in enumerate(paths):
        if not isinstance(path, dict):
            raise ConfigError(f"{name}: trajectory {index} is {_kind(path)} instead of a dict")
    if len({id(path) for path in paths}) < len(paths):
        raise ConfigError(f"{name} repeats a trajectory: it is damaged")
    budget = _Budget(name, size)
    return joined(
        name,
        [
            (label, _of_dict(f"{name}: {label}", path, budget, one_episode=True))
            for label, path in ((f"trajectory {index}", path) for index, path in enumerate(paths))
        ],
    )


def _of_dict(name: str, path: dict[str, Any], budget: _Budget, one_episode: bool) -> Transitions | None:
    keys = trajectories.known_names(path)
    arrays = {field: _matrix(name, key, path[key], budget) for field, key in keys.items()}
    if not {"observation", "action", "reward"} <= set(keys):
        raise ConfigError(
            f"{name} is a dict with the keys {shortened(sorted(path))}: it needs observations, actions, "
            "rewards and terminals (or terminated, or dones)"
        )
    return trajectories.of_arrays(name, arrays, one_episode=one_episode)


class _Budget:
    """What a file may unfold to: its arrays can be named many times."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size, self.used = name, size, 0

    def charge(self, numbers: int) -> None:
        self.used += numbers * ITEM
        check_size(self.name, self.used, self.size)


def _matrix(name: str, key: str, value: Any, budget: _Budget) -> npt.NDArray[Any]:
    """An array, a list with a vector or number a step, or such by name (a Dict's observations)."""
    if isinstance(value, dict):
        parts = {part: _matrix_of_one(name, f"{key} {part}", value[part], budget) for part in value}
        return trajectories.side_by_side(f"{name}: {shortened(key)}", parts)
    return _matrix_of_one(name, key, value, budget)


def _matrix_of_one(name: str, key: str, value: Any, budget: _Budget) -> npt.NDArray[Any]:
    if type(value) is Array and value.value is not None:
        budget.charge(value.value.size)
        return value.value
    if not isinstance(value, (list, tuple)):
        return _vector(name, None, shortened(key), value)
    if not value:
        return np.zeros((0, 1))
    width = _vector(name, 0, shortened(key), value[0]).size
    budget.charge(len(value) * width)
    rows = np.empty((len(value), width), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for index, step in enumerate(value):
            vector = _vector(name, index, shortened(key), step)
            if vector.size != width:
                raise refusal(
                    name, index, shortened(key), f"has {vector.size} entries, and the first {width}"
                )
            rows[index] = vector
    return rows


def _of_rows(name: str, transitions: list[Any], size: int) -> Transitions:
    """The book's transitions; ``done`` is terminated.

    state, action, next_state: an array, list or tuple of numbers, one number, or a dict of such. reward,
        done: a number, or an array of one.
    The file does not mark time limits; ``check.checked`` says where it finds them.
    """
    count = len(transitions)
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


def _vector(name: str, index: int | None, field: str, value: Any) -> npt.NDArray[Any]:
    """A value's numbers, in one dimension; a dict's in the order of their names, as Schema has them."""
    if type(value) is dict and value and not any(type(part) is dict for part in value.values()):
        parts = [_vector(name, index, f"{field} {shortened(key)}", value[key]) for key in sorted(value)]
        return np.concatenate(parts)
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
        dict: "a dict",
        type(None): "None",
    }
    return names.get(
        type(value),
        f"one {type(value).__name__}" if isinstance(value, (bool, int, float)) else "something else",
    )


FORMAT = Format(matches, read, SUFFIXES, write=whole(write))
