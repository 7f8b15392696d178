"""What a network's steps compute, by name."""

from __future__ import annotations

from collections.abc import Sequence

from rnncore_kernels.cells.symbol import ROW
from rnncore_kernels.contract import Array
from rnncore_kernels.program.transform import observable

from .layout import Layout


def named(layout: Layout, values: Sequence[Array]) -> dict[str, Array]:
    """The states of a layer, (T, B, D*width) each, and behind them what can be observed, as a caller has it."""
    arch = layout.architecture
    found = observable(arch.definition.recorded)
    result = dict(zip((*arch.definition.states, *found), values, strict=True))
    for name, symbol in found.items():
        if symbol.width == ROW:
            result[name] = result[name][..., :: arch.hidden_size]
    return {name: layout.sequence_out(value) for name, value in result.items()}
