"""A network: blocks in a row, and one vector of parameters that somebody else owns.

Its parameters are one float32 vector, so that processes can share it and an optimizer step is a few
operations on one tensor; ``unpack`` names its pieces as views.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sac_dist.networks.blocks import Block, Forward, LayerNorm, Linear, ReLU, Scalar
from sac_dist.networks.normalised import MOMENTUM, Dropout
from sac_dist.networks.operations import NumpyOperations, Operations, TorchOperations
from sac_dist.networks.parameters import Parameters

OUTPUT_BOUND = 3e-3  # the book's initial values of the last layer are uniform in ± this

Blocks = tuple[tuple[str, Block], ...]  # name and block, in the order of computation


@dataclass(frozen=True)
class Network:
    """Blocks one after the other; ``members`` networks of them with parameters of their own where it is set,
    evaluated together.
    """

    blocks: Blocks
    members: int | None = None

    def __post_init__(self) -> None:
        _ = self.sizes  # computed now: Dynamo cannot trace the lock of a cached_property

    @cached_property
    def plain_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter of one member, in the vector's order.

        Norms come last, as in version 0.1.0: a gradient's norm depends on the order of its sum in the last
        bit.
        """
        ordered = sorted(self.blocks, key=lambda item: isinstance(item[1], LayerNorm))
        return {f"{name}.{part}": shape for name, block in ordered for part, shape in block.shapes.items()}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter: (inputs, outputs) matrices and (1, features) vectors, with the
        members in front.
        """
        lead = () if self.members is None else (self.members,)
        return {
            name: (*lead, *([1] if len(shape) == 1 else []), *shape)
            for name, shape in self.plain_shapes.items()
        }

    @cached_property
    def sizes(self) -> list[int]:
        """Number of elements of each parameter."""
        return [math.prod(shape) for shape in self.shapes.values()]

    @property
    def size(self) -> int:
        """Length of the parameter vector."""
        return sum(self.sizes)

    def unpack(self, vector: Tensor) -> Parameters:
        """The named parameters, as views into ``vector`` (size,)."""
        pieces = vector.split(self.sizes)
        return {
            name: piece.view(shape) for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    def initialise(self, vector: Tensor, generator: torch.Generator) -> None:
        """Fill ``vector`` as the blocks say."""
        parameters = self.unpack(vector)
        for name, block in self.blocks:
            block.initialise(parameters, name, generator)
        self.project(vector)

    def project(self, vector: Tensor) -> None:
        """Bring ``vector`` back, in place, to where the blocks want it after a step."""
        parameters = self.unpack(vector)
        for name, block in self.blocks:
            block.project(parameters, name)

    def take(self, vector: Tensor, statistics: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Let the running statistics in ``vector`` follow those of a batch, see ``TorchOperations``."""
        parameters = self.unpack(vector)
        for name, (mean, variance) in statistics.items():
            parameters[f"{name}.running_mean"].lerp_(mean, MOMENTUM)
            parameters[f"{name}.running_variance"].lerp_(variance, MOMENTUM)

    def forward(
        self, parameters: Parameters, x: Tensor, first: int = 0, ops: Operations = TorchOperations
    ) -> Tensor:
        """What the blocks from number ``first`` on make of ``x`` ([members,] B, inputs)."""
        for name, block in self.blocks[first:]:
            x = block.bind(ops, parameters, name)(x)
        return x

    def in_numpy(self, vector: Tensor, ops: Operations = NumpyOperations) -> Forward:
        """The network as a function of one observation (inputs,), on the numbers in ``vector``, whoever
        changes them. It is in numpy because for a single row the calls cost more than the arithmetic.
        """
        views = self.unpack(vector)
        parameters = {name: views[name].view(shape).numpy() for name, shape in self.plain_shapes.items()}
        steps = [block.bind(ops, parameters, name) for name, block in self.blocks]

        def forward(x):  # type: ignore[no-untyped-def]
            for step in steps:
                x = step(x)
            return x

        return forward


def perceptron(
    inputs: int, width: int, depth: int, last: Block, layer_norm: bool = False, dropout: float = 0.0
) -> Blocks:
    """``depth`` hidden layers of ``width`` units with ReLU, or dropout, layer normalisation and ReLU, then
    ``last``: linear1 … linear{depth + 1}.
    """
    blocks: list[tuple[str, Block]] = []
    for i in range(1, depth + 1):
        blocks.append((f"linear{i}", Linear(inputs if i == 1 else width, width)))
        if dropout:
            blocks.append((f"dropout{i}", Dropout(dropout, salt=i)))
        if layer_norm:
            blocks.append((f"norm{i}", LayerNorm(width)))
        blocks.append((f"relu{i}", ReLU()))
    return (*blocks, (f"linear{depth + 1}", last))


def is_perceptron(network: Network, layer_norm: bool) -> bool:
    """Whether ``network`` is what ``perceptron`` makes, with layer normalisation or without."""
    *hidden, (_, last) = network.blocks
    kinds = [Linear, LayerNorm, ReLU] if layer_norm else [Linear, ReLU]
    depth, rest = divmod(len(hidden), len(kinds))
    same = rest == 0 and [type(block) for _, block in hidden] == kinds * depth
    names = [name for name, block in network.blocks if isinstance(block, Linear)]
    return same and type(last) in (Linear, Scalar) and names == [f"linear{i + 1}" for i in range(depth + 1)]
