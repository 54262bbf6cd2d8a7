"""The policy π(a|s)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sac_dist.networks.blocks import Linear
from sac_dist.networks.distribution import LOG_STD_MAX, LOG_STD_MIN, before_tanh
from sac_dist.networks.network import OUTPUT_BOUND, Network, perceptron
from sac_dist.networks.operations import Array, NumpyOperations, Operations, TorchOperations
from sac_dist.networks.parameters import Parameters

LOWEST, HIGHEST = np.float32(LOG_STD_MIN), np.float32(LOG_STD_MAX)
Actor = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32] | None], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class GaussianPolicy(Network):
    """The tanh of a Gaussian whose mean and log standard deviation are functions of s (the book's
    PolicyNetwork).

    The blocks' first ``action_size`` outputs are the mean, the others log σ, clamped to [-20, 2]. Soft
    Actor-Critic Algorithms and Applications, arXiv:1812.05905, section 4.2 and appendix C.
    """

    action_size: int = 1
    # log σ is the tanh of the output, stretched over these bounds, in place of the clamped one
    squashed_log_std: tuple[float, float] | None = None

    @classmethod
    def perceptron(cls, observation_size: int, action_size: int, width: int, depth: int) -> GaussianPolicy:
        last = Linear(width, 2 * action_size, OUTPUT_BOUND)
        return cls(perceptron(observation_size, width, depth, last), action_size=action_size)

    def __call__(self, parameters: Parameters, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, each (B, action_size), of the pre-tanh Gaussian at ``observation``
        (B, observation_size).
        """
        return self.gaussian(self.forward(parameters, observation))

    def gaussian(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation in what the blocks give."""
        mean, log_std = output.chunk(2, dim=-1)
        if self.squashed_log_std is None:
            return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
        return mean, self.squashed(TorchOperations, log_std)

    def squashed(self, ops: Operations, output: Array) -> Array:
        assert self.squashed_log_std is not None
        low, high = self.squashed_log_std
        return low + (high - low) / 2 * (1 + ops.tanh(output))

    def actor(self, vector: Tensor, ops: Operations = NumpyOperations) -> Actor:
        """How to act on one observation (observation_size,) by the numbers in ``vector``: the action
        (action_size,) with standard normal ``noise`` (action_size,), or the tanh of the mean without.
        """
        forward, size, squashed = self.in_numpy(vector, ops), self.action_size, self.squashed_log_std

        def act(
            observation: npt.NDArray[np.float32], noise: npt.NDArray[np.float32] | None
        ) -> npt.NDArray[np.float32]:
            output = forward(observation)
            mean = output[:size]
            if noise is None:
                return ops.tanh(mean)
            if squashed is None:
                log_std = ops.minimum(ops.maximum(output[size:], LOWEST), HIGHEST)
            else:
                log_std = self.squashed(ops, output[size:])
            return ops.tanh(before_tanh(ops, mean, log_std, noise))

        return act
