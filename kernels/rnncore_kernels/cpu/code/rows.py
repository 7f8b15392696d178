"""Which rows a thread computes at a step, and where they are.

Rows are numbered in the order of `order`, so those of a step come first. Thread i of k has the rows i, i+k, i+2k, ...:
its share is even however long the rows are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..arguments import RunArguments, StepArguments
from ..shape import Shape
from .calls import input_at, state_at, value_at
from .emitted import compiled
from .groups import unit_start
from .memory import clear, copy, set_word, word


@compiled("active")
def active(sizes: int, batch: int, t: int) -> int:
    """Number of rows that have step t."""
    return word(sizes, t) if sizes != 0 else batch


@compiled("share")
def share(n: int, thread: int, threads: int) -> int:
    """How many of the first n rows are the thread's."""
    if threads == 1:
        return n
    return (n - thread + threads - 1) // threads if n > thread else 0


@compiled("place")
def place(order: int, row: int) -> int:
    """Index in the caller's arrays of a row."""
    return word(order, row) if order != 0 else row


@compiled("fill_table")
def fill_table(table: int, n: int, base: int, distance: int) -> None:
    """Addresses of n rows at a constant distance."""
    for i in range(n):
        set_word(table, i, base + i * distance)


@compiled("fill_table_placed")
def fill_table_placed(table: int, n: int, base: int, distance: int, order: int, thread: int, threads: int) -> None:
    """Addresses of n of the thread's rows in an array of the caller's."""
    for i in range(n):
        set_word(table, i, base + place(order, thread + i * threads) * distance)


class States(NamedTuple):
    """Copies between the caller's arrays of states and the rows in which a pass has them, or their cotangents.

    Attributes:
        enter: `enter(run, step, memory, row, parity, first, last)`: the thread's units of its rows from first to last,
            to the values of the states in `memory`, whose row 0 is `row` there; zeros behind the units.
        leave: `leave(run, step, memory, row, parity, first, last)`: the inverse, without the zeros.
        leave_one: `leave_one(run, step, number, memory, row, parity, target, target_row, first, last)`: one state, to
            another array.
        clear: `clear_state(run, step, number, memory, row, parity, n)`: zeros in n rows of one state.
        clear_output: `clear_output(run, step, out, out_row, first, last)`: zeros in an array of the first state.
    """

    enter: Any
    leave: Any
    leave_one: Any
    clear: Any
    clear_output: Any


def make_states(shape: Shape) -> States:
    """Those of a shape."""
    vector, item = shape.vector_bytes, shape.itemsize

    @compiled("copy_units")
    def copy_units(target: int, source: int, first: int, last: int, width: int) -> None:
        """Copy the unit vectors from first to last of a row of `width` elements, as far as they go."""
        start = first * vector
        count = min(last * vector, width * item) - start
        if count > 0:
            copy(target + start, source + start, count)

    @compiled("enter")
    def enter(
        run: RunArguments, step: StepArguments, memory: int, row: int, parity: int, first: int, last: int
    ) -> None:
        if first >= last:
            return
        for number in range(run.states):
            state = state_at(run.state_table, number)
            value = value_at(run.values, state.value)
            u0 = unit_start(state.units, state.groups, step.unit_thread, run.unit_threads)
            u1 = unit_start(state.units, state.groups, step.unit_thread + 1, run.unit_threads)
            array, base = word(run.state_arrays, number), memory + value.offset + value.turn * parity
            for q in range(first, last):
                there = step.thread + q * run.row_threads
                to = base + (row + there) * value.row
                clear(to + u0 * vector, (u1 - u0) * vector)
                copy_units(to, array + place(run.order, there) * state.width * item, u0, u1, state.width)

    @compiled("leave_one")
    def leave_one(
        run: RunArguments, step: StepArguments, number: int, memory: int, row: int, parity: int, target: int,
        target_row: int, first: int, last: int,
    ) -> None:  # fmt: skip
        state = state_at(run.state_table, number)
        value = value_at(run.values, state.value)
        u0 = unit_start(state.units, state.groups, step.unit_thread, run.unit_threads)
        u1 = unit_start(state.units, state.groups, step.unit_thread + 1, run.unit_threads)
        base = memory + value.offset + value.turn * parity
        for q in range(first, last):
            there = step.thread + q * run.row_threads
            to = target + place(run.order, there) * target_row
            copy_units(to, base + (row + there) * value.row, u0, u1, state.width)

    @compiled("leave")
    def leave(
        run: RunArguments, step: StepArguments, memory: int, row: int, parity: int, first: int, last: int
    ) -> None:
        if first >= last:
            return
        for number in range(run.states):
            row_bytes = state_at(run.state_table, number).width * item
            array = word(run.state_arrays, number)
            leave_one(run, step, number, memory, row, parity, array, row_bytes, first, last)

    @compiled("clear_state")
    def clear_state(
        run: RunArguments, step: StepArguments, number: int, memory: int, row: int, parity: int, n: int
    ) -> None:
        state = state_at(run.state_table, number)
        value = value_at(run.values, state.value)
        u0 = unit_start(state.units, state.groups, step.unit_thread, run.unit_threads)
        u1 = unit_start(state.units, state.groups, step.unit_thread + 1, run.unit_threads)
        base = memory + value.offset + value.turn * parity
        for q in range(n):
            clear(base + (row + step.thread + q * run.row_threads) * value.row + u0 * vector, (u1 - u0) * vector)

    @compiled("clear_output")
    def clear_output(run: RunArguments, step: StepArguments, out: int, out_row: int, first: int, last: int) -> None:
        state = state_at(run.state_table, 0)
        start = unit_start(state.units, state.groups, step.unit_thread, run.unit_threads) * vector
        end = unit_start(state.units, state.groups, step.unit_thread + 1, run.unit_threads) * vector
        count = min(end, state.width * item) - start
        if count > 0:
            for q in range(first, last):
                clear(out + place(run.order, step.thread + q * run.row_threads) * out_row + start, count)

    return States(enter, leave, leave_one, clear_state, clear_output)


@compiled("fill_input_tables")
def fill_input_tables(
    tables: int, table_bytes: int, n: int, inputs: int, count: int, t: int, order: int, thread: int, threads: int
) -> None:
    """Addresses of n of the thread's rows at step t in each input beside x, one table after the other."""
    for number in range(count):
        values = input_at(inputs, number)
        base = values.base + t * values.step
        fill_table_placed(tables + number * table_bytes, n, base, values.row, order, thread, threads)
