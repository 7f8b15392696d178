"""The library's verification networks of its three first cells, and one of a cell of one's own, the example's."""

from __future__ import annotations

from typing import Any

from minimal_gated_unit import MinimalGatedUnit

from rnncore.cells import LSTM, Cell
from rnncore.verification import equations, networks, oracle
from rnncore.verification.networks import Call

__all__ = ["CELLS", "Call", "make_call"]


CELLS: dict[str, tuple[Cell, oracle.Step]] = {
    **{
        name: (cell, networks.STEPS[type(cell)](cell))
        for name, cell in {**networks.variants(["elman", "gru"]), "lstm": LSTM()}.items()
    },
    "minimal_gated_unit": (MinimalGatedUnit(), equations.mgu),
}
"""What tests run over that are about more than the equations; `test_shipped_cells` has all cells."""


def make_call(name: str, steps: int, batch: int, **options: Any) -> Call:
    """See `rnncore.verification.networks.make_call`."""
    cell, step = CELLS[name]
    return networks.make_call(cell, steps, batch, step=step, **options)
