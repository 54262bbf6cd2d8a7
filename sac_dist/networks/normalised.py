"""Blocks that keep activations or weights of one size, residual blocks, and dropout."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from sac_dist.networks.blocks import Block, Forward, Linear
from sac_dist.networks.operations import Array, Operations
from sac_dist.networks.parameters import Parameters

BATCH_NORM_EPS, RMS_NORM_EPS = 1e-5, 1e-6  # FlashSAC's
MOMENTUM = 0.01  # of the running statistics: the share of the newest batch
SMALLEST = 1e-8  # of a squared length that is divided by


@dataclass(frozen=True)
class UnitLinear(Linear):
    """x W [+ b] with columns of W of length 1, one for each output: weight normalisation by projection after
    each step (XQC, arXiv:2509.25174; SimbaV2, arXiv:2502.15280; FlashSAC). They start orthogonal.
    """

    has_bias: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.inputs, self.outputs)}
        return shapes | {"bias": (self.outputs,)} if self.has_bias else shapes

    def initialise(self, parameters: Parameters, name: str, generator: torch.Generator) -> None:
        weights = parameters[f"{name}.weight"]
        for weight in weights.view(-1, self.inputs, self.outputs):
            torch.nn.init.orthogonal_(weight, generator=generator)
        if self.has_bias:
            parameters[f"{name}.bias"].fill_(0.0)

    def bind(self, ops: Operations, parameters: Mapping[str, Array], name: str) -> Forward:
        weight = parameters[f"{name}.weight"]
        if not self.has_bias:
            return lambda x: x @ weight
        bias = parameters[f"{name}.bias"]
        return lambda x: x @ weight + bias

    def project(self, parameters: Parameters, name: str) -> None:
        weight = parameters[f"{name}.weight"]
        weight.mul_(weight.square().sum(dim=-2, keepdim=True).clamp(min=SMALLEST).rsqrt())


@dataclass(frozen=True)
class RMSNorm(Block):
    """x / √(mean x²) · weight, arXiv:1910.07467. ``unit``: the weights keep the length √features."""

    features: int
    unit: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.features,)}

    def initialise(self, parameters: Parameters, name: str, generator: torch.Generator) -> None:
        parameters[f"{name}.weight"].fill_(1.0)

    def bind(self, ops: Operations, parameters: Mapping[str, Array], name: str) -> Forward:
        weight = parameters[f"{name}.weight"]
        return lambda x: x * ops.rsqrt(ops.mean_square(x) + RMS_NORM_EPS) * weight

    def project(self, parameters: Parameters, name: str) -> None:
        if self.unit:
            keep_length([parameters[f"{name}.weight"]], self.features)


@dataclass(frozen=True)
class BatchNorm(Block):
    """Batch normalisation, arXiv:1502.03167: by the batch where the pass trains, else by the running mean and
    variance, which lie with the parameters. ``unit``: weights and biases together keep the length √features.
    """

    features: int
    unit: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("weight", "bias", "running_mean", "running_variance"), (self.features,))

    def initialise(self, parameters: Parameters, name: str, generator: torch.Generator) -> None:
        for part in self.shapes:
            parameters[f"{name}.{part}"].fill_(float(part in ("weight", "running_variance")))

    def bind(self, ops: Operations, parameters: Mapping[str, Array], name: str) -> Forward:
        weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        if ops.statistics is None:
            mean, variance = parameters[f"{name}.running_mean"], parameters[f"{name}.running_variance"]
            return lambda x: (x - mean) * (ops.rsqrt(variance + BATCH_NORM_EPS) * weight) + bias

        def forward(x: torch.Tensor) -> torch.Tensor:
            variance, mean = torch.var_mean(x, dim=-2, correction=0, keepdim=True)
            ops.statistics[name] = mean.detach(), variance.detach()
            return (x - mean) * ((variance + BATCH_NORM_EPS).rsqrt() * weight) + bias

        return forward

    def project(self, parameters: Parameters, name: str) -> None:
        if self.unit:
            keep_length([parameters[f"{name}.weight"], parameters[f"{name}.bias"]], self.features)


def keep_length(vectors: list[torch.Tensor], features: int) -> None:
    """Scale vectors (…, features) in place so that together they have the length √features."""
    squares = torch.stack([vector.square().sum(dim=-1, keepdim=True) for vector in vectors]).sum(dim=0)
    factor = math.sqrt(features) * squares.clamp(min=SMALLEST).rsqrt()
    for vector in vectors:
        vector.mul_(factor)


@dataclass(frozen=True)
class Residual(Block):
    """x + blocks(x)."""

    blocks: tuple[tuple[str, Block], ...]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            f"{name}.{part}": shape for name, block in self.blocks for part, shape in block.shapes.items()
        }

    def initialise(self, parameters: Parameters, name: str, generator: torch.Generator) -> None:
        for inner, block in self.blocks:
            block.initialise(parameters, f"{name}.{inner}", generator)

    def bind(self, ops: Operations, parameters: Mapping[str, Array], name: str) -> Forward:
        steps = [block.bind(ops, parameters, f"{name}.{inner}") for inner, block in self.blocks]

        def forward(x: Array) -> Array:
            y = x
            for step in steps:
                y = step(y)
            return x + y

        return forward

    def project(self, parameters: Parameters, name: str) -> None:
        for inner, block in self.blocks:
            block.project(parameters, f"{name}.{inner}")


@dataclass(frozen=True)
class Dropout(Block):
    """Leaves each unit out with the chance ``rate`` where the pass has a seed, and scales the others up.

    ``salt`` tells the network's dropouts apart. Which units follows from a hash of seed, salt and place, so
    that an update stays a function of its arguments, and no random numbers are drawn for it.
    """

    rate: float
    salt: int

    def bind(self, ops: Operations, parameters: Mapping[str, Array], name: str) -> Forward:
        if ops.seed is None:
            return lambda x: x

        def forward(x: torch.Tensor) -> torch.Tensor:
            place = torch.arange(x.numel(), dtype=torch.int32, device=x.device).view(x.shape)
            chance = hashed(hashed(ops.seed + self.salt) + place) & 0x7FFFFFFF
            return x * (chance >= round(self.rate * 2**31)) * (1 / (1 - self.rate))

        return forward


def hashed(x: torch.Tensor) -> torch.Tensor:
    """A mixture of the bits of int32 numbers; C. Wellons, Hash Function Prospector, lowbias32."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D
    x = (x ^ ((x >> 15) & 0x1FFFF)) * (0x846CA68B - 2**32)
    return x ^ ((x >> 16) & 0xFFFF)
