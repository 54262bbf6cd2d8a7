"""The critics Q(s, a)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sac_dist.networks.blocks import Linear, Scalar
from sac_dist.networks.network import OUTPUT_BOUND, Network, perceptron
from sac_dist.networks.parameters import Parameters


@dataclass(frozen=True)
class QEnsemble(Network):
    """Q_1 … Q_E(s, a): E critics with parameters of their own, evaluated together (each is the book's
    SoftQNetwork).

    A layer is one batched product over (E, inputs, outputs), so more critics cost no more operations. The
    first block is a Linear on [observation, action], the last a Scalar.
    """

    observation_size: int = 1

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
        if type(self.blocks[0][1]) is not Linear or type(self.blocks[-1][1]) is not Scalar:
            raise ValueError("the first block of critics is a Linear, the last a Scalar")

    @property
    def critics(self) -> int:
        assert self.members is not None
        return self.members

    def subset(self, parameters: Parameters, members: Tensor) -> Parameters:
        """The parameters of the critics ``members`` (M,), for a call that gives Q values (M, B)."""
        return {name: parameter.index_select(0, members) for name, parameter in parameters.items()}

    def __call__(self, parameters: Parameters, observation: Tensor, action: Tensor) -> Tensor:
        """Q values (E, B) of ``observation`` (B, observation_size) with ``action`` (B, action_size)."""
        critics = parameters[f"{self.blocks[0][0]}.weight"].shape[0]
        x = torch.cat([observation, action], dim=-1).expand(critics, -1, -1)  # (B, inputs) → (E, B, inputs)
        return self.forward(parameters, x)

    def at_actions(self, parameters: Parameters, observation: Tensor, actions: Tensor) -> Tensor:
        """Q values (E, N, B) of ``observation`` (B, observation_size) with each of ``actions`` (N, B,
        action_size).

        The first layer sees an observation once, not N times.
        """
        n, batch = actions.shape[:2]
        first = self.blocks[0][0]
        weight, bias, critics = parameters[f"{first}.weight"], parameters[f"{first}.bias"], self.critics
        from_observation = observation.expand(critics, -1, -1) @ weight[:, : self.observation_size]
        rows = actions.reshape(n * batch, -1).expand(critics, -1, -1)
        from_action = rows @ weight[:, self.observation_size :]
        x = from_action.view(critics, n, batch, -1) + (from_observation + bias).unsqueeze(1)
        return self.forward(parameters, x.view(critics, n * batch, -1), first=1).view(critics, n, batch)
