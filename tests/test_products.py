"""Products of matrices by oneDNN against float64."""

from __future__ import annotations

import pytest
import torch

from sac_dist import products

OPERATOR = products.onednn_product
pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@pytest.fixture(autouse=True)
def always_onednn(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """As on a processor that MKL is slow on, whatever the size; the shapes of what oneDNN is given."""
    shapes: list[torch.Size] = []
    real = products.onednn_product

    def counted(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        shapes.append(a.shape)
        return real(a, b)

    monkeypatch.setattr(products, "MKL_IS_SLOW", True)
    monkeypatch.setattr(products, "LEAST_MULTIPLICATIONS", 1)
    monkeypatch.setattr(products, "onednn_product", counted)
    return shapes


@pytest.mark.parametrize("lead", [(), (3,)])
@pytest.mark.parametrize("columns", [1, 14])
def test_product_and_its_gradients(lead: tuple[int, ...], columns: int, always_onednn: list[torch.Size]) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, by = (torch.randn(*lead, *shape, generator=generator) for shape in ((37, 5), (5, columns), (37, columns)))
    a, b = a.requires_grad_(), b.requires_grad_()
    result = products.product(a, b)
    by_a, by_b = torch.autograd.grad(result, [a, b], by)
    assert len(always_onednn) == 3 * max(lead, default=1)
    exact_a, exact_b, exact_by = (tensor.detach().double() for tensor in (a, b, by))
    for found, exact in ((result, exact_a @ exact_b), (by_a, exact_by @ exact_b.mT), (by_b, exact_a.mT @ exact_by)):
        torch.testing.assert_close(found.detach().double(), exact, rtol=1e-5, atol=1e-5)


def test_the_operator_keeps_torchs_rules_for_one() -> None:
    a, b = torch.randn(6, 4).requires_grad_(), torch.randn(8, 4).T.requires_grad_()
    torch.library.opcheck(OPERATOR, (a, b))


def test_views_of_other_strides_and_a_gradient_for_one_side() -> None:
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(200, generator=generator)
    a = torch.randn(6, generator=generator).expand(3, 4, 6)  # as an ensemble sees one observation
    b = flat.view(10, 20).T[2:8, :5].expand(3, 6, 5).requires_grad_()
    torch.testing.assert_close(products.product(a, b), torch.bmm(a, b))
    (by_b,) = torch.autograd.grad(products.product(a, b).sum(), [b])
    torch.testing.assert_close(by_b, torch.bmm(a.mT, torch.ones(3, 4, 5)))


def test_float64_and_small_products_stay_with_torch(always_onednn: list[torch.Size], monkeypatch: pytest.MonkeyPatch) -> None:
    products.product(torch.ones(4, 4, dtype=torch.float64), torch.ones(4, 4, dtype=torch.float64))
    monkeypatch.setattr(products, "LEAST_MULTIPLICATIONS", 4**3 + 1)
    products.product(torch.ones(4, 4), torch.ones(4, 4))
    monkeypatch.setattr(products, "MKL_IS_SLOW", False)
    monkeypatch.setattr(products, "LEAST_MULTIPLICATIONS", 1)
    products.product(torch.ones(4, 4), torch.ones(4, 4))
    assert not always_onednn
