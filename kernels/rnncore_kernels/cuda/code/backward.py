"""The kernel of back-propagation through time: a layer in one direction over a sequence, all steps in one launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba.core import types

from ...codegen.program import Program, StageProgram
from ..tile import Tile
from .block import Product, chained, length_at, make_block, make_visit, meet_group, row_at
from .cellcode import make_backward
from .emitted import ELEMENTS, I64, device, emitted, global_pointer, real_type
from .memory import make_load, make_store


def make_backward_kernel(program: Program, tile: Tile) -> Callable[..., None]:
    """The kernel `backward(run, ends)`, see `fields.BACKWARD_FIELDS`; `ends` are addresses of the states' cotangents.

    They are (B, H) each, of the final states at first, and overwritten with those of the initial states.

    Args:
        program: the cell.
        tile: of the products with the transposed weights: one column.
    """
    products = tuple(Product(tile, stage.columns - stage.split) for stage in program.stages)
    last, *others = (_make_stage(program, products, number) for number in reversed(range(len(products))))
    following = chained(others) if others else _no_stage

    def backward(run: Any, ends: Any) -> None:
        arrivals = run.unit_groups
        n = 0
        # One turn more: what the first step in time adds to the cotangents of the state before it.
        while n <= run.steps:
            arrivals = last(run, ends, n, arrivals)
            if n < run.steps:
                arrivals = following(run, ends, n, arrivals)
            n += 1

    return backward


@device
def _no_stage(run: Any, ends: Any, n: int, arrivals: int) -> Any:
    return arrivals


def _make_operand(program: Program, stage: StageProgram, itemsize: int) -> Any:
    """`operand(run, t)`: address of the cotangents, at time t, of the columns that a stage's operand contributes to."""
    columns, first = program.columns, stage.column + stage.split

    @device
    def operand(run: Any, t: int) -> Any:
        return run.pre + (t * run.batch * columns + first) * run.padded * itemsize

    return operand


def _make_stage(program: Program, products: tuple[Product, ...], number: int) -> Any:
    """The device function (run, ends, n, arrivals) -> arrivals of a stage of step n, the first being the last in time.

    Its gradient waits for that of the stage behind it, of the same step or, for the last stage, of the one before.
    """
    stage, tile = program.stages[number], products[number].tile
    dtype, itemsize, last = tile.dtype, tile.dtype.itemsize, number == len(products) - 1
    behind = 0 if last else number + 1
    block = make_block(products, behind)
    operand = _make_operand(program, program.stages[behind], itemsize)
    columns, first_column = program.columns, stage.column
    evaluate, load, store = make_backward(dtype, stage), make_load(dtype), make_store(dtype)
    clear = _make_clear(dtype, stage.columns)
    enter, leave = _make_moves(dtype, program.states)

    @device
    def finish(run: Any, ends: Any, n: int, position: int, unit: int, row_here: int, unit_here: int) -> None:
        t = _time(run, n)
        slot = run.batch * run.padded * itemsize
        row = row_at(run, position)
        place = (row * run.padded + unit) * itemsize
        pre = run.pre + (((t * run.batch + row) * columns + first_column) * run.padded + unit) * itemsize
        if unit >= run.hidden:
            if n < run.steps:
                # Read as part of a vector, and multiplied with weights that are 0.
                clear(pre, run.padded * itemsize)
            return
        end = (row * run.hidden + unit) * itemsize
        if last and n == 0:
            enter(ends, end, run.grad + place, slot)
        grad = load(run.grad + place)
        if not last or n > 0:
            grad += block.sums(run, row_here, unit_here)[0]
        if last and n == run.steps:
            leave(ends, end, run.grad + place, slot, grad)
        elif run.first + t < length_at(run, position):
            if last and run.grad_output != 0:
                of_output = run.grad_output + t * run.grad_output_step + row * run.grad_output_row
                grad += load(of_output + unit * itemsize)
            later = run.states + (t + 1) * slot + place
            earlier = later - slot
            evaluate(
                grad, run.grad + place, slot, run.kept + t * slot + place, run.steps * slot,
                later if run.reverse else earlier, earlier if run.reverse else later, (run.steps + 1) * slot,
                pre, run.padded * itemsize,
            )  # fmt: skip
        else:
            store(run.grad + place, grad)
            clear(pre, run.padded * itemsize)

    @device
    def prepare(run: Any, n: int, row_slice: int, unit_slice: int) -> None:
        if not last or n > 0:
            there = operand(run, _time(run, n - 1 if last else n))
            block.product(run, row_slice, unit_slice, there, columns * run.padded * itemsize, n == last)

    visit = make_visit(tile, prepare, finish)

    @device
    def step(run: Any, ends: Any, n: int, arrivals: int) -> Any:
        visit(run, ends, n)
        return meet_group(run, arrivals)

    return step


@device
def _time(run: Any, n: int) -> Any:
    """When step n is: steps run backward in time, in the reverse direction forward."""
    return n if run.reverse else run.steps - 1 - n


def _make_clear(dtype: np.dtype[Any], count: int) -> Any:
    def body(b: Any, address: Any, distance: Any) -> None:
        for index in range(count):
            place = global_pointer(b, b.add(address, b.mul(distance, I64(index))), ELEMENTS[dtype])
            b.store(ELEMENTS[dtype](0.0), place)

    return emitted("clear", (types.int64, types.int64), None, body)


class _Moves(NamedTuple):
    enter: Any  # enter(ends, offset, grad, distance): bring the cotangents of the final state
    leave: Any  # leave(ends, offset, grad, distance, first): write those of the initial state, given the first


def _make_moves(dtype: np.dtype[Any], states: int) -> _Moves:
    element = ELEMENTS[dtype]

    def write_in(b: Any, ends: list[Any], offset: Any, grad: Any, distance: Any) -> None:
        for index, end in enumerate(ends):
            value = b.load(global_pointer(b, b.add(end, offset), element))
            b.store(value, global_pointer(b, b.add(grad, b.mul(distance, I64(index))), element))

    def write_out(b: Any, ends: list[Any], offset: Any, grad: Any, distance: Any, first: Any) -> None:
        b.store(first, global_pointer(b, b.add(ends[0], offset), element))
        for index, end in enumerate(ends[1:], 1):
            value = b.load(global_pointer(b, b.add(grad, b.mul(distance, I64(index))), element))
            b.store(value, global_pointer(b, b.add(end, offset), element))

    arguments = (types.UniTuple(types.int64, states), *[types.int64] * 3)
    enter = emitted("enter", arguments, None, write_in)
    leave = emitted("leave", (*arguments, real_type(dtype)), None, write_out)
    return _Moves(enter, leave)
