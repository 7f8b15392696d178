"""The forward pass: all steps of a run in one call, for inference and for training.

Each thread computes some rows and some groups of hidden units at every step. Threads that share rows meet after each
stage, since the next product needs all units; threads that do not never wait for each other.
"""

from __future__ import annotations

from typing import Any

from ..fields import BLOCK_ROWS, FORWARD, RUN, STAGE, places
from ..shape import Shape
from .cellcode import FORWARD as CELL_ARGUMENTS
from .emitted import compiled, make_caller
from .memory import meet, word
from .rows import (
    active,
    clear_output,
    copy_units,
    enter,
    fill_table,
    fill_table_placed,
    part_start,
    place,
    share,
    unit_offset,
)
from .tiles import make_multiply

F, S = places(RUN + FORWARD), places(STAGE)
STEPS, BATCH, HIDDEN, INPUT, UNITS, REVERSE = (F[n] for n in ["steps", "batch", "hidden", "input", "units", "reverse"])
ROW_THREADS, UNIT_THREADS, BARRIERS, ORDER, SIZES = (
    F[n] for n in ["row_threads", "unit_threads", "barriers", "order", "sizes"]
)
X, X_STEP, X_ROW, OUT, OUT_STEP, OUT_ROW = (F[n] for n in ["x", "x_step", "x_row", "out", "out_step", "out_row"])
STATE_ARRAYS, LAST, LAST_ROW, W_X, W_H, BIAS = (
    F[n] for n in ["state_arrays", "last", "last_row", "w_x", "w_h", "bias"]
)
STAGES, STAGE_TABLE, STATES, COLUMNS_ALL, KEPT_ROW = (
    F[n] for n in ["stages", "stage_table", "states", "columns", "kept_row"]
)
BLOCKS, STATE_VALUE, PAIR, KEPT = (F[n] for n in ["blocks", "state_value", "pair", "kept"])
OPERANDS, OPERAND_VALUE, CARRIES, CARRY_VALUE = (F[n] for n in ["operands", "operand_value", "carries", "carry_value"])
PROJECTED, PROJECTED_ROWS, PROJECTED_SIZE = (F[n] for n in ["projected", "projected_rows", "projected_size"])
SCRATCH, SCRATCH_SIZE, SCRATCH_ROWS = (F[n] for n in ["scratch", "scratch_size", "scratch_rows"])
GATES, SPLIT, COLUMNS, COLUMN, GATES_BEFORE = (S[n] for n in ["gates", "split", "columns", "column", "gates_before"])
CARRY_IN, CARRY_OUT, CELL = (S[n] for n in ["carry_in", "carry_out", "forward"])
STAGE_BYTES = 8 * len(STAGE)

FEW_ROWS = 7
"""Rows that leave registers of a tile unused, so that several groups of units are computed at once."""


def make_most_per_group(shape: Shape) -> Any:
    """`most_per_group(gates)`: most unit vectors that share a tile, as many as fill its columns."""
    most = shape.columns

    @compiled("most_per_group")
    def most_per_group(gates: int) -> int:
        return most if gates == 1 else max(1, most // gates)

    return most_per_group


def make_forward(shape: Shape) -> None:
    """Define the kernel `forward(args, thread)`; args is the address of the words named in `fields`."""
    multiply = make_multiply(shape)
    project = _make_projection(shape, multiply)
    compute = _make_stage(shape, multiply)
    vector, item, most_per_group = shape.vector_bytes, shape.itemsize, make_most_per_group(shape)

    @compiled("bring")
    def bring(args, block, first, last, i, u0, u1):  # type: ignore[no-untyped-def]
        """Initial states of the thread's rows from first to last, into the states before a step."""
        enter(
            block, word(args, UNITS) * vector, word(args, STATE_VALUE), word(args, STATE_ARRAYS), word(args, STATES), first, last, i,
            word(args, ROW_THREADS), word(args, ORDER), word(args, HIDDEN), u0, u1, vector, item,
        )  # fmt: skip

    @compiled("take")
    def take(args, block, target, target_row, value, first, last, i, u0, u1):  # type: ignore[no-untyped-def]
        """Values of the thread's rows from first to last, out of the states after a step."""
        for q in range(first, last):
            row = i + q * word(args, ROW_THREADS)
            source = block + row * word(args, UNITS) * vector + value * word(args, STATE_VALUE)
            to = target + place(word(args, ORDER), row) * target_row
            copy_units(to, source, u0, u1, word(args, HIDDEN), vector, item)

    @compiled("forward")
    def forward(args, thread):  # type: ignore[no-untyped-def]
        steps, batch, units, hidden = word(args, STEPS), word(args, BATCH), word(args, UNITS), word(args, HIDDEN)
        threads, unit_threads = word(args, ROW_THREADS), word(args, UNIT_THREADS)
        i, j = thread % threads, thread // threads
        order, sizes, reverse = word(args, ORDER), word(args, SIZES), word(args, REVERSE)
        x, x_step, x_row = word(args, X), word(args, X_STEP), word(args, X_ROW)
        out, out_step, out_row = word(args, OUT), word(args, OUT_STEP), word(args, OUT_ROW)
        pair, row_bytes = word(args, PAIR), units * vector
        barrier, arrivals = word(args, BARRIERS) + 64 * i, 0
        tables = word(args, SCRATCH) + thread * word(args, SCRATCH_SIZE)
        table_bytes = 8 * word(args, SCRATCH_ROWS)
        operand_rows, x_rows, out_rows = tables, tables + table_bytes, tables + 2 * table_bytes
        scratch = tables + 3 * table_bytes
        separate = word(args, PROJECTED) != 0
        projected = word(args, PROJECTED) + i * word(args, PROJECTED_SIZE)
        projected_row = row_bytes * word(args, COLUMNS_ALL)
        stages = word(args, STAGES)
        most_units = most_per_group(word(word(args, STAGE_TABLE) + (stages - 1) * STAGE_BYTES, GATES))
        groups = (units + most_units - 1) // most_units
        u0 = unit_offset(part_start(groups, j, unit_threads), groups, units)
        u1 = unit_offset(part_start(groups, j + 1, unit_threads), groups, units)

        blocks = word(args, BLOCKS)
        before, n, before_n = blocks, 0, 0
        if steps > 0:
            n = active(sizes, batch, steps - 1 if reverse else 0)
            bring(args, before, 0, share(n, i, threads), i, u0, u1)
            arrivals = meet(barrier, arrivals, unit_threads)
        projected_steps, projected_taken, row_index = 0, 0, 0
        for s in range(steps):
            t = steps - 1 - s if reverse else s
            mine = share(n, i, threads)
            if pair:
                after = blocks + ((s + 1) & 1) * batch * row_bytes
            else:
                after = before + max(before_n, n) * row_bytes
            pre = 0
            if separate:
                if s == projected_steps:
                    # The input projection of as many steps as there is room for.
                    count, projected_taken = 0, 0
                    while projected_steps < steps:
                        t_there = steps - 1 - projected_steps if reverse else projected_steps
                        there = share(active(sizes, batch, t_there), i, threads)
                        if count > 0 and count + there > word(args, PROJECTED_ROWS):
                            break
                        table = x_rows + 8 * count
                        fill_table_placed(table, there, x + t_there * x_step, x_row, order, i, threads)
                        count += there
                        projected_steps += 1
                    for number in range(stages):
                        stage = word(args, STAGE_TABLE) + number * STAGE_BYTES
                        project(args, stage, x_rows, count, projected, projected_row, j)
                pre = projected + projected_taken * projected_row
                projected_taken += mine
            else:
                fill_table_placed(x_rows, mine, x + t * x_step, x_row, order, i, threads)
            if out != 0:
                fill_table_placed(out_rows, mine, out + t * out_step, out_row, order, i, threads)
                clear_output(out + t * out_step, out_row, mine, share(batch, i, threads), order, i, threads,
                             u0, u1, hidden, vector, item)  # fmt: skip
            for number in range(stages):
                compute(args, number, i, j, mine, row_index, x_rows, pre, projected_row, before, after, operand_rows,
                        out_rows if out != 0 else 0, scratch)  # fmt: skip
                if number < stages - 1:
                    arrivals = meet(barrier, arrivals, unit_threads)
            row_index += 0 if pair else n

            following = 0
            if s + 1 < steps:
                following = active(sizes, batch, t - 1 if reverse else t + 1)
            stay = share(following, i, threads)
            for value in range(word(args, STATES)):
                take(args, after, word(word(args, STATE_ARRAYS), value), hidden * item, value, stay, mine, i, u0, u1)
            if word(args, LAST) != 0:
                first, last = (share(before_n, i, threads), mine) if reverse else (stay, mine)
                take(args, after, word(args, LAST), word(args, LAST_ROW), 0, first, last, i, u0, u1)
            bring(args, after, mine, stay, i, u0, u1)
            arrivals = meet(barrier, arrivals, unit_threads)
            before, before_n, n = after, n, following

    return forward


def _make_projection(shape: Shape, multiply: Any) -> Any:
    """`project(...)`: the thread's columns of W_ih x + bias of a stage, for n rows."""
    vector, most_per_group = shape.vector_bytes, make_most_per_group(shape)

    @compiled("project")
    def project(args, stage, x_rows, n, projected, projected_row, j):  # type: ignore[no-untyped-def]
        units, width, unit_threads = word(args, UNITS), word(args, INPUT), word(args, UNIT_THREADS)
        gates, split, columns, column = (
            word(stage, GATES),
            word(stage, SPLIT),
            word(stage, COLUMNS),
            word(stage, COLUMN),
        )
        most_units = most_per_group(gates)
        groups = (units + most_units - 1) // most_units
        w = word(args, W_X) + word(stage, GATES_BEFORE) * units * vector * width
        for group in range(groups * j // unit_threads, groups * (j + 1) // unit_threads):
            u = unit_offset(group, groups, units)
            wide = unit_offset(group + 1, groups, units) - u
            place = (column * units + u * columns) * vector
            start, c = word(args, BIAS) + place, projected + place
            multiply(gates * wide, x_rows, n, width, w + u * gates * vector * width, start, 0, c, projected_row,
                     1, 0, 0, 0)  # fmt: skip
            if split > 0:
                behind = gates * wide * vector
                multiply(split * wide, x_rows, n, 0, 0, start + behind, 0, c + behind, projected_row, 1, 0, 0, 0)

    return project


def _make_stage(shape: Shape, multiply: Any) -> Any:
    """`compute(...)`: one stage of one step, for the thread's rows and groups."""
    vector, lanes, most_per_group = shape.vector_bytes, shape.lanes, make_most_per_group(shape)
    cell = make_caller(CELL_ARGUMENTS)

    @compiled("compute")
    def compute(args, number, i, j, n, row_index, x_rows, projected, projected_row, before, after, operand_rows,
                out_rows, scratch):  # type: ignore[no-untyped-def]  # fmt: skip
        stage = word(args, STAGE_TABLE) + number * STAGE_BYTES
        gates, split, columns, column = (
            word(stage, GATES),
            word(stage, SPLIT),
            word(stage, COLUMNS),
            word(stage, COLUMN),
        )
        units, hidden, width = word(args, UNITS), word(args, HIDDEN), word(args, INPUT)
        threads, unit_threads = word(args, ROW_THREADS), word(args, UNIT_THREADS)
        unit_row = units * vector
        row = threads * unit_row
        state_value, carry_value = word(args, STATE_VALUE), word(args, CARRY_VALUE)
        operands = word(args, OPERANDS) + (row_index + i) * unit_row
        carries = word(args, CARRIES) + i * unit_row
        if number == 0:
            operand = before + i * unit_row
            rest, rest_value = operand + state_value, state_value
        else:
            operand = operands + (number - 1) * word(args, OPERAND_VALUE)
            rest, rest_value = carries + word(stage, CARRY_IN) * carry_value, carry_value
        if number == word(args, STAGES) - 1:
            following = after + i * unit_row
            following_rest, following_value = following + state_value, state_value
        else:
            following = operands + number * word(args, OPERAND_VALUE)
            following_rest, following_value = carries + word(stage, CARRY_OUT) * carry_value, carry_value
        fill_table(operand_rows, n, operand, row)
        address = word(stage, CELL)
        kept_row = word(args, KEPT_ROW)
        kept = word(args, KEPT) + (row_index + i) * kept_row

        most_units = most_per_group(gates)
        groups = (units + most_units - 1) // most_units if most_units > 1 else units
        base, more = 1, 0
        if groups < units:
            base, more = units // groups, units % groups
        w_x = word(args, W_X) + word(stage, GATES_BEFORE) * units * vector * width
        w_h = word(args, W_H) + word(stage, GATES_BEFORE) * units * vector * hidden
        bias = word(args, BIAS) + column * units * vector
        group, last_group = part_start(groups, j, unit_threads), part_start(groups, j + 1, unit_threads)
        u = group * base + min(group, more)
        while group < last_group:
            wide = base + (1 if group < more else 0)
            # With few rows, several groups of one size together keep the processor busy.
            together = 1
            if n <= FEW_ROWS:
                together = min(4, min(last_group, more if group < more else groups) - group)
            group_bytes = columns * wide * vector
            pre_row = together * group_bytes
            behind = split * wide * vector
            r = 0
            while r < n:
                m = min(BLOCK_ROWS, n - r)
                of_x, of_x_row = scratch, pre_row
                if projected == 0:
                    start = bias + u * columns * vector
                    multiply(gates * wide, x_rows + 8 * r, m, width, w_x + u * gates * vector * width, start, 0,
                             scratch, pre_row, together, gates * wide * vector * width, group_bytes,
                             group_bytes)  # fmt: skip
                    if split > 0:
                        first = gates * wide * vector
                        multiply(split * wide, x_rows, m, 0, 0, start + first, 0, scratch + first, pre_row, together,
                                 0, group_bytes, group_bytes)  # fmt: skip
                else:
                    of_x = projected + r * projected_row + (column * units + u * columns) * vector
                    of_x_row = projected_row
                multiply(gates * wide, operand_rows + 8 * r, m, hidden, w_h + u * gates * vector * hidden,
                         of_x + behind, of_x_row, scratch + behind, pre_row, together,
                         gates * wide * vector * hidden, group_bytes, group_bytes)  # fmt: skip
                unit, inside = u, 0
                for _ in range(together):
                    for k in range(wide):
                        at = r * row + unit * vector
                        cell(address, m, of_x + inside + k * vector, of_x_row, scratch + inside + k * vector, pre_row,
                             wide * vector, operand + at, rest + at, rest_value, following + at, following_rest + at,
                             following_value, row, kept + r * threads * kept_row + unit * vector, threads * kept_row,
                             unit_row, out_rows + 8 * r if out_rows != 0 else 0, unit * vector,
                             hidden - unit * lanes)  # fmt: skip
                        unit += 1
                    inside += group_bytes
                r += m
            group += together
            u += together * wide

    return compute
