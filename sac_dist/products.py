"""Products of matrices by the quicker of the two libraries that torch has for them.

torch takes MKL, which leaves the AVX-512 of processors that are not Intel's alone. There oneDNN, which torch has too, takes half the
time: 142 µs instead of 301 for 256×256×256 on a core of an AMD EPYC (family 26).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LEAST_MULTIPLICATIONS = 1 << 22  # 256×128×128; below it the call costs more than the product saves


def mkl_is_slow() -> bool:
    """Whether this processor has AVX-512 and is not Intel's."""
    try:
        vendor = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("vendor_id"))
    except (OSError, StopIteration):
        return False
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512" and "GenuineIntel" not in vendor


MKL_IS_SLOW = mkl_is_slow()


@torch.library.custom_op("sac_dist::onednn_product", mutates_args=())
def onednn_product(a: Tensor, b: Tensor) -> Tensor:
    """a (m, k) · b (k, n), float32, by oneDNN. An operator of its own, as Inductor wants constant weights for the one that it calls."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")
    return product


@onednn_product.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[1])


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, b = ctx.saved_tensors
    by_a, by_b = ctx.needs_input_grad
    return product(gradient, b.t()) if by_a else None, product(a.t(), gradient) if by_b else None


onednn_product.register_autograd(_backward, setup_context=_save)


def by_onednn(a: Tensor, b: Tensor) -> bool:
    """Whether oneDNN is quicker at a · b."""
    return MKL_IS_SLOW and a.dtype == torch.float32 and a.shape[-2] * a.shape[-1] * b.shape[-1] >= LEAST_MULTIPLICATIONS


def product(a: Tensor, b: Tensor) -> Tensor:
    """a · b for matrices (m, k) and (k, n), or (E, m, k) and (E, k, n)."""
    if not by_onednn(a, b):
        return a @ b
    if a.dim() == 2:
        return onednn_product(a, b)
    return torch.stack([onednn_product(one, other) for one, other in zip(a.unbind(), b.unbind(), strict=True)])
