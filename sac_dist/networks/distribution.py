"""The tanh of a Gaussian: samples and densities of actions in [-1, 1]."""

from __future__ import annotations

import math

from torch import Tensor

from sac_dist.networks.operations import Array, Operations, TorchOperations

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0  # the book's bounds


def before_tanh(ops: Operations, mean: Array, log_std: Array, noise: Array) -> Array:
    """u = mean + σ·noise, in torch or numpy."""
    return mean + ops.exp(log_std) * noise


def sample_action(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Reparametrised sample a = tanh(u), u = mean + σ·noise, and its log density log π(a|s).

    ``mean``, ``log_std`` and ``noise`` (standard normal, independent per sample and dimension) are (…,
    action_size); returns the action (…, action_size) in [-1, 1] and log π (…). The density of tanh(u) follows
    from the change of variables in arXiv:1812.05905, appendix C: log π = Σ log N(u) − Σ log(1 − tanh²u),
    where log(1 − tanh²u) = 2 (log 2 − |u| − log(1 + exp(−2|u|))) stays finite for every u.
    """
    u = before_tanh(TorchOperations, mean, log_std, noise)
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
