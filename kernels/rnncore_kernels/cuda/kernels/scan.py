"""The kernel of a pass: a layer in one direction over a sequence, forward or backward, all steps in one launch.

The backward pass runs the other way, its states are cotangents, and its products are transposed; else they are one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from numba import int64

from ...cells.symbol import HIDDEN, Width
from ..arguments import PRODUCT_FIELDS, Arrays
from ..layout import columns_of, extent
from ..steps import Steps, Visit
from ..tile import Tile
from .cell import make_blank, make_evaluate, make_move, make_pad, make_settle, make_stay
from .functions import device
from .grid import barrier, length_at, make_extent, make_time, make_visit, no_work, row_at
from .multiply import make_zeros
from .product import make_product
from .totals import make_gather_totals, make_sum_slice


def make_kernel(steps: Steps, tiles: tuple[Tile, ...]) -> Callable[..., None]:
    """The kernel `scan(run, arrays)`, see `arguments`.

    Args:
        steps: the pass.
        tiles: of each visit; all have the same rows and units.
    """
    enter, leave = (_make_ends(steps, tiles[0], enter=enter) for enter in (True, False))
    step = chained([_make_step(steps, visit, tile) for visit, tile in zip(steps.visits, tiles, strict=True)])
    turns_more = steps.turns_more

    def scan(run: Any, arrays: Any) -> None:
        # Not Python's 0: Numba would compile all that a step is for that constant, and then again for numbers.
        n = int64(0)
        enter(run, arrays, n)
        arrivals = run.unit_groups
        while n < run.steps + turns_more:
            arrivals = step(run, arrays, n, arrivals)
            n += 1
        leave(run, arrays, run.steps)

    return scan


def chained(functions: Sequence[Any]) -> Any:
    """The device function (run, arrays, n, arrivals) -> arrivals that calls such functions one after the other."""
    first, *others = functions
    if not others:
        return first
    following = chained(others)

    @device
    def chain(run: Any, arrays: Any, n: int, arrivals: int) -> Any:
        return following(run, arrays, n, first(run, arrays, n, arrivals))

    return chain


def _make_step(steps: Steps, visit: Visit, tile: Tile) -> Any:
    """The device function (run, arrays, n, arrivals) -> arrivals of a visit in step n."""
    late, waits = visit.into is not None, visit.waits
    before, sums = _make_before(steps, visit, tile)
    after = make_sum_slice(steps, visit, tile) if visit.summed else no_work
    finish = (_make_late_finish if late else _make_finish)(steps, visit, tile, sums)
    run_visit = make_visit(tile, extent([visit.width], tile.dtype.itemsize), before, finish, after)

    @device
    def step(run: Any, arrays: Any, n: int, arrivals: int) -> Any:
        if n < run.steps or late:
            if waits:
                arrivals = barrier(run, arrivals)
            run_visit(run, arrays, n)
        return arrivals

    return step


def _make_before(steps: Steps, visit: Visit, tile: Tile) -> tuple[Any, Any]:
    """Functions of a visit: before(run, arrays, n, row_slice, unit_slice) of a slice, and sums(run, row, unit)."""
    gather = make_gather_totals(steps, visit, tile) if visit.totals else None
    if visit.product is None:
        zeros = make_zeros(tile.dtype, 1)

        @device
        def no_sums(run: Any, row: int, unit: int) -> Any:
            return zeros()

        if gather is None:
            return no_work, no_sums

        @device
        def totals(run: Any, arrays: Any, n: int, row_slice: int, unit_slice: int) -> None:
            gather(run, arrays, n, row_slice)

        return totals, no_sums
    operand, widths = _make_operand(steps, visit, tile.dtype.itemsize)
    itemsize, weights = tile.dtype.itemsize, Arrays.of(steps).weights + PRODUCT_FIELDS * visit.product
    k, width = (extent(w, itemsize) for w in (widths, [visit.width]))
    block = make_product(tile, weights, k, width)
    row_elements = make_extent(extent(_row_widths(steps, widths), itemsize))
    product, first = block.product, int(visit.into is not None)

    @device
    def multiply(run: Any, arrays: Any, n: int, row_slice: int, unit_slice: int) -> None:
        if n >= first:
            there = operand(run, arrays, n - first)
            product(run, arrays, row_slice, unit_slice, there, row_elements(run) * itemsize, n == first)

    if gather is None:
        return multiply, block.sums

    @device
    def both(run: Any, arrays: Any, n: int, row_slice: int, unit_slice: int) -> None:
        gather(run, arrays, n, row_slice)
        multiply(run, arrays, n, row_slice, unit_slice)

    return both, block.sums


def _row_widths(steps: Steps, widths: Sequence[Width]) -> Sequence[Width]:
    """Widths of the values in a row of the array that an operand is a part of."""
    return [column.width for column in steps.program.columns] if steps.backward else widths


def _make_operand(steps: Steps, visit: Visit, itemsize: int) -> tuple[Any, Sequence[Width]]:
    """`operand(run, arrays, n)`, the address of the operand of a visit's product in step n; and its widths."""
    program = steps.program
    assert visit.product is not None
    product = program.products[visit.product]
    time, places = make_time(steps.backward), Arrays.of(steps)
    if steps.backward:
        first = places.columns + next(c.first_block for c in columns_of(program) if c.blocks == product.blocks)
        row = make_extent(extent([column.width for column in program.columns], itemsize))

        @device
        def columns(run: Any, arrays: Any, n: int) -> Any:
            return run.columns + arrays[first] + time(run, n) * run.batch * row(run) * itemsize

        return columns, [product.width] * len(product.blocks)
    kind, index = product.operand
    size, after = make_extent(extent([product.operand_width], itemsize)), int(kind == "new")
    place = index + (places.operands if kind == "operand" else places.states)

    @device
    def operand(run: Any, arrays: Any, n: int) -> Any:
        return arrays[place] + (time(run, n) & run.slot_mask) * run.batch * size(run) * itemsize

    @device
    def state(run: Any, arrays: Any, n: int) -> Any:
        slot = (time(run, n) + (after if run.reverse == 0 else 1 - after)) & run.slot_mask
        return arrays[place] + slot * run.batch * size(run) * itemsize

    return (operand if kind == "operand" else state), [product.operand_width]


def _make_finish(steps: Steps, visit: Visit, tile: Tile, sums: Any) -> Any:
    """`finish` of a visit, see `grid.make_visit`."""
    dtype, time, units = tile.dtype, make_time(steps.backward), _make_units(visit.width)
    evaluate, stay, pad = (make(steps, visit, dtype) for make in (make_evaluate, make_stay, make_pad))

    @device
    def finish(run: Any, arrays: Any, n: int, position: int, unit: int, row_here: int, unit_here: int) -> None:
        t, row, length = time(run, n), row_at(run, position), length_at(run, position)
        if unit >= units(run):
            pad(run, arrays, n, t, row, row_here, unit, length)
        elif run.first + t < length:
            evaluate(run, arrays, sums(run, row_here, unit_here), n, t, row, row_here, unit, length)
        else:
            stay(run, arrays, n, t, row, row_here, unit, length)

    return finish


def _make_late_finish(steps: Steps, visit: Visit, tile: Tile, sums: Any) -> Any:
    """`finish` of a visit that adds the product of the step before; in the turn behind the last it does only that."""
    dtype, time, units, settles = tile.dtype, make_time(steps.backward), _make_units(visit.width), visit.settles
    evaluate, stay, pad = (make(steps, visit, dtype) for make in (make_evaluate, make_stay, make_pad))
    settle, zeros = make_settle(steps, visit, dtype), make_zeros(dtype, 1)

    @device
    def finish(run: Any, arrays: Any, n: int, position: int, unit: int, row_here: int, unit_here: int) -> None:
        t, row, length = time(run, n), row_at(run, position), length_at(run, position)
        if unit < units(run):
            added = zeros()
            # A row that had no step before adds nothing, also where weights are infinite.
            if n > 0 and run.first + time(run, n - 1) < length:
                added = sums(run, row_here, unit_here)
            inside = n < run.steps and run.first + t < length
            if settles or not inside:
                settle(run, arrays, added, n, t, row, row_here, unit, length)
            if inside:
                evaluate(run, arrays, added, n, t, row, row_here, unit, length)
            elif n < run.steps:
                stay(run, arrays, n, t, row, row_here, unit, length)
        elif n < run.steps:
            pad(run, arrays, n, t, row, row_here, unit, length)

    return finish


def _make_ends(steps: Steps, tile: Tile, *, enter: bool) -> Any:
    """`ends(run, arrays, n)`: bring the states from the call's arrays, or write them back, of each row and unit."""
    first, *others = [_make_end(steps, tile, width, enter=enter) for width in dict.fromkeys(steps.program.states)]
    for other in others:
        first = _one_after_another(first, other)
    return first


def _make_end(steps: Steps, tile: Tile, width: Width, *, enter: bool) -> Any:
    move, blank = make_move(steps, width, tile.dtype, enter=enter), make_blank(steps, width, tile.dtype)
    time, units = make_time(steps.backward), _make_units(width)

    @device
    def finish(run: Any, arrays: Any, n: int, position: int, unit: int, row_here: int, unit_here: int) -> None:
        t, row = time(run, n), row_at(run, position)
        if unit < units(run):
            move(run, arrays, n, t, row, row_here, unit, 0)
        elif enter:
            blank(run, arrays, n, t, row, row_here, unit, 0)

    return make_visit(tile, extent([width], tile.dtype.itemsize), no_work, finish, no_work)


def _one_after_another(one: Any, other: Any) -> Any:
    @device
    def both(run: Any, arrays: Any, n: int) -> None:
        one(run, arrays, n)
        other(run, arrays, n)

    return both


@functools.cache
def _make_units(width: Width) -> Any:
    """`units(run)`: the units of a width."""
    if width == HIDDEN:

        @device
        def hidden(run: Any) -> Any:
            return run.hidden

        return hidden

    @device
    def units(run: Any) -> Any:
        return width

    return units
