"""Adam on flat parameter vectors, in place, for processes that train the same ones at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # as in torch.optim.Adam

Extra = TypeVar("Extra")


class Trained(NamedTuple):
    """A parameter vector and its Adam moments, changed in place."""

    parameters: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


class Scale(NamedTuple):
    """How far one group's step goes."""

    row: Tensor  # (2,) of adam_scales
    beta1: float = BETA1
    kept: Tensor | None = None  # (): what weight decay leaves of each parameter; None: there is none


class Sight(NamedTuple):
    """An encoder whose parameters the batch's observations depend on."""

    parameters: Tensor  # a copy of the trained ones, of which gradients are kept
    trained: Trained
    scale: Scale


def largest_ratio(beta1: float) -> float:
    """|m| / √v is never more than this in Adam, whatever the gradients (Cauchy-Schwarz over the two running
    sums).
    """
    return (1 - beta1) / math.sqrt((1 - BETA2) * (1 - beta1**2 / BETA2))


def adam_scales(steps: Tensor, lrs: Tensor, beta1: float = BETA1) -> Tensor:
    """Step sizes and ε with Adam's bias corrections in them, for ``steps`` t (n,) and step sizes ``lrs``
    (n,): (n, 2).

    lr √(1 − β₂ᵗ) / (1 − β₁ᵗ) and ε √(1 − β₂ᵗ), by expm1 as 1 − βᵗ cancels in float32 while t is small. (t =
    0: not trained yet, not used.)
    """
    steps = steps.clamp(min=1)
    correction1, root = -torch.expm1(math.log(beta1) * steps), (-torch.expm1(math.log(BETA2) * steps)).sqrt()
    return torch.stack([lrs * root / correction1, EPS * root], dim=1)


def adam_step(trained: Trained, gradient: Tensor, scale: Scale) -> None:
    """One step of Adam (arXiv:1412.6980, algorithm 1 as reordered in section 2) in place; equals
    torch.optim.Adam, with weight decay torch.optim.AdamW (arXiv:1711.05101, algorithm 2).

    Inductor drops ``alpha`` from ``add(x, matmul,
    alpha=…)`` (torch 2.13, pytorch issue 167313): none is used here.

    Two processes that train at once can lose a write to v and keep the one to m. Where v is then 0 the step
    would be 1e8 times too long, so |m| / √v counts as no more than it can be. That changes nothing where both
    are whole.
    """
    step_size, eps = scale.row.unbind()
    if scale.kept is not None:
        trained.parameters.mul_(scale.kept)
    trained.exp_avg.lerp_(gradient, 1 - scale.beta1)
    trained.exp_avg_sq.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    direction = trained.exp_avg / trained.exp_avg_sq.sqrt().add_(eps)
    largest = largest_ratio(scale.beta1)
    trained.parameters.addcmul_(direction.clamp_(-largest, largest), step_size, value=-1)


def clip_by_norm(gradient: Tensor, largest: float | None) -> tuple[Tensor, Tensor]:
    """The gradient scaled to a norm of at most ``largest`` (as clip_grad_norm_ does), and its norm before
    that.
    """
    norm = torch.linalg.vector_norm(gradient)
    if largest is not None:
        gradient = gradient * (largest / (norm + 1e-6)).clamp(max=1.0)
    return gradient, norm


def descend(
    trained: Trained,
    objective: Callable[[Tensor], tuple[Tensor, Extra]],
    scale: Scale,
    largest: float | None = None,
    sight: Sight | None = None,
) -> tuple[Extra, Tensor]:
    """One step down the loss that ``objective`` makes of the parameter vector; it returns the loss and what
    else is of use. Returns the latter and the gradient's norm, which counts as no more than ``largest``.

    ``sight`` goes down the same loss.
    """
    # the same memory, with gradients for this step only
    parameters = trained.parameters.detach().requires_grad_()
    loss, extra = objective(parameters)
    wanted = [parameters] if sight is None else [parameters, sight.parameters]
    gradients = torch.autograd.grad(loss, wanted)
    gradient, norm = clip_by_norm(gradients[0], largest)
    adam_step(trained, gradient, scale)
    if sight is not None:
        adam_step(sight.trained, clip_by_norm(gradients[1], largest)[0], sight.scale)
    return extra, norm
