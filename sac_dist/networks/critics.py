"""The critics Q(s, a)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sac_dist.networks.blocks import Block, Linear, Scalar
from sac_dist.networks.network import OUTPUT_BOUND, Network, perceptron
from sac_dist.networks.operations import Operations, TorchOperations
from sac_dist.networks.parameters import Parameters


@dataclass(frozen=True)
class QEnsemble(Network):
    """Q_1 … Q_E(s, a): E critics with parameters of their own, evaluated together (each is the book's
    SoftQNetwork).

    A layer is one batched product over (E, inputs, outputs), so more critics cost no more operations. The
    first block has a weight and is of [observation, action], the last is a Scalar.
    """

    observation_size: int = 1  # what they see of it
    unseen: int = 0  # of an observation's entries, the first ones: see build.critics_of
    last: ClassVar[type[Block]] = Scalar

    @classmethod
    def perceptron(
        cls,
        observation_size: int,
        action_size: int,
        width: int,
        depth: int,
        critics: int,
        layer_norm: bool = False,
    ) -> QEnsemble:
        """``layer_norm`` puts a layer normalisation before each ReLU: it bounds what the critics make of
        unseen actions, see RLPD, arXiv:2302.02948.
        """
        last = Scalar(width, 1, OUTPUT_BOUND)
        blocks = perceptron(observation_size + action_size, width, depth, last, layer_norm)
        return cls(blocks, critics, observation_size)

    def __post_init__(self) -> None:
        super().__post_init__()
        first, last = self.blocks[0][1], self.blocks[-1][1]
        if "weight" not in first.shapes or not isinstance(last, self.last):
            raise ValueError(f"the first block of critics has a weight, the last is a {self.last.__name__}")

    @property
    def critics(self) -> int:
        assert self.members is not None
        return self.members

    def subset(self, parameters: Parameters, members: Tensor) -> Parameters:
        """The parameters of the critics ``members`` (M,), for a call that gives Q values (M, B)."""
        return {name: parameter.index_select(0, members) for name, parameter in parameters.items()}

    def __call__(self, parameters: Parameters, observation: Tensor, action: Tensor) -> Tensor:
        """Q values (E, B) of ``observation`` (B, unseen + observation_size) with ``action`` (B,
        action_size).
        """
        return self.values(self.outputs(parameters, observation, action))

    def sees(self, observation: Tensor) -> Tensor:
        return observation[..., self.unseen :] if self.unseen else observation

    def values(self, outputs: Tensor) -> Tensor:
        """The Q values (E, B) that ``outputs`` mean."""
        return outputs

    def outputs(
        self,
        parameters: Parameters,
        observation: Tensor,
        action: Tensor,
        ops: Operations = TorchOperations,
    ) -> Tensor:
        """What the blocks give (E, B, …), in a pass of ``ops``."""
        critics = parameters[f"{self.blocks[0][0]}.weight"].shape[0]
        x = torch.cat([self.sees(observation), action], dim=-1).expand(
            critics, -1, -1
        )  # (B, inputs) → (E, B, inputs)
        return self.forward(parameters, x, ops=ops)

    def at_actions(self, parameters: Parameters, observation: Tensor, actions: Tensor) -> Tensor:
        """Q values (E, N, B) of ``observation`` (B, unseen + observation_size) with each of ``actions``
        (N, B, action_size).

        The first layer, a Linear, sees an observation once, not N times.
        """
        n, batch = actions.shape[:2]
        first = self.blocks[0][0]
        weight, bias, critics = parameters[f"{first}.weight"], parameters[f"{first}.bias"], self.critics
        from_observation = self.sees(observation).expand(critics, -1, -1) @ weight[:, : self.observation_size]
        rows = actions.reshape(n * batch, -1).expand(critics, -1, -1)
        from_action = rows @ weight[:, self.observation_size :]
        x = from_action.view(critics, n, batch, -1) + (from_observation + bias).unsqueeze(1)
        return self.forward(parameters, x.view(critics, n * batch, -1), first=1).view(critics, n, batch)


@dataclass(frozen=True)
class CategoricalEnsemble(QEnsemble):
    """Critics that give logits (E, B, bins) of the return's distribution over ``bins`` values from -``limit``
    to ``limit``: C51, Bellemare et al., arXiv:1707.06887.
    """

    last: ClassVar[type[Block]] = Linear
    limit: float = 5.0

    @property
    def bins(self) -> int:
        (count,) = {
            shape[-1] for name, shape in self.plain_shapes.items() if name.startswith(self.blocks[-1][0])
        }
        return count

    def support(self, like: Tensor) -> Tensor:
        """(bins,) the values."""
        return torch.linspace(-self.limit, self.limit, self.bins, dtype=like.dtype, device=like.device)

    def values(self, outputs: Tensor) -> Tensor:
        return (outputs.softmax(dim=-1) * self.support(outputs)).sum(dim=-1)


@dataclass(frozen=True)
class QuantileEnsemble(QEnsemble):
    """Critics that give quantiles (E, B, M) of the return's distribution, at (m + ½) / M: Kuznetsov et al.,
    arXiv:2005.04269.
    """

    last: ClassVar[type[Block]] = Linear

    def values(self, outputs: Tensor) -> Tensor:
        return outputs.mean(dim=-1)
