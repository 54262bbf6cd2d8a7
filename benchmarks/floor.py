"""The matrix products that one update needs, and how fast they are alone: with the same libraries an update
on one core takes longer.

Of SAC or CQL with two hidden layers in every network, one policy and an ensemble of critics: forward and
    backward through all of them.
Left out are the critics' gradient for observations, which nobody needs, and products of a single row or
column (the critics' outputs), for which no library is the fastest. On AMD's processors MKL may use AVX-512
here as in sac_dist's own processes (mkl.py).
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from measuring import ACTION, OBSERVATION


class Product(NamedTuple):
    """C (rows, columns) = A (rows, inner) · B (inner, columns), for each of ``networks``; as gradients have
    it, A or B lies transposed.
    """

    networks: int
    rows: int
    inner: int
    columns: int
    transposed: str = ""


def products(width: int, batch: int, critics: int = 2, cql_samples: int = 0) -> list[Product]:
    """The matrix products of one update of SAC, or with ``cql_samples`` of CQL; without those of a single row
    or column.
    """
    inputs = OBSERVATION + ACTION
    acting = [
        Product(1, batch, OBSERVATION, width),
        Product(1, batch, width, width),
        Product(1, batch, width, 2 * ACTION),
    ]
    judging = [Product(critics, batch, inputs, width), Product(critics, batch, width, width)]
    policy_gradient = [
        Product(1, width, batch, 2 * ACTION, "A"),
        Product(1, batch, 2 * ACTION, width, "B"),
        Product(1, width, batch, width, "A"),
        Product(1, batch, width, width, "B"),
        Product(1, OBSERVATION, batch, width, "A"),
    ]
    to_action = [Product(critics, batch, width, width, "B"), Product(critics, batch, width, ACTION, "B")]
    rows, first = batch, [(batch, inputs)]
    if cql_samples:  # the first layer sees an observation once, and each of the actions
        rows = batch * (3 * cql_samples + 1)
        first = [(batch, OBSERVATION), (rows, ACTION)]
    critic = [
        Product(critics, rows, width, width),
        Product(critics, width, rows, width, "A"),
        Product(critics, rows, width, width, "B"),
    ]
    for n, size in first:
        critic += [Product(critics, n, size, width), Product(critics, size, n, width, "A")]
    target = acting + judging
    policy = acting + judging + to_action + policy_gradient
    return target + critic + policy


def floor(width: int, batch: int, cql_samples: int, seconds: float) -> float:
    """How often per second the products of one update can be made; torch.mm and torch.bmm write into memory
    that is there.
    """
    calls: list[Callable[[], Any]] = []
    for networks, rows, inner, columns, transposed in products(width, batch, cql_samples=cql_samples):
        shape = () if networks == 1 else (networks,)
        a = torch.randn(*shape, inner, rows).mT if transposed == "A" else torch.randn(*shape, rows, inner)
        b = (
            torch.randn(*shape, columns, inner).mT
            if transposed == "B"
            else torch.randn(*shape, inner, columns)
        )
        calls.append(
            partial(torch.mm if networks == 1 else torch.bmm, a, b, out=torch.empty(*shape, rows, columns))
        )

    def update() -> None:
        for call in calls:
            call()

    update()
    made, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        update()
        made += 1
    return round(made / passed, 2)
