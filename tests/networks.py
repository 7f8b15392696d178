"""The library's verification networks, and one of a cell of one's own: the example's minimal gated unit."""

from __future__ import annotations

from typing import Any

from minimal_gated_unit import MinimalGatedUnit

from rnncore.cells import Cell
from rnncore.verification import networks, oracle
from rnncore.verification.networks import Call
from rnncore.verification.oracle import Vector, Weights, one_minus, sigmoid, tanh

__all__ = ["CELLS", "Call", "make_call"]


def minimal_gated_unit(w: Weights, x: Vector, state: tuple[Vector, ...]) -> tuple[Vector, ...]:
    """Zhou et al. 2016: f = sigmoid(...), n = tanh(W x + b + U (f h) + b'), h' = (1-f) h + f n."""
    (h,) = state
    f = []
    for u in range(w.hidden):
        of_x, of_h = w.products(0, u, x, h)
        f.append(sigmoid(of_x + of_h))
    forgotten = [f_u * h_u for f_u, h_u in zip(f, h, strict=True)]
    new = []
    for u in range(w.hidden):
        of_x, of_h = w.products(1, u, x, forgotten)
        new.append(one_minus(f[u]) * h[u] + f[u] * tanh(of_x + of_h))
    return (new,)


CELLS: dict[str, tuple[Cell, oracle.Step]] = {
    **networks.CELLS,
    "minimal_gated_unit": (MinimalGatedUnit(), minimal_gated_unit),
}


def make_call(name: str, steps: int, batch: int, **options: Any) -> Call:
    """See `rnncore.verification.networks.make_call`."""
    return networks.make_call(*CELLS[name], steps, batch, **options)
