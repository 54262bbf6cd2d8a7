"""The encoder: from pictures to a few numbers, which the other networks see beside an observation's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sac_dist.data.schema import Field, Schema
from sac_dist.networks.blocks import Block, Forward, LayerNorm, Linear
from sac_dist.networks.network import Network
from sac_dist.networks.normalised import hashed
from sac_dist.networks.operations import Array, Operations, TorchOperations
from sac_dist.networks.parameters import Parameters
from sac_dist.settings import AgentConfig, ConfigError

KERNEL = 3
Look = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Eye(Block):
    """One camera's pictures (B, stack, pixels), uint8 or as large floats, to (B, latent) in ±1.

    ``depth`` layers of 3x3 convolutions with ReLU, the first ``strided`` of them of stride 2, then a linear
    layer, layer normalisation and tanh: the encoder and trunk of DrQ-v2, Yarats et al., arXiv:2107.09645,
    which has 32 channels and one layer of stride 2. Fewer and three take a tenth of its time.
    """

    shape: tuple[int, int, int]  # height, width, channels
    stack: int
    channels: int
    depth: int
    strided: int
    latent: int

    @classmethod
    def of(cls, field: Field, config: AgentConfig) -> Eye:
        """Raises ConfigError for a picture that is too small for so many layers."""
        eye = cls(
            (field.shape[0], field.shape[1], field.shape[2]),
            field.stack,
            config.encoder_channels,
            config.encoder_depth,
            config.encoder_strided,
            config.encoder_latent,
        )
        if min(side for sides in eye.sides for side in sides) < 1:
            raise ConfigError(
                f"the picture {field.name} of {field.shape[0]}x{field.shape[1]} is too small for "
                f"{config.encoder_depth} layers, {config.encoder_strided} of which halve it: give a smaller "
                "encoder_strided or encoder_depth"
            )
        return eye

    @property
    def strides(self) -> list[int]:
        return [2 if layer < self.strided else 1 for layer in range(self.depth)]

    @property
    def sides(self) -> list[tuple[int, int]]:
        """Height and width of what each layer gives."""
        height, width, _ = self.shape
        found = []
        for stride in self.strides:
            height, width = ((side - KERNEL) // stride + 1 for side in (height, width))
            found.append((height, width))
        return found

    @property
    def trunk(self) -> tuple[Linear, LayerNorm]:
        return Linear(self.channels * math.prod(self.sides[-1]), self.latent), LayerNorm(self.latent)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        inputs = self.stack * self.shape[2]
        for layer in range(self.depth):
            shapes[f"conv{layer + 1}.weight"] = (self.channels, inputs, KERNEL, KERNEL)
            shapes[f"conv{layer + 1}.bias"] = (self.channels,)
            inputs = self.channels
        for name, block in zip(("linear", "norm"), self.trunk, strict=True):
            shapes |= {f"{name}.{part}": shape for part, shape in block.shapes.items()}
        return shapes

    def initialise(self, parameters: Parameters, name: str, generator: torch.Generator) -> None:
        for layer in range(self.depth):
            weight = parameters[f"{name}.conv{layer + 1}.weight"]
            bound = math.sqrt(6 / math.prod(weight.shape[1:]))  # He et al., arXiv:1502.01852
            weight.uniform_(-bound, bound, generator=generator)
            parameters[f"{name}.conv{layer + 1}.bias"].fill_(0.0)
        for part, block in zip(("linear", "norm"), self.trunk, strict=True):
            block.initialise(parameters, f"{name}.{part}", generator)

    def bind(self, ops: Operations, parameters: Mapping[str, Array], name: str) -> Forward:
        linear, norm = (
            block.bind(ops, parameters, f"{name}.{part}")
            for part, block in zip(("linear", "norm"), self.trunk, strict=True)
        )
        layers = [
            (
                parameters[f"{name}.conv{layer + 1}.weight"],
                parameters[f"{name}.conv{layer + 1}.bias"].reshape(-1),
                stride,
            )
            for layer, stride in enumerate(self.strides)
        ]
        height, width, channels = self.shape

        def forward(x):  # type: ignore[no-untyped-def]
            x = x.reshape(-1, self.stack, height, width, channels).permute(0, 2, 3, 1, 4)
            # (B, H, W, stack · C) → (B, stack · C, H, W), whose memory stays as it is: channels last
            x = x.reshape(-1, height, width, self.stack * channels).permute(0, 3, 1, 2)
            x = ops.float32(x) / 255 - 0.5
            for weight, bias, stride in layers:
                x = ops.relu(ops.convolve(x, weight, bias, stride))
            return ops.tanh(norm(linear(x.reshape(-1, linear_inputs))))

        linear_inputs = self.trunk[0].inputs
        return forward

    @property
    def activations(self) -> int:
        """Numbers that the layers give for one observation."""
        return self.channels * sum(map(math.prod, self.sides))


@dataclass(frozen=True)
class Encoder(Network):
    """An Eye for each camera, by its name. Frames (…, stack, frame_size) are as Schema has them."""

    shift: int = 0  # pixels, at most, by which an update moves pictures

    @classmethod
    def of(cls, schema: Schema, config: AgentConfig) -> Encoder | None:
        """None: the schema has no pictures."""
        if not schema.pictures:
            return None
        eyes = tuple((field.name, Eye.of(field, config)) for field in schema.pictures)
        return cls(eyes, shift=config.shift)

    @cached_property
    def eyes(self) -> list[tuple[str, Eye, slice]]:
        """With where each one's pictures lie in a frame."""
        found, end = [], 0
        for name, eye in self.blocks:
            assert isinstance(eye, Eye)
            pixels = math.prod(eye.shape)
            found.append((name, eye, slice(end, end + pixels)))
            end += pixels
        return found

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.eyes  # as sizes

    @property
    def outputs(self) -> int:
        return sum(eye.latent for _, eye, _ in self.eyes)

    @property
    def activations(self) -> int:
        return sum(eye.activations for _, eye, _ in self.eyes)

    def __call__(self, parameters: Parameters, frames: Tensor) -> Tensor:
        """(B, outputs) of ``frames`` (B, stack, frame_size)."""
        seen = [
            eye.bind(TorchOperations, parameters, name)(frames[..., place]) for name, eye, place in self.eyes
        ]
        return seen[0] if len(seen) == 1 else torch.cat(seen, dim=-1)

    def shifted(self, frames: Tensor, noise: Tensor) -> Tensor:
        """Each observation's pictures moved by up to ``shift`` pixels, their borders repeated: DrQ, Kostrikov
        et al., arXiv:2004.13649. How far follows from the bits of standard normal ``noise`` (B,).
        """
        bits, reach = noise.view(torch.int32), 2 * self.shift + 1
        moved = []
        for number, (_, eye, place) in enumerate(self.eyes):
            height, width, channels = eye.shape
            up, left = (
                (hashed(bits + 2 * number + axis + 1) & 0x7FFFFFFF) % reach - self.shift for axis in (0, 1)
            )
            rows = (torch.arange(height, device=bits.device) + up[:, None]).clamp(0, height - 1)
            columns = (torch.arange(width, device=bits.device) + left[:, None]).clamp(0, width - 1)
            pixel = rows[:, :, None] * width + columns[:, None, :]  # (B, H, W)
            picture = torch.arange(len(bits) * eye.stack, device=bits.device) * (height * width)
            index = pixel[:, None] + picture.view(-1, eye.stack, 1, 1)
            pixels = frames[..., place].reshape(-1, channels)
            moved.append(pixels.index_select(0, index.flatten()).view(len(bits), eye.stack, -1))
        return moved[0] if len(moved) == 1 else torch.cat(moved, dim=-1)

    def looks(self, vector: Tensor, ops: Operations) -> list[tuple[str, Forward]]:
        """What each camera's eye computes by the numbers in ``vector``, which ``ops`` get as numpy arrays."""
        views = self.unpack(vector)
        parameters = {name: views[name].view(shape).numpy() for name, shape in self.plain_shapes.items()}
        return [(name, eye.bind(ops, parameters, name)) for name, eye, _ in self.eyes]

    def looker(self, vector: Tensor) -> Look:
        """What it makes of one observation's frames (stack, frame_size), (outputs,), by the numbers in
        ``vector``, whoever changes them.
        """
        parameters = self.unpack(vector)

        def look(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)  # more wait for each other, on a busy machine for long
            try:
                with torch.inference_mode():
                    seen: Tensor = self(parameters, torch.from_numpy(frames)[None])[0]
            finally:
                torch.set_num_threads(threads)
            return seen.numpy()

        return look
