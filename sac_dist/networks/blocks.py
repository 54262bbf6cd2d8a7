"""The pieces of a network: what each computes, written once for torch and numpy, and how it starts.

A block holds sizes, never numbers. :meth:`Block.bind` finds its parameters and returns the function that
computes; networks/network.py puts blocks together. See docs/algorithms.md for a block of one's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from sac_dist.networks.operations import Array, Operations
from sac_dist.networks.parameters import Parameters

NORM_EPS = 1e-5  # of a layer normalisation's variance, as in torch.nn.LayerNorm
Forward = Callable[[Array], Array]  # (…, inputs) → (…, outputs)


@dataclass(frozen=True)
class Block:
    """A function of the last axis, with parameters or without."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter: matrices (inputs, outputs) and vectors (features,)."""
        return {}

    def initialise(self, parameters: Parameters, name: str, generator: torch.Generator) -> None:
        """Fill the parameters ``{name}.…`` in place."""

    def bind(self, ops: Operations, parameters: Mapping[str, Array], name: str) -> Forward:
        """The function that computes with the parameters ``{name}.…``, by ``ops`` and by operators that
        tensors and arrays share. In torch a vector has a row axis before it, and an ensemble's parameters
        have the critics in front: both broadcast.
        """
        raise NotImplementedError

    def project(self, parameters: Parameters, name: str) -> None:
        """Bring the parameters ``{name}.…`` back, in place, to where they have to lie after a step."""


@dataclass(frozen=True)
class Linear(Block):
    """x W + b. Weights lie as (inputs, outputs): the transpose of torch.nn.Linear.

    They start uniform in ±``bound``, or as torch.nn.Linear does: in ±1/√inputs.
    """

    inputs: int
    outputs: int
    bound: float | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.inputs, self.outputs), "bias": (self.outputs,)}

    def initialise(self, parameters: Parameters, name: str, generator: torch.Generator) -> None:
        bound = 1 / math.sqrt(self.inputs) if self.bound is None else self.bound
        for part in self.shapes:
            parameters[f"{name}.{part}"].uniform_(-bound, bound, generator=generator)

    def bind(self, ops: Operations, parameters: Mapping[str, Array], name: str) -> Forward:
        weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        return lambda x: x @ weight + bias


@dataclass(frozen=True)
class Scalar(Linear):
    """A Linear with one output, whose axis it drops: (…, inputs) → (…)."""

    def bind(self, ops: Operations, parameters: Mapping[str, Array], name: str) -> Forward:
        weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        # (…, B, inputs) · (…, 1, inputs) → (…, B): BLAS is slower than this at a product with one column
        return lambda x: (x * weight.swapaxes(-1, -2)).sum(-1) + bias.squeeze(-1)


@dataclass(frozen=True)
class ReLU(Block):
    """max(x, 0)."""

    def bind(self, ops: Operations, parameters: Mapping[str, Array], name: str) -> Forward:
        relu: Forward = ops.relu
        return relu


@dataclass(frozen=True)
class Without(Block):
    """x without its entries ``begin`` … ``end`` - 1."""

    begin: int
    end: int

    def bind(self, ops: Operations, parameters: Mapping[str, Array], name: str) -> Forward:
        return lambda x: ops.concatenate([x[..., : self.begin], x[..., self.end :]], -1)


@dataclass(frozen=True)
class LayerNorm(Block):
    """Layer normalisation, arXiv:1607.06450; starts as the identity after standardisation."""

    features: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.features,), "bias": (self.features,)}

    def initialise(self, parameters: Parameters, name: str, generator: torch.Generator) -> None:
        parameters[f"{name}.weight"].fill_(1.0)
        parameters[f"{name}.bias"].fill_(0.0)

    def bind(self, ops: Operations, parameters: Mapping[str, Array], name: str) -> Forward:
        weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]

        def forward(x: Array) -> Array:
            variance, mean = ops.var_mean(x)
            return (x - mean) * ops.rsqrt(variance + NORM_EPS) * weight + bias

        return forward
