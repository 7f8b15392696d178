"""The kernels of a cell: the tiles of each, and the source that it is compiled from."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .arguments import RUN_FIELDS, Arrays
from .compiler import Source
from .steps import Steps
from .tile import LANES, Tile

WARPS = 8
"""Most warps of a block."""

FEW_ROWS = 3
"""Most rows of a batch whose warps multiply one row at a time."""


def make_tiles(steps: Steps, dtype: np.dtype[Any], few: bool) -> tuple[Tile, ...]:
    """The tile of each visit; all have the same rows and units."""
    columns = [steps.sums_of(visit) for visit in steps.visits]
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
def make_source(steps: Steps, dtype: np.dtype[Any], few: bool) -> Source:
    """The kernel of a pass."""
    tiles, program = make_tiles(steps, dtype, few), steps.program

    def make() -> Any:
        from .kernels.scan import make_kernel

        return make_kernel(steps, tiles)

    name = "rnncore_backward" if steps.backward else "rnncore_forward"
    return Source(name, f"{tiles}\n{program.text}", make, RUN_FIELDS, Arrays.of(steps).length, LANES * WARPS)
