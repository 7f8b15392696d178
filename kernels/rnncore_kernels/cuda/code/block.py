"""What a block does in each step: bring operand and weights into its shared memory, and multiply them.

Weights that fit stay there for the whole sequence.

A block belongs to a group of rows, of which it computes some slices, and computes some slices of the hidden units.
Its warps divide a slice of rows, one of units, and k. The blocks of a group of rows need each other's results in every
step.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import int64
from numba.core import types

from ..tile import LANES, VECTOR_BYTES, Tile
from .emitted import I32, I64, device, emitted, gpu
from .memory import load_index, make_vectors, meet
from .multiply import make_gather, make_multiply, make_share, make_zeros


def _divide(b: Any, x: Any, y: Any) -> Any:
    return b.zext(b.udiv(b.trunc(x, I32), b.trunc(y, I32)), I64)


divide: Any = emitted("divide", (types.int64, types.int64), types.int64, _divide)
"""`divide(x, y)` of numbers under 2**32: in 64 bits, a division takes a hundred instructions."""


@device
def unit_group(run: Any) -> Any:
    """Which slices of the hidden units the block computes: this, and every `unit_groups` on."""
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
def meet_group(run: Any, arrivals: int) -> Any:
    """Wait for the blocks of the same group of rows; the arrivals of the next time."""
    if run.unit_groups == 1:
        gpu.syncthreads()
        return arrivals
    meet(run.counters + row_group(run) * (4 * LANES), arrivals)
    return arrivals + run.unit_groups


@device
def rounded(elements: int, block: int) -> Any:
    """Elements rounded up to a multiple of a power of two."""
    return (elements + (block - 1)) & -block


def log2(power: int) -> int:
    """Binary logarithm of a power of two."""
    return power.bit_length() - 1


class BlockCode(NamedTuple):
    """Device functions of a stage.

    `first` says whether a product is the launch's first of this stage, which brings the weights that stay.
    """

    product: Any  # (run, row_slice, unit_slice, operand, operand_row, first): compute and share sums
    sums: Any  # (run, row, unit) -> tuple of the sums of a row and unit of the slices


class Product(NamedTuple):
    """The product of a stage.

    Attributes:
        tile: of a warp.
        widths: k is this many times `padded` elements.
    """

    tile: Tile
    widths: int


@functools.cache
def make_block(products: tuple[Product, ...], number: int) -> BlockCode:
    """The code of a block for one of the stages' products, whose weights stand one behind the other."""
    tile, widths = products[number]
    itemsize = tile.dtype.itemsize
    vector, k_block, columns = tile.vector, tile.k_block, tile.columns
    row_bits, unit_bits = log2(tile.rows), log2(tile.units)
    lane_row_bits, lane_unit_bits = log2(tile.lane_rows), log2(tile.lane_units)
    k_lane_bits, thread_unit_bits = log2(tile.k_lanes), log2(tile.thread_units)
    pair_bits = row_bits + unit_bits
    zeros, multiply, share, gather = make_zeros(tile), make_multiply(tile), make_share(tile), make_gather(tile)
    bring = _make_bring(tile.dtype)
    before_in_memory = _make_before(products[:number], whole=False)
    before_in_block = _make_before(products[:number], whole=True)

    @device
    def bring_weights(run: Any, unit_slice: int, at: int, at_row: int, k: int, count: int) -> None:
        valid = widths * run.padded
        units = 1 << (unit_bits + run.log_units)
        first = unit_slice * units
        rows = min(units, run.padded - first) * columns
        address = run.weights + before_in_memory(run) * run.padded
        bring(at, at_row, units * columns, address, valid * itemsize, 0, first * columns, rows, k, count, valid)

    @device
    def stayed_at(run: Any, unit_slice: int) -> Any:
        slices_before = divide(unit_slice - unit_group(run), run.unit_groups)
        row_bytes = rounded(widths * run.padded, k_block) * itemsize
        offset = before_in_block(run) * run.unit_slices + slices_before * columns * row_bytes
        return offset << (unit_bits + run.log_units)

    @device
    def product(
        run: Any, row_slice: int, unit_slice: int, operand: int, operand_row: int, first: bool
    ) -> None:  # fmt: skip
        valid = widths * run.padded
        total = rounded(valid, k_block)
        chunk = min(run.chunk, total)
        rows = 1 << (row_bits + run.log_rows)
        first_row = row_slice * rows
        # Of the warp: its part of the rows, of the units, and of k.
        warp, lane = gpu.threadIdx.x >> 5, gpu.threadIdx.x & (LANES - 1)
        warp_unit = warp & ((1 << run.log_units) - 1)
        warp_row = (warp >> run.log_units) & ((1 << run.log_rows) - 1)
        part = warp >> (run.log_units + run.log_rows)
        parts = (gpu.blockDim.x >> 5) >> (run.log_units + run.log_rows)
        # Of the lane: its part of the warp's.
        k_lane, group = lane & ((1 << k_lane_bits) - 1), lane >> k_lane_bits
        lane_unit, lane_row = group & ((1 << lane_unit_bits) - 1), group >> lane_unit_bits
        my_row = (warp_row << row_bits) + lane_row
        my_column = ((warp_unit << unit_bits) + lane_unit) * columns
        my_k = (part * k_block + k_lane * vector) * itemsize
        weights_row = (total if run.resident else chunk) * itemsize
        operand_bytes = chunk * itemsize
        sums = zeros()
        k = 0
        while k < total:
            count = min(chunk, total - k)
            if k > 0:
                # All warps are done with what was here before; the first time, a barrier has come after that.
                gpu.syncthreads()
            bring(
                run.operand_at, operand_bytes, rows, operand, operand_row,
                run.order, first_row, min(rows, run.batch - first_row), k, count, valid,
            )  # fmt: skip
            here = stayed_at(run, unit_slice) + k * itemsize if run.resident else 0
            if not run.resident or (first and row_slice == row_group(run)):
                bring_weights(run, unit_slice, here, weights_row, k, count)
            gpu.syncthreads()
            blocks = divide(count, k_block)
            mine = divide(blocks + (parts - 1) - part, parts)
            sums = multiply(
                sums, here + my_column * weights_row + my_k, weights_row,
                run.operand_at + my_row * operand_bytes + my_k, operand_bytes, mine, parts * k_block * itemsize,
            )  # fmt: skip
            k += chunk
        # The warps that divide k write behind each other.
        place = ((part << (run.log_units + run.log_rows)) + (warp_row << run.log_units) + warp_unit) << pair_bits
        place += group << (pair_bits - (lane_row_bits + lane_unit_bits))
        share(sums, lane, run.sums_at + place * (columns * itemsize))
        gpu.syncthreads()

    @device
    def sums(run: Any, row: int, unit: int) -> Any:
        parts = (gpu.blockDim.x >> 5) >> (run.log_units + run.log_rows)
        warp = ((row >> row_bits) << run.log_units) + (unit >> unit_bits)
        row, unit = row & ((1 << row_bits) - 1), unit & ((1 << unit_bits) - 1)
        lane_row, lane_unit = row & ((1 << lane_row_bits) - 1), unit & ((1 << lane_unit_bits) - 1)
        place = (warp << (lane_row_bits + lane_unit_bits)) + (lane_row << lane_unit_bits) + lane_unit
        place = (place << (row_bits - lane_row_bits)) + (row >> lane_row_bits)
        place = (place << thread_unit_bits) + (unit >> lane_unit_bits)
        distance = (1 << (pair_bits + run.log_units + run.log_rows)) * (columns * itemsize)
        return gather(run.sums_at + place * (columns * itemsize), distance, parts)

    return BlockCode(product, sums)


def chained(functions: Sequence[Any]) -> Any:
    """The device function (run, ends, n, arrivals) -> arrivals that calls such functions one after the other."""
    first, *others = functions
    if not others:
        return first
    following = chained(others)

    @device
    def chain(run: Any, ends: Any, n: int, arrivals: int) -> Any:
        return following(run, ends, n, first(run, ends, n, arrivals))

    return chain


@functools.cache
def _make_bring(dtype: np.dtype[Any]) -> Any:
    """A device function that copies parts of rows from global to shared memory."""
    copy, clear = make_vectors(dtype)
    itemsize, vector = dtype.itemsize, VECTOR_BYTES // dtype.itemsize

    @device
    def bring(
        at: int, at_row: int, rows: int, address: int, address_row: int,
        order: int, first: int, valid_rows: int, k: int, count: int, valid: int,
    ) -> None:  # fmt: skip
        """Copy `count` elements from k on of some rows, with zeros behind the valid elements and rows."""
        warps = gpu.blockDim.x >> 5
        row = gpu.threadIdx.x >> 5
        while row < rows:
            source = address
            if row < valid_rows:
                index = first + row
                if order != 0:
                    index = load_index(order + 4 * index)
                source = address + index * address_row
            column = (gpu.threadIdx.x & (LANES - 1)) * vector
            while column < count:
                place = at + row * at_row + column * itemsize
                if row < valid_rows and k + column < valid:
                    copy(place, source + (k + column) * itemsize)
                else:
                    clear(place)
                column += LANES * vector
            row += warps

    return bring


def _make_before(products: tuple[Product, ...], *, whole: bool) -> Any:
    """`before(run)`: bytes for each unit of these products' weights, with k as it is or rounded up to whole blocks."""
    if not products:

        @device
        def nothing(run: Any) -> int:
            return 0

        return nothing
    tile, widths = products[-1]
    row_bytes, block = tile.columns * tile.dtype.itemsize, tile.k_block if whole else 1
    others = _make_before(products[:-1], whole=whole)

    @device
    def before(run: Any) -> Any:
        return others(run) + rounded(widths * run.padded, block) * row_bytes

    return before


def make_visit(tile: Tile, prepare: Any, finish: Any) -> Any:
    """`visit(run, ends, n)`: what a block does in a part of step n.

    For each of its slices, `prepare(run, n, row_slice, unit_slice)`, then for each row and unit of the slice, which the
    threads divide, `finish(run, ends, n, position, unit, row_here, unit_here)`, the last two counted within the slice.
    """
    row_bits, unit_bits = log2(tile.rows), log2(tile.units)

    @device
    def visit(run: Any, ends: Any, n: int) -> None:
        rows_log, units_log = row_bits + run.log_rows, unit_bits + run.log_units
        row_slice = row_group(run)
        while row_slice << rows_log < run.batch:
            unit_slice = unit_group(run)
            while unit_slice << units_log < run.padded:
                prepare(run, n, row_slice, unit_slice)
                pair = int64(gpu.threadIdx.x)
                while pair < 1 << (rows_log + units_log):
                    row_here, unit_here = pair >> units_log, pair & ((1 << units_log) - 1)
                    position, unit = (row_slice << rows_log) + row_here, (unit_slice << units_log) + unit_here
                    if position < run.batch and unit < run.padded:
                        finish(run, ends, n, position, unit, row_here, unit_here)
                    pair += gpu.blockDim.x
                unit_slice += run.unit_groups
            row_slice += run.row_groups

    return visit
