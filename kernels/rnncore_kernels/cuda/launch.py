"""The launch of a kernel: how a layer's work is divided, and the arguments that all kernels have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ..cells import Cell
from ..codegen.program import Program, make_program
from ..contract import Array, Rows
from .device import Argument, Device, Limits
from .division import Division, divide
from .kernels import FEW_ROWS, backward_tile, forward_tiles
from .packed import CudaPacked, padded_size
from .tile import LANES
from .toolchain import Source


@dataclass(frozen=True)
class Ends:
    """When rows end, on the GPU: (B,) int32 the rows, the longest first, and their lengths; None if all are equal."""

    order: Array | None
    lengths: Array | None

    def inside(self, xp: ModuleType, steps: int) -> Array | None:
        """(T, B) whether a row has a step; None if all have all."""
        if self.lengths is None:
            return None
        lengths = self.lengths
        if self.order is not None:
            lengths = xp.empty_like(self.lengths)
            lengths[self.order] = self.lengths
        inside: Array = xp.arange(steps, dtype=np.int32)[:, None] < lengths
        return inside


def make_ends(device: Device, rows: Rows, batch: int) -> Ends:
    """The rows of a run."""
    if rows.batch_sizes is None:
        return Ends(None, None)
    # Of the row at a position, the steps in which more rows than that are there.
    longer = np.bincount(rows.batch_sizes, minlength=batch + 1)[::-1].cumsum()[::-1]
    lengths = device.xp.asarray(longer[1 : batch + 1].astype(np.int32))
    order = None if rows.order is None else device.xp.asarray(rows.order.astype(np.int32))
    return Ends(order, lengths)


def is_few(batch: int) -> bool:
    """Whether warps multiply one row at a time."""
    return batch <= FEW_ROWS


def forward_division(limits: Limits, program: Program, dtype: np.dtype[Any], batch: int, padded: int) -> Division:
    """How the steps of the forward pass of a layer are divided."""
    tiles = forward_tiles(program, dtype, is_few(batch))
    return divide(limits, tiles, (1,) * len(tiles), batch, padded)


def backward_division(limits: Limits, program: Program, dtype: np.dtype[Any], batch: int, padded: int) -> Division:
    """How the steps of the backward pass of a layer are divided."""
    widths = tuple(stage.columns - stage.split for stage in program.stages)
    tiles = (backward_tile(dtype, is_few(batch)),) * len(widths)
    return divide(limits, tiles, widths, batch, padded)


def impl(limits: Limits, cell: Cell, dtype: np.dtype[Any], batch: int, hidden: int) -> tuple[str, str]:
    """What runs the forward and the backward pass of a layer: where its weights are, and groups of rows x of units."""
    program, padded = make_program(cell), padded_size(hidden, dtype.itemsize)
    forward, backward = (make(limits, program, dtype, batch, padded) for make in (forward_division, backward_division))
    return forward.impl, backward.impl


def launch(
    device: Device,
    source: Source,
    division: Division,
    packed: CudaPacked,
    ends: Ends,
    arguments: Mapping[str, Argument | None],
    states: Sequence[Array],
) -> None:
    """Run a kernel.

    Args:
        device: where.
        source: the kernel.
        division: of its work.
        packed: the layer.
        ends: of rows.
        arguments: those of `source.fields` that do not follow from the above; None is 0.
        states: the kernel's `ends`.
    """
    given: dict[str, Any] = {
        "hidden": packed.hidden,
        "padded": packed.padded,
        "order": ends.order,
        "lengths": ends.lengths,
        "resident": int(division.resident),
        "counters": device.xp.zeros((division.row_groups, LANES), np.int32),
        **{name: getattr(division, name) for name in _FROM_DIVISION},
        **arguments,
    }
    values = [0 if given[name] is None else given[name] for name in source.fields]
    device.launch(source, division.blocks, LANES * division.warps, division.shared_bytes, [*values, *states])


_FROM_DIVISION = (
    "row_groups", "unit_groups", "log_rows", "log_units", "unit_slices", "chunk", "operand_at", "sums_at",
)  # fmt: skip
