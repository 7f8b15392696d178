"""Sums over the units of a row, in an order that follows from sizes alone.

A block sums the units of a slice where it computed them, a warp each row. After a barrier it sums the slices of its
rows, and puts the totals into its shared memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.core import types

from ..steps import Steps, Visit
from ..tile import LANES, Tile
from .functions import I32, I64, Int, device, from_ir, gpu, repeat, run_type
from .grid import length_at, log2, make_time, row_at, unit_group
from .multiply import exchanged
from .point import Point, arrays_type
from .scalar import Scalar

Body = Callable[[Point, Int, Int], None]


def make_gather_totals(steps: Steps, visit: Visit, tile: Tile) -> Any:
    """`gather_totals(run, arrays, n, row_slice)`: bring the totals that a visit reads, of the rows of a slice."""
    kept = dict(visit.kept)

    def body(point: Point, lane: Int, group: Int) -> None:
        b, log_units = point.builder, point.run.log_units + log2(tile.units)
        for place, total in enumerate(visit.totals):
            units = point.elements([_width(steps, total)]) + (_power(log_units) - 1)
            slices = Int(b, b.ashr(units.value, log_units.value))
            value = _sum_of_warp(point, point.partial(total), lane, slices)
            with b.if_then(b.not_(lane.is_not(0))):
                point.store_shared(point.shared_total(place, len(visit.totals)), value)
                if total in kept:
                    with b.if_then(b.and_(point.run.totals.is_not(0), b.not_(group.is_not(0)))):
                        point.store(point.kept_total(kept[total]), value)

    rows = _make_rows(steps, tile, body)

    @device
    def gather_totals(run: Any, arrays: Any, n: int, row_slice: int) -> None:
        # The slice before may still be read.
        gpu.syncthreads()
        rows(run, arrays, n, row_slice, unit_group(run))
        gpu.syncthreads()

    return gather_totals


def make_sum_slice(steps: Steps, visit: Visit, tile: Tile) -> Any:
    """`sum_slice(run, arrays, n, row_slice, unit_slice)`: sum the slice's units of the values that a visit wrote."""

    def body(point: Point, lane: Int, unit_slice: Int) -> None:
        b, log_units = point.builder, point.run.log_units + log2(tile.units)
        first, most = Int(b, b.shl(unit_slice.value, log_units.value)), _power(log_units)
        point.unit = first
        for total in visit.summed:
            left = point.units(_width(steps, total)) - first
            count = Int(b, b.select(b.icmp_signed("<", left.value, most.value), left.value, most.value))
            value = _sum_of_warp(point, point.carried(steps.values.totals[total]), lane, count)
            with b.if_then(b.not_(lane.is_not(0))):
                point.store(point.partial(total) + unit_slice * point.dtype.itemsize, value)

    rows = _make_rows(steps, tile, body)

    @device
    def sum_slice(run: Any, arrays: Any, n: int, row_slice: int, unit_slice: int) -> None:
        if n < run.steps:
            gpu.syncthreads()
            rows(run, arrays, n, row_slice, unit_slice)

    return sum_slice


def _width(steps: Steps, total: int) -> int:
    return steps.values.carried[steps.values.totals[total]]


def _power(log: Int) -> Int:
    return Int(log.builder, log.builder.shl(I64(1), log.value))


def _make_rows(steps: Steps, tile: Tile, body: Body) -> Any:
    """`rows(run, arrays, n, row_slice, number)`: `body(point, lane, number)` for each row of a slice, by a warp."""
    time, row_bits = make_time(steps.backward), log2(tile.rows)

    def write(
        b: Any, run: Any, arrays: list[Any], n: Any, t: Any, row: Any, row_here: Any, lane: Any, number: Any
    ) -> None:
        point = Point(b, steps, tile.dtype, run, arrays, n=n, t=t, row=row, row_here=row_here, unit=I64(0))
        body(point, Int(b, lane), Int(b, number))

    apply = from_ir("totals", (run_type(), arrays_type(steps), *[types.int64] * 6), None, write)

    @device
    def rows(run: Any, arrays: Any, n: int, row_slice: int, number: int) -> None:
        t = time(run, n)
        lane = gpu.threadIdx.x & (LANES - 1)
        row_here = gpu.threadIdx.x >> 5
        while row_here < 1 << (row_bits + run.log_rows):
            position = (row_slice << (row_bits + run.log_rows)) + row_here
            if position < run.batch and run.first + t < length_at(run, position):
                apply(run, arrays, n, t, row_at(run, position), row_here, lane, number)
            row_here += gpu.blockDim.x >> 5

    return rows


def _sum_of_warp(point: Point, address: Int, lane: Int, count: Int) -> Scalar:
    """The sum of `count` numbers that stand side by side, in all lanes: each adds every 32nd, then they exchange."""
    b, itemsize = point.builder, point.dtype.itemsize
    turns = b.trunc(b.ashr((count - lane + (LANES - 1)).value, I64(5)), I32)

    def turn(values: list[Any]) -> list[Any]:
        place, total = values
        added = Scalar(b, total) + point.load(Int(b, place))
        return [b.add(place, I64(LANES * itemsize)), added.value]

    first = (address + lane * itemsize).value
    _, total = repeat(b, turns, [first, point.constant(0.0).value], turn)
    bit = LANES // 2
    while bit:
        total = b.fadd(total, exchanged(b, total, bit))
        bit //= 2
    return Scalar(b, total)
