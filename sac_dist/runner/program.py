"""A network as a list of steps on numbered values: what an .npz file holds, and what .onnx and .pt2 are made
from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Array = npt.NDArray[Any]
OBSERVATION, NOISE = 0, 1  # the numbers of the two inputs; then come the constants, then the steps


class Step(NamedTuple):
    """One operation on earlier values; its own number is that of its place."""

    operation: str
    inputs: tuple[int, ...]
    # slice: first and last + 1; cast: the dtype; reshape: the shape; transpose: the axes; convolve: the
    # stride
    settings: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Program:
    """The last step's value is the result: an action."""

    constants: tuple[Array, ...]
    steps: tuple[Step, ...]

    def to_json(self) -> list[Any]:
        return [[step.operation, list(step.inputs), list(step.settings)] for step in self.steps]

    @classmethod
    def from_json(cls, steps: Any, constants: Sequence[Array]) -> Program:
        """Undo :meth:`to_json`. Raises LookupError, TypeError or ValueError where it is damaged."""
        found = tuple(Step(str(name), tuple(inputs), tuple(settings)) for name, inputs, settings in steps)
        for number, step in enumerate(found, start=2 + len(constants)):
            if not all(type(value) is int and 0 <= value < number for value in step.inputs):
                raise ValueError(f"step {number} reads {step.inputs}")
            if len(step.inputs) != (2 if step.operation in (*BINARY, "convolve") else 1):
                raise ValueError(f"{step.operation} of {len(step.inputs)} values")
            function_of(step)
        if not found:
            raise ValueError("no steps")
        return cls(tuple(constants), found)

    def compiled(self) -> Callable[[Array, Array], Array]:
        """As a function of the observation's vector and of noise, in numpy."""
        base: list[Any] = [None, None, *self.constants]
        calls = [
            (function_of(step), step.inputs[0], step.inputs[1] if len(step.inputs) > 1 else None)
            for step in self.steps
        ]

        def run(observation: Array, noise: Array) -> Array:
            values = base.copy()
            values[OBSERVATION], values[NOISE] = observation, noise
            for function, first, second in calls:
                x = values[first]
                values.append(function(x) if second is None else function(x, values[second]))
            result: Array = values[-1]
            return result

        return run


ZERO = np.zeros((), np.float32)  # a Python number would be converted at each call


def relu(x: Array) -> Array:
    return np.maximum(x, ZERO)


def rsqrt(x: Array) -> Array:
    return 1 / np.sqrt(x)


def mean(x: Array) -> Array:
    return x.mean(axis=-1, keepdims=True)


def mean_square(x: Array) -> Array:
    return np.square(x).mean(axis=-1, keepdims=True)


def cast(dtype: str, x: Array) -> Array:
    return x.astype(dtype)


def reshape(shape: tuple[int, ...], x: Array) -> Array:
    return x.reshape(shape)


def transpose(axes: tuple[int, ...], x: Array) -> Array:
    return x.transpose(axes)


def concatenate(first: Array, second: Array) -> Array:
    return np.concatenate((first, second))


def convolve(stride: int, x: Array, weight: Array) -> Array:
    """(1, C, H, W) with weight (outputs, C, rows, columns): (1, outputs, H′, W′), as one product."""
    windows = sliding_window_view(x[0], weight.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    height, width = windows.shape[1:3]
    patches = windows.transpose(0, 3, 4, 1, 2).reshape(-1, height * width)
    return (weight.reshape(len(weight), -1) @ patches).reshape(1, -1, height, width)


BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "matmul": np.matmul,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "concatenate": concatenate,
}
UNARY: dict[str, Callable[[Array], Array]] = {
    "relu": relu,
    "exp": np.exp,
    "tanh": np.tanh,
    "rsqrt": rsqrt,
    "mean": mean,  # over the last axis, which stays with one entry, as in mean_square
    "mean_square": mean_square,
}


def function_of(step: Step) -> Callable[..., Array]:
    """What computes a step in numpy. Raises LookupError, TypeError or ValueError for one that is none."""
    name = step.operation
    if name == "slice":
        first, last = step.settings
        return itemgetter(slice(int(first), int(last)))
    if name == "cast":
        return partial(cast, np.dtype(step.settings[0]).name)
    if name in ("reshape", "transpose"):
        return partial(
            reshape if name == "reshape" else transpose, tuple(int(each) for each in step.settings)
        )
    if name == "convolve":
        return partial(convolve, int(step.settings[0]))
    return BINARY[name] if name in BINARY else UNARY[name]
