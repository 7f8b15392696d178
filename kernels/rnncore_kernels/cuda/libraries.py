"""The kernels of a cell: which there are, and what each was made from."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..program.program import Program
from .arguments import RUN_FIELDS, Arrays
from .compiler import Source
from .steps import Steps, Visit, backward_steps, forward_steps
from .tile import Tile

WARPS = 8
"""Most warps of a block."""

FEW_ROWS = 3
"""Up to so many rows, a warp multiplies one at a time."""


def visit_columns(steps: Steps, visit: Visit) -> int:
    """Sums of a row and unit in a visit's product; 0 without one. A transposed product has one."""
    if visit.product is None:
        return 0
    return 1 if steps.backward else len(steps.program.products[visit.product].blocks)


def make_tiles(steps: Steps, dtype: np.dtype[Any], few: bool) -> tuple[Tile, ...]:
    """The tile of each visit; all have the same rows and units."""
    columns = [max(1, visit_columns(steps, visit)) for visit in steps.visits]
    units = _thread_units(dtype, max(columns), few)
    return tuple(_tile(dtype, count, units, few) for count in columns)


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
    return _source("rnncore_forward", forward_steps(program), dtype, few)


@cache
def backward_source(program: Program, dtype: np.dtype[Any], few: bool) -> Source:
    """The kernel of the backward pass."""
    return _source("rnncore_backward", backward_steps(program), dtype, few)


def _source(name: str, steps: Steps, dtype: np.dtype[Any], few: bool) -> Source:
    tiles, program = make_tiles(steps, dtype, few), steps.program

    def make() -> Any:
        from .kernels.scan import make_kernel

        return make_kernel(steps, tiles)

    return Source(name, f"{tiles}\n{program.text}", make, RUN_FIELDS, Arrays.of(steps).length, 32 * WARPS)
