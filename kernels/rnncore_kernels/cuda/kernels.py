"""The kernels of a cell: which there are, and what each was made from."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..codegen.program import Program
from .fields import BACKWARD_FIELDS, FORWARD_FIELDS
from .tile import Tile
from .toolchain import Source

WARPS = 8
"""Most warps of a block."""

FEW_ROWS = 3
"""Up to so many rows, a warp multiplies one at a time."""


def forward_tiles(program: Program, dtype: np.dtype[Any], few: bool) -> tuple[Tile, ...]:
    """The tile of each stage's product in the forward pass; all have the same rows and units."""
    columns = [stage.columns - stage.split for stage in program.stages]
    units = _thread_units(dtype, max(columns), few)
    return tuple(_tile(dtype, count, units, few) for count in columns)


def backward_tile(dtype: np.dtype[Any], few: bool) -> Tile:
    """The tile of the products with the transposed weights, of one column."""
    return _tile(dtype, 1, _thread_units(dtype, 1, few), few)


def _thread_units(dtype: np.dtype[Any], columns: int, few: bool) -> int:
    """Units of a lane: 4, or so many that the sums of all rows, units and columns leave registers for the rest."""
    rows, most = 1 if few else 8, 64 if dtype == np.float32 else 16
    return next((units for units in (4, 2) if rows * units * columns <= most), 1)


def _tile(dtype: np.dtype[Any], columns: int, units: int, few: bool) -> Tile:
    """With few rows all lanes divide k, so that each weight is read once; else a lane has 8 rows."""
    if few:
        return Tile(dtype, columns, thread_rows=1, thread_units=units, lane_rows=1, lane_units=1)
    return Tile(dtype, columns, thread_rows=8, thread_units=units, lane_rows=1, lane_units=4)


@cache
def forward_source(program: Program, dtype: np.dtype[Any], few: bool) -> Source:
    """The kernel of the forward pass."""
    tiles = forward_tiles(program, dtype, few)

    def make() -> Any:
        from .code.forward import make_forward_kernel

        return make_forward_kernel(program, tiles)

    return Source("rnncore_forward", f"{tiles}\n{program.text}", make, FORWARD_FIELDS, program.states, 32 * WARPS)


@cache
def backward_source(program: Program, dtype: np.dtype[Any], few: bool) -> Source:
    """The kernel of the backward pass."""
    tile = backward_tile(dtype, few)

    def make() -> Any:
        from .code.backward import make_backward_kernel

        return make_backward_kernel(program, tile)

    return Source("rnncore_backward", f"{tile}\n{program.text}", make, BACKWARD_FIELDS, program.states, 32 * WARPS)
