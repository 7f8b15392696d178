"""The product of a block: bring operand and weights into its shared memory, and multiply them.

Weights that fit stay there for the whole sequence.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import int64

from ..arguments import HEAD, HEAD_DEPTH, PART, SPAN, STAYS_AT, WEIGHTS
from ..layout import Extent
from ..tile import LANES, VECTOR_BYTES, Tile
from .functions import device, gpu
from .grid import divide, log2, make_extent, row_group, unit_group
from .memory import load_index, make_vectors
from .multiply import make_gather, make_multiply, make_share, make_zeros


@device
def rounded(elements: int, block: int) -> Any:
    """Elements rounded up to a multiple of a power of two."""
    return (elements + (block - 1)) & -block


class BlockProduct(NamedTuple):
    """Device functions of a product.

    `first` says whether it is the launch's first of this product, which brings the weights that stay.
    """

    product: Any  # (run, arrays, row_slice, unit_slice, operand, operand_row, first): compute and share sums
    sums: Any  # (run, row, unit) -> tuple of the sums of a row and unit of the slices


@functools.cache
def make_product(tile: Tile, weights: int, k: Extent, units: Extent) -> BlockProduct:
    """The code of a block for a product.

    Args:
        tile: of a warp.
        weights: place of the product's numbers in `arrays`.
        k: elements of a row of the weights, all parts.
        units: rows of the weights, each of the tile's columns.
    """
    itemsize = tile.dtype.itemsize
    vector, k_block, columns = tile.vector, tile.k_block, tile.columns
    row_bits, unit_bits = log2(tile.rows), log2(tile.units)
    lane_row_bits, lane_unit_bits = log2(tile.lane_rows), log2(tile.lane_units)
    k_lane_bits, thread_unit_bits = log2(tile.k_lanes), log2(tile.thread_units)
    pair_bits = row_bits + unit_bits
    zeros, multiply = make_zeros(tile.dtype, tile.sums), make_multiply(tile)
    share, gather = make_share(tile), make_gather(tile)
    bring = _make_bring(tile.dtype)
    k_elements, all_units = make_extent(k), make_extent(units)
    address, offset, of_part, of_span, of_head, of_depth = (
        weights + number for number in (WEIGHTS, STAYS_AT, PART, SPAN, HEAD, HEAD_DEPTH)
    )

    @device
    def bring_weights(
        run: Any, arrays: Any, unit_slice: int, at: int, at_row: int, k: int, count: int, valid: int
    ) -> None:
        units = 1 << (unit_bits + run.log_units)
        first = unit_slice * units
        rows = min(units, all_units(run) - first) * columns
        row_bytes = k_elements(run) * itemsize
        bring(at, at_row, units * columns, arrays[address], row_bytes, int64(0), first * columns, rows, k, count, valid)

    @device
    def stayed_at(run: Any, arrays: Any, unit_slice: int, row_bytes: int) -> Any:
        slices_before = divide(unit_slice - unit_group(run), run.unit_groups)
        return arrays[offset] + ((slices_before * columns * row_bytes) << (unit_bits + run.log_units))

    @device
    def product(
        run: Any, arrays: Any, row_slice: int, unit_slice: int, operand: int, operand_row: int, first: bool
    ) -> None:  # fmt: skip
        # A slice takes the elements of its own heads from each part of a row, as many as every other slice.
        piece, span = arrays[of_part], arrays[of_span]
        pieces = divide(k_elements(run), piece)
        first_unit = unit_slice << (unit_bits + run.log_units)
        low = min((divide(first_unit, arrays[of_head]) * arrays[of_depth]) & -vector, piece - span)
        total = rounded(span, k_block)
        chunk = min(run.chunk, total)
        rows = 1 << (row_bits + run.log_rows)
        first_row = row_slice * rows
        # The warp's part of the rows, of the units, and of k.
        warp, lane = gpu.threadIdx.x >> 5, gpu.threadIdx.x & (LANES - 1)
        warp_unit = warp & ((1 << run.log_units) - 1)
        warp_row = (warp >> run.log_units) & ((1 << run.log_rows) - 1)
        part = warp >> (run.log_units + run.log_rows)
        parts = (gpu.blockDim.x >> 5) >> (run.log_units + run.log_rows)
        # The lane's part of the warp's.
        k_lane, group = lane & ((1 << k_lane_bits) - 1), lane >> k_lane_bits
        lane_unit, lane_row = group & ((1 << lane_unit_bits) - 1), group >> lane_unit_bits
        my_row = (warp_row << row_bits) + lane_row
        my_column = ((warp_unit << unit_bits) + lane_unit) * columns
        my_k = (part * k_block + k_lane * vector) * itemsize
        weights_row = (pieces * total if run.resident else chunk) * itemsize
        operand_bytes = chunk * itemsize
        sums = zeros()
        n, k = 0, 0
        while n < pieces:
            count, origin = min(chunk, total - k), n * piece + low
            valid = origin + span
            if n + k > 0:
                # All warps are done with what was here before; the first time, a barrier has come after that.
                gpu.syncthreads()
            bring(
                run.operand_at, operand_bytes, rows, operand, operand_row,
                run.order, first_row, min(rows, run.batch - first_row), origin + k, count, valid,
            )  # fmt: skip
            here = 0
            if run.resident:
                here = stayed_at(run, arrays, unit_slice, weights_row) + (n * total + k) * itemsize
            if not run.resident or (first and row_slice == row_group(run)):
                bring_weights(run, arrays, unit_slice, here, weights_row, origin + k, count, valid)
            gpu.syncthreads()
            blocks = divide(count, k_block)
            mine = divide(blocks + (parts - 1) - part, parts)
            sums = multiply(
                sums, here + my_column * weights_row + my_k, weights_row,
                run.operand_at + my_row * operand_bytes + my_k, operand_bytes, mine, parts * k_block * itemsize,
            )  # fmt: skip
            k += chunk
            if k >= total:
                n, k = n + 1, 0
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

    return BlockProduct(product, sums)


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
