"""A network followed step by step: its blocks compute on values that write down what is done with them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from sac_dist.networks.operations import NumpyOperations
from sac_dist.runner.program import Program, Step
from sac_dist.settings import ConfigError


class Trace:
    """The steps so far. What does not depend on an input is computed at once and becomes a constant."""

    def __init__(self) -> None:
        self.observation, self.noise = Value(self), Value(self)
        self._constants: dict[int, Value] = {}
        self._arrays: list[np.ndarray] = []
        self._steps: list[tuple[str, tuple[Value, ...], tuple[Any, ...], Value]] = []

    def step(self, operation: str, *inputs: Any, settings: tuple[Any, ...] = ()) -> Value:
        values = tuple(each if isinstance(each, Value) else self._constant(each) for each in inputs)
        result = Value(self)
        self._steps.append((operation, values, settings, result))
        return result

    def _constant(self, number: Any) -> Value:
        """Python's numbers are float32, as numpy takes them beside float32 arrays."""
        array = np.asarray(number, None if isinstance(number, np.ndarray | np.generic) else np.float32)
        if id(number) not in self._constants:
            self._arrays.append(array)
            self._constants[id(number)] = Value(self)
            self._constants[id(number)].kept = number  # so that no other gets its id
        return self._constants[id(number)]

    def program(self, result: Value) -> Program:
        """All of it up to ``result``, the last step."""
        assert self._steps[-1][-1] is result
        values = [
            self.observation,
            self.noise,
            *self._constants.values(),
            *(step[-1] for step in self._steps),
        ]
        number = {id(value): place for place, value in enumerate(values)}
        steps = [
            Step(operation, tuple(number[id(value)] for value in inputs), settings)
            for operation, inputs, settings, _ in self._steps
        ]
        return Program(tuple(self._arrays), tuple(steps))


class Value:
    """What a step gives, with the operators that tensors and arrays share."""

    __array_ufunc__ = None  # array @ value comes to __rmatmul__
    kept: Any = None

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def __add__(self, other: Any) -> Value:
        return self.trace.step("add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self.trace.step("add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self.trace.step("subtract", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.trace.step("subtract", other, self)

    def __mul__(self, other: Any) -> Value:
        return self.trace.step("multiply", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self.trace.step("multiply", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self.trace.step("divide", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.trace.step("divide", other, self)

    def __matmul__(self, other: Any) -> Value:
        return self.trace.step("matmul", self, other)

    def __neg__(self) -> Value:
        return self.trace.step("multiply", self, -1.0)

    def reshape(self, *shape: int) -> Value:
        return self.trace.step("reshape", self, settings=shape)

    def permute(self, *axes: int) -> Value:
        return self.trace.step("transpose", self, settings=axes)

    def __getitem__(self, part: Any) -> Value:
        """Of a vector."""
        part = part[1] if isinstance(part, tuple) and len(part) == 2 and part[0] is ... else part
        if not isinstance(part, slice) or part.step is not None:
            raise unknown(f"[{part}]")
        last = 2**31 - 1 if part.stop is None else part.stop
        return self.trace.step("slice", self, settings=(part.start or 0, last))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python itself asks for
            raise AttributeError(name)
        raise unknown(f".{name}")


def unknown(what: str) -> ConfigError:
    return ConfigError(f"a block of the policy's network uses {what}, which an exported file does not know")


class TracedOperations:
    """What a block may call, on values or on constants."""

    statistics = seed = None

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def __getattr__(self, name: str) -> Any:
        if name not in ("relu", "exp", "tanh", "rsqrt", "mean_square", "minimum", "maximum"):
            raise unknown(f"ops.{name}")

        def call(*inputs: Any) -> Any:
            if not any(isinstance(each, Value) for each in inputs):
                return getattr(NumpyOperations, name)(*inputs)
            return self.trace.step(name, *inputs)

        return call

    def concatenate(self, parts: Sequence[Any], axis: int = -1) -> Any:
        """Vectors side by side."""
        return reduce(lambda before, part: self.trace.step("concatenate", before, part), parts)

    def convolve(self, x: Value, weight: np.ndarray, bias: np.ndarray, stride: int) -> Value:
        return self.trace.step("convolve", x, weight, settings=(stride,)) + bias.reshape(-1, 1, 1)

    def float32(self, x: Value) -> Value:
        return x

    def var_mean(self, x: Value) -> tuple[Value, Value]:
        mean = self.trace.step("mean", x)
        return self.mean_square(x - mean), mean
