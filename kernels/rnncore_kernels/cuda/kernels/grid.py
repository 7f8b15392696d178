"""The work of a block: which rows and units it computes, and how it waits for others.

A block belongs to a group of rows, of which it computes some slices, and computes some slices of the units. The blocks
of a group of rows need each other's results in every step. A row and unit are one thread's in all that a launch does,
so a thread reads its own results without waiting.
"""

from __future__ import annotations

import functools
from typing import Any

from numba import int64
from numba.core import types

from ..layout import Extent
from ..tile import LANES, Tile
from .functions import I32, I64, device, from_ir, gpu
from .memory import barrier_wait, load_index


def _divide(b: Any, x: Any, y: Any) -> Any:
    return b.zext(b.udiv(b.trunc(x, I32), b.trunc(y, I32)), I64)


divide: Any = from_ir("divide", (types.int64, types.int64), types.int64, _divide)
"""`divide(x, y)` of numbers under 2**32: in 64 bits, a division takes a hundred instructions."""


@device
def unit_group(run: Any) -> Any:
    """Which slices of the units the block computes: this, and every `unit_groups` on."""
    return divide(gpu.blockIdx.x, run.row_groups)


@device
def row_group(run: Any) -> Any:
    """Which slices of rows the block computes: this, and every `row_groups` on."""
    return gpu.blockIdx.x - unit_group(run) * run.row_groups


@device
def row_at(run: Any, position: int) -> Any:
    """The row of the batch at a position in the order of lengths."""
    return position if run.order == 0 else load_index(run.order + 4 * position)


@device
def length_at(run: Any, position: int) -> Any:
    """Steps of that row."""
    return run.first + run.steps if run.lengths == 0 else load_index(run.lengths + 4 * position)


@device
def barrier(run: Any, arrivals: int) -> Any:
    """Wait for the blocks of the same group of rows; the arrivals of the next time."""
    if run.unit_groups == 1:
        gpu.syncthreads()
        return arrivals
    barrier_wait(run.counters + row_group(run) * (4 * LANES), arrivals)
    return arrivals + run.unit_groups


def log2(power: int) -> int:
    """Binary logarithm of a power of two."""
    return power.bit_length() - 1


@functools.cache
def make_extent(extent: Extent) -> Any:
    """`elements(run)`: the number of elements."""
    hidden, constant = extent

    @device
    def elements(run: Any) -> Any:
        return hidden * run.padded + constant

    return elements


@functools.cache
def make_time(backward: bool) -> Any:
    """`time(run, n)`: when step n is, from the start of this launch; the backward pass runs the other way."""

    @device
    def time(run: Any, n: int) -> Any:
        return n if (run.reverse != 0) == backward else run.steps - 1 - n

    return time


def make_visit(tile: Tile, units: Extent, before: Any, finish: Any, after: Any) -> Any:
    """`visit(run, arrays, n)`: the work of a block in a part of step n.

    For each of its slices, `before(run, arrays, n, row_slice, unit_slice)`, then for each row and unit of the slice,
    which the threads divide, `finish(run, arrays, n, position, unit, row_here, unit_here)`, the last two counted within
    the slice, then `after(run, arrays, n, row_slice, unit_slice)`. There are `units` units.
    """
    row_bits, unit_bits = log2(tile.rows), log2(tile.units)
    all_units = make_extent(units)

    @device
    def visit(run: Any, arrays: Any, n: int) -> None:
        rows_log, units_log = row_bits + run.log_rows, unit_bits + run.log_units
        row_slice = row_group(run)
        while row_slice << rows_log < run.batch:
            unit_slice = unit_group(run)
            while unit_slice << units_log < all_units(run):
                before(run, arrays, n, row_slice, unit_slice)
                pair = int64(gpu.threadIdx.x)
                while pair < 1 << (rows_log + units_log):
                    row_here, unit_here = pair >> units_log, pair & ((1 << units_log) - 1)
                    position, unit = (row_slice << rows_log) + row_here, (unit_slice << units_log) + unit_here
                    if position < run.batch and unit < all_units(run):
                        finish(run, arrays, n, position, unit, row_here, unit_here)
                    pair += gpu.blockDim.x
                after(run, arrays, n, row_slice, unit_slice)
                unit_slice += run.unit_groups
            row_slice += run.row_groups

    return visit


@device
def no_work(run: Any, arrays: Any, n: int, row_slice: int, unit_slice: int) -> None:
    """Nothing before or after a slice."""
