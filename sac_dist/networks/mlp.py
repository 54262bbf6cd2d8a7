"""The networks: a tanh-Gaussian policy and an ensemble of Q functions.

A network object holds sizes, never numbers. Its parameters are one float32 vector that the caller owns, so
that processes can share it and an optimizer step is a few operations on one tensor; ``unpack`` names its
pieces as views, and calling the network with them computes. Weights lie as (inputs, outputs): the transpose
of ``torch.nn.Linear``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sac_dist.settings import ConfigError

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0  # the book's bounds
OUTPUT_BOUND = 3e-3  # the book's initial values of the last layer are uniform in ± this
NORM_EPS = 1e-5  # of a layer normalisation's variance, as in torch.nn.LayerNorm
Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron with ReLU between its layers ``linear1`` … ``linear{depth + 1}``.

    Every bias has as many dimensions as its weight, so one expression serves a single network and an
    ensemble.
    """

    observation_size: int
    action_size: int
    width: int  # units of a hidden layer
    depth: int  # hidden layers, at least 1

    def ends(self) -> tuple[int, int]:
        """Numbers of inputs and outputs."""
        raise NotImplementedError

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter, in the vector's order: (inputs, outputs) weights and (1, outputs)
        biases.
        """
        inputs, outputs = self.ends()
        sizes = [inputs, *[self.width] * self.depth, outputs]
        shapes: dict[str, tuple[int, ...]] = {}
        for i in range(1, len(sizes)):
            shapes[f"linear{i}.weight"] = (sizes[i - 1], sizes[i])
            shapes[f"linear{i}.bias"] = (1, sizes[i])
        return shapes

    @cached_property
    def sizes(self) -> list[int]:
        """Number of elements of each parameter; their sum is the length of the parameter vector."""
        return [math.prod(shape) for shape in self.shapes.values()]

    def unpack(self, vector: Tensor) -> Parameters:
        """The named parameters, as views into ``vector`` (sum of sizes,)."""
        pieces = vector.split(self.sizes)
        return {
            name: piece.view(shape) for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    def initialise(self, vector: Tensor, generator: torch.Generator) -> None:
        """Fill ``vector``: uniform in ±1/√inputs as torch.nn.Linear does, the last layer in ±3e-3 as the book
        does; norms as identity.
        """
        parameters = self.unpack(vector)
        for name, parameter in parameters.items():
            layer, part = name.split(".")
            if layer.startswith("norm"):
                parameter.fill_(1.0 if part == "weight" else 0.0)
                continue
            inputs = parameters[f"{layer}.weight"].shape[-2]
            bound = OUTPUT_BOUND if layer == f"linear{self.depth + 1}" else 1 / math.sqrt(inputs)
            parameter.uniform_(-bound, bound, generator=generator)

    def hidden(self, parameters: Parameters, x: Tensor, first: int = 1) -> Tensor:
        """What the hidden layers from ``first`` on make of ``x`` (…, B, inputs): (…, B, width)."""
        for i in range(first, self.depth + 1):
            x = self.activate(
                parameters, i, x @ parameters[f"linear{i}.weight"] + parameters[f"linear{i}.bias"]
            )
        return x

    def activate(self, parameters: Parameters, layer: int, x: Tensor) -> Tensor:
        """What follows the hidden layer's affine map."""
        return x.relu()


@dataclass(frozen=True)
class GaussianPolicy(Network):
    """π(a|s): the tanh of a Gaussian whose mean and log standard deviation are functions of s (the book's
    PolicyNetwork).

    The last layer's first ``action_size`` outputs are the mean, the others log σ, clamped to [-20, 2].
    Soft Actor-Critic Algorithms and Applications, arXiv:1812.05905, section 4.2 and appendix C.
    """

    def ends(self) -> tuple[int, int]:
        return self.observation_size, 2 * self.action_size

    def __call__(self, parameters: Parameters, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, each (B, action_size), of the pre-tanh Gaussian at ``observation``
        (B, observation_size).
        """
        last = f"linear{self.depth + 1}"
        output = (
            self.hidden(parameters, observation) @ parameters[f"{last}.weight"] + parameters[f"{last}.bias"]
        )
        mean, log_std = output.chunk(2, dim=-1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)


@dataclass(frozen=True)
class QEnsemble(Network):
    """Q_1 … Q_E(s, a): E critics with parameters of their own, evaluated together (each is the book's
    SoftQNetwork).

    A layer is one batched product over (E, inputs, outputs), so more critics cost no more operations.
    ``layer_norm`` puts a layer normalisation (arXiv:1607.06450) before each ReLU: it bounds what the critics
    make of unseen actions, see RLPD, arXiv:2302.02948.
    """

    critics: int
    layer_norm: bool = False

    def ends(self) -> tuple[int, int]:
        return self.observation_size + self.action_size, 1

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """As Network.shapes with the critics in front: (E, inputs, outputs) weights and (E, 1, outputs)
        biases.
        """
        norms = {
            f"norm{i}.{part}": (1, self.width)
            for i in range(1, self.depth + 1)
            if self.layer_norm
            for part in ("weight", "bias")
        }
        return {name: (self.critics, *shape) for name, shape in (super().shapes | norms).items()}

    def activate(self, parameters: Parameters, layer: int, x: Tensor) -> Tensor:
        if self.layer_norm:
            variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
            x = (x - mean) * (variance + NORM_EPS).rsqrt() * parameters[f"norm{layer}.weight"] + parameters[
                f"norm{layer}.bias"
            ]
        return x.relu()

    def subset(self, parameters: Parameters, members: Tensor) -> Parameters:
        """The parameters of the critics ``members`` (M,), for a call that gives Q values (M, B)."""
        return {name: parameter.index_select(0, members) for name, parameter in parameters.items()}

    def __call__(self, parameters: Parameters, observation: Tensor, action: Tensor) -> Tensor:
        """Q values (E, B) of ``observation`` (B, observation_size) with ``action`` (B, action_size)."""
        critics = parameters["linear1.weight"].shape[0]
        x = torch.cat([observation, action], dim=-1).expand(critics, -1, -1)  # (B, inputs) → (E, B, inputs)
        return self._last(parameters, self.hidden(parameters, x))

    def at_actions(self, parameters: Parameters, observation: Tensor, actions: Tensor) -> Tensor:
        """Q values (E, N, B) of ``observation`` (B, observation_size) with each of ``actions`` (N, B,
        action_size).

        The first layer sees an observation once, not N times.
        """
        n, batch = actions.shape[:2]
        weight, critics = parameters["linear1.weight"], self.critics
        from_observation = observation.expand(critics, -1, -1) @ weight[:, : self.observation_size]
        from_action = (
            actions.reshape(n * batch, -1).expand(critics, -1, -1) @ weight[:, self.observation_size :]
        )
        x = from_action.view(critics, n, batch, -1) + (
            from_observation + parameters["linear1.bias"]
        ).unsqueeze(1)
        x = self.activate(parameters, 1, x.view(critics, n * batch, -1))
        return self._last(parameters, self.hidden(parameters, x, first=2)).view(critics, n, batch)

    def _last(self, parameters: Parameters, x: Tensor) -> Tensor:
        """The output layer: (E, B, width) → (E, B)."""
        last = f"linear{self.depth + 1}"
        # (E, B, width) · (E, 1, width) → (E, B): BLAS is slower than this at a product with one column
        return (x * parameters[f"{last}.weight"].mT).sum(-1) + parameters[f"{last}.bias"].squeeze(-1)


def sample_action(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Reparametrised sample a = tanh(u), u = mean + σ·noise, and its log density log π(a|s).

    ``mean``, ``log_std`` and ``noise`` (standard normal, independent per sample and dimension) are (…,
    action_size); returns the action (…, action_size) in [-1, 1] and log π (…). The density of tanh(u) follows
    from the change of variables in arXiv:1812.05905, appendix C: log π = Σ log N(u) − Σ log(1 − tanh²u),
    where log(1 − tanh²u) = 2 (log 2 − |u| − log(1 + exp(−2|u|))) stays finite for every u.
    """
    u = mean + log_std.exp() * noise
    return u.tanh(), log_density(u, log_std, noise)


def log_prob_of(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """log π(a|s) (…) of given actions (…, action_size) in [-1, 1], cut to ±0.999: at ±1 the density is not
    finite.
    """
    u = action.clamp(-0.999, 0.999).atanh()
    return log_density(u, log_std, (u - mean) * (-log_std).exp())


def log_density(u: Tensor, log_std: Tensor, noise: Tensor) -> Tensor:
    """log π (…) of tanh(u), with ``noise`` = (u - mean) / σ."""
    # no softplus: Inductor computes its log1p number by number
    size = u.abs()
    varying = (1 + (-2 * size).exp()).log().add(size).addcmul(noise, noise, value=-0.25)
    return (2 * varying - log_std).sum(-1) - noise.shape[-1] * (0.5 * math.log(2 * math.pi) + 2 * math.log(2))


def check_parameters(state: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ConfigError unless ``state`` has exactly the names of ``shapes``, with finite float32 tensors of
    those shapes.
    """
    for word, names in (("missing", shapes.keys() - state.keys()), ("unknown", state.keys() - shapes.keys())):
        if names:
            shown = ", ".join(sorted(map(str, names))[:3])
            raise ConfigError(
                f"{word} tensor{'s' if len(names) > 1 else ''} {shown}{' …' if len(names) > 3 else ''}"
            )
    for name, shape in shapes.items():
        tensor = state[name]
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32:
            raise ConfigError(
                f"{name} is {tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__}, "
                "not a float32 tensor"
            )
        if tuple(tensor.shape) != shape:
            raise ConfigError(f"{name} has shape {tuple(tensor.shape)} where {shape} is needed")
        if not bool(tensor.isfinite().all()):
            raise ConfigError(f"{name} holds NaN or infinite values")
