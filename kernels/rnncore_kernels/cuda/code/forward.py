"""The kernel of the forward pass: a layer in one direction over a sequence, all steps in one launch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba.core import types

from ...codegen.program import Program
from ..tile import Tile
from .block import Product, chained, length_at, make_block, make_visit, meet_group, row_at
from .cellcode import make_forward
from .emitted import ELEMENTS, I64, device, emitted, global_pointer
from .memory import make_store


def make_forward_kernel(program: Program, tiles: tuple[Tile, ...]) -> Callable[..., None]:
    """The kernel `forward(run, ends)`, see `fields.FORWARD_FIELDS`; `ends` are the addresses of the states.

    They are (B, H) each, hold the initial states and are overwritten with the final ones.

    Args:
        program: the cell.
        tiles: of each stage; all have the same rows and units.
    """
    moves = _make_moves(tiles[0].dtype, program.states)
    enter = make_visit(tiles[0], _nothing, moves.enter)
    step = chained([_make_stage(program, tiles, number, moves) for number in range(len(tiles))])

    def forward(run: Any, ends: Any) -> None:
        enter(run, ends, 0)
        arrivals = meet_group(run, run.unit_groups)
        n = 0
        while n < run.steps:
            arrivals = step(run, ends, n, arrivals)
            n += 1

    return forward


@device
def _nothing(run: Any, n: int, row_slice: int, unit_slice: int) -> None:
    pass


@device
def _time(run: Any, n: int) -> Any:
    """When step n is, from the start of this launch."""
    return run.steps - 1 - n if run.reverse else n


def _products(tiles: Sequence[Tile]) -> tuple[Product, ...]:
    return tuple(Product(tile, 1) for tile in tiles)


def _make_stage(program: Program, tiles: Sequence[Tile], number: int, moves: _Moves) -> Any:
    """The device function (run, ends, n, arrivals) -> arrivals of a stage of step n."""
    stage, tile, dtype = program.stages[number], tiles[number], tiles[number].dtype
    itemsize, last = dtype.itemsize, number == len(program.stages) - 1
    first_gate = sum(len(s.gates) for s in program.stages[:number])
    gates, first_column = program.gates, stage.column
    evaluate, store = make_forward(dtype, stage), make_store(dtype)
    zero = dtype.type(0)
    leave, stay = moves.leave, moves.stay

    block = make_block(_products(tiles), number)

    @device
    def operand_of(run: Any, t: int, of: int) -> Any:
        """Address of the operand of a stage at time t; of the state after it, if there is no such stage."""
        slot = run.batch * run.padded * itemsize
        if 0 < of <= later:
            return run.operands + ((of - 1) * run.operand_slots + (t if run.operand_slots > 1 else 0)) * slot
        slot_number = t + (1 if (of == 0) == (run.reverse != 0) else 0)
        return run.states + (slot_number & 1 if run.slots == 2 else slot_number) * slot

    later = len(program.stages) - 1
    following = number + 1

    @device
    def finish(run: Any, ends: Any, n: int, position: int, unit: int, row_here: int, unit_here: int) -> None:
        t = _time(run, n)
        slot = run.batch * run.padded * itemsize
        row = row_at(run, position)
        place = (row * run.padded + unit) * itemsize
        length = length_at(run, position)
        operand, next_operand = operand_of(run, t, number) + place, operand_of(run, t, following) + place
        state_distance = run.slots * slot
        rest = (operand + state_distance) if number == 0 else run.rest + place
        next_rest = (next_operand + state_distance) if last else run.rest + place
        output = run.output + t * run.output_step + row * run.output_row + unit * itemsize
        if unit >= run.hidden:
            # Read as part of a vector, and multiplied with weights that are 0.
            store(next_operand, zero)
        elif run.first + t < length:
            h = evaluate(
                block.sums(run, row_here, unit_here),
                run.projection + (((t * run.batch + row) * gates + first_gate) * run.padded + unit) * itemsize,
                run.padded * itemsize,
                run.bias + (first_column * run.padded + unit) * itemsize, run.padded * itemsize,
                operand, rest, state_distance if number == 0 else slot,
                next_operand, next_rest, state_distance if last else slot,
                run.kept + t * slot + place, run.kept_steps * slot,
            )  # fmt: skip
            if last:
                if run.output != 0:
                    store(output, h)
                if run.last != 0 and run.first + t == length - 1:
                    store(run.last + row * run.last_row + unit * itemsize, h)
        elif last:
            stay(operand_of(run, t, 0) + place, next_operand, state_distance)
            if run.output != 0:
                store(output, zero)
        else:
            store(next_operand, zero)
        if last and n == run.steps - 1 and unit < run.hidden:
            leave(ends, (row * run.hidden + unit) * itemsize, next_operand, state_distance)

    @device
    def prepare(run: Any, n: int, row_slice: int, unit_slice: int) -> None:
        operand = operand_of(run, _time(run, n), number)
        block.product(run, row_slice, unit_slice, operand, run.padded * itemsize, n == 0)

    visit = make_visit(tile, prepare, finish)

    @device
    def step(run: Any, ends: Any, n: int, arrivals: int) -> Any:
        visit(run, ends, n)
        return meet_group(run, arrivals)

    return step


class _Moves(NamedTuple):
    enter: Any  # of `block.make_visit`: bring the initial state to where the first step reads it
    leave: Any  # leave(ends, offset, address, distance): write the final state
    stay: Any  # stay(before, after, distance): the states after a step are those before


def _make_moves(dtype: np.dtype[Any], states: int) -> _Moves:
    element, itemsize = ELEMENTS[dtype], dtype.itemsize

    def pointers(b: Any, address: Any, distance: Any) -> list[Any]:
        return [global_pointer(b, b.add(address, b.mul(distance, I64(i))), element) for i in range(states)]

    def copy(b: Any, given: list[Any], wanted: list[Any]) -> None:
        for source, destination in zip(given, wanted, strict=True):
            b.store(b.load(source), destination)

    def ends_at(b: Any, ends: list[Any], offset: Any) -> list[Any]:
        return [global_pointer(b, b.add(address, offset), element) for address in ends]

    def write_in(b: Any, ends: list[Any], offset: Any, address: Any, distance: Any) -> None:
        copy(b, ends_at(b, ends, offset), pointers(b, address, distance))

    def write_out(b: Any, ends: list[Any], offset: Any, address: Any, distance: Any) -> None:
        copy(b, pointers(b, address, distance), ends_at(b, ends, offset))

    def write_on(b: Any, before: Any, after: Any, distance: Any) -> None:
        copy(b, pointers(b, before, distance), pointers(b, after, distance))

    of_ends = types.UniTuple(types.int64, states)
    read, leave = (emitted("copy", (of_ends, *[types.int64] * 3), None, body) for body in (write_in, write_out))
    store, zero = make_store(dtype), dtype.type(0)

    @device
    def enter(run: Any, ends: Any, n: int, position: int, unit: int, row_here: int, unit_here: int) -> None:
        row, slot = row_at(run, position), run.batch * run.padded * itemsize
        t = run.steps if run.reverse else 0
        address = run.states + (t & 1 if run.slots == 2 else t) * slot + (row * run.padded + unit) * itemsize
        if unit < run.hidden:
            read(ends, (row * run.hidden + unit) * itemsize, address, run.slots * slot)
        else:
            store(address, zero)

    return _Moves(enter, leave, emitted("stay", (types.int64,) * 3, None, write_on))
