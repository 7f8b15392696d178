"""The product of a warp: the registers, loops and shuffles that compute it, see `cuda.tile`.

At the end shuffles add up the sums of the lanes that divide k, each keeping a part, which it writes to shared memory.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from ..tile import VECTOR_BYTES, Tile
from .functions import ELEMENTS, I1, I32, I64, assembly, from_ir, repeat, shared_pointer, values_type
from .scalar import fma


def make_zeros(dtype: np.dtype[Any], count: int) -> Any:
    """`zeros()`: sums to begin with."""

    def body(b: Any) -> list[Any]:
        return [ELEMENTS[dtype](0.0)] * count

    return from_ir("zeros", (), values_type(dtype, count), body)


def make_multiply(tile: Tile) -> Any:
    """`multiply(sums, weights, weights_row, operand, operand_row, blocks, step)`: add products of some blocks of k.

    Args of the function:
        sums: of the lane.
        weights, operand: offsets of the lane's first vectors.
        weights_row, operand_row: bytes from one row to the next.
        blocks: how many blocks of k to multiply.
        step: bytes from one to the next.
    """
    element = ELEMENTS[tile.dtype]
    vector = ir.VectorType(element, tile.vector)

    def body(
        b: Any, sums: list[Any], weights: Any, weights_row: Any, operand: Any, operand_row: Any, blocks: Any, step: Any
    ) -> list[Any]:
        weights, weights_row, operand, operand_row, blocks, step = (
            b.trunc(value, I32) for value in (weights, weights_row, operand, operand_row, blocks, step)
        )

        def turn(values: list[Any]) -> list[Any]:
            k, totals = values[0], values[1:]

            def load(base: Any, row_bytes: Any, row: int) -> Any:
                offset = b.add(b.add(base, k), b.mul(row_bytes, I32(row)))
                return b.load(shared_pointer(b, offset, vector), align=VECTOR_BYTES)

            ours = [load(operand, operand_row, tile.lane_rows * row) for row in range(tile.thread_rows)]
            theirs = [
                load(weights, weights_row, tile.columns * tile.lane_units * unit + column)
                for unit in range(tile.thread_units)
                for column in range(tile.columns)
            ]
            for lane in range(tile.vector):
                x, y = ([b.extract_element(value, I32(lane)) for value in side] for side in (ours, theirs))
                totals = [fma(b, *pair, total) for pair, total in zip(product(x, y), totals, strict=True)]
            return [b.add(k, step), *totals]

        return repeat(b, blocks, [I32(0), *sums], turn)[1:]

    sums = values_type(tile.dtype, tile.sums)
    return from_ir("multiply", (sums, *[types.int64] * 6), sums, body)


def make_share(tile: Tile) -> Any:
    """`share(sums, lane, offset)`: write the sums of each `k_lanes` lanes, added up, to shared memory.

    They stand there in the order of a lane's sums, from the offset on that these lanes were given.
    """
    element = ELEMENTS[tile.dtype]

    def body(b: Any, sums: list[Any], lane: Any, offset: Any) -> None:
        lane, offset = b.trunc(lane, I32), b.trunc(offset, I32)
        writes = I1(1)
        bit = tile.k_lanes // 2
        while bit:
            upper = b.icmp_signed("!=", b.and_(lane, I32(bit)), I32(0))
            half = len(sums) // 2
            if len(sums) % 2 == 0:
                low, high = sums[:half], sums[half:]
                kept = [b.select(upper, y, x) for x, y in zip(low, high, strict=True)]
                sent = [b.select(upper, x, y) for x, y in zip(low, high, strict=True)]
                offset = b.add(offset, b.select(upper, I32(half * tile.dtype.itemsize), I32(0)))
            else:
                kept = sent = sums
                writes = b.and_(writes, b.not_(upper))
            received = [exchanged(b, value, bit) for value in sent]
            sums = [b.fadd(x, y) for x, y in zip(kept, received, strict=True)]
            bit //= 2
        with b.if_then(writes):
            for index, value in enumerate(sums):
                place = b.add(offset, I32(index * tile.dtype.itemsize))
                b.store(value, shared_pointer(b, place, element))

    return from_ir("share", (values_type(tile.dtype, tile.sums), types.int64, types.int64), None, body)


def exchanged(b: Any, value: Any, bit: int) -> Any:
    """The value of the lane whose number differs in one bit."""
    if value.type == ir.FloatType():
        return assembly(b, value.type, f"shfl.sync.bfly.b32 $0, $1, {bit}, 31, -1;", "=f,f", [value])
    bits = b.bitcast(value, I64)
    halves = [b.trunc(bits, I32), b.trunc(b.lshr(bits, I64(32)), I32)]
    low, high = (assembly(b, I32, f"shfl.sync.bfly.b32 $0, $1, {bit}, 31, -1;", "=r,r", [half]) for half in halves)
    whole = b.or_(b.zext(low, I64), b.shl(b.zext(high, I64), I64(32)))
    return b.bitcast(whole, value.type)


def make_gather(tile: Tile) -> Any:
    """`gather(offset, distance, parts)`: the sums of one row and unit, added up over the warps that divide k."""
    element = ELEMENTS[tile.dtype]

    def body(b: Any, offset: Any, distance: Any, parts: Any) -> list[Any]:
        offset, distance, parts = (b.trunc(value, I32) for value in (offset, distance, parts))

        def turn(values: list[Any]) -> list[Any]:
            place, totals = values[0], values[1:]
            parts = [
                b.load(shared_pointer(b, b.add(place, I32(column * tile.dtype.itemsize)), element))
                for column in range(tile.columns)
            ]
            return [b.add(place, distance), *(b.fadd(*pair) for pair in zip(totals, parts, strict=True))]

        return repeat(b, parts, [offset, *[element(0.0)] * tile.columns], turn)[1:]

    return from_ir("gather", (types.int64,) * 3, values_type(tile.dtype, tile.columns), body)
