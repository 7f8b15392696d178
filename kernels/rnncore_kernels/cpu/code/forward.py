"""The forward pass: all steps of a run in one call, for inference and for training.

Each thread computes some rows and some groups of hidden units at every step. Threads that share rows meet after each
stage, since the next product needs all units; threads that do not never wait for each other.

Every second step goes through the groups backwards. Where weights are larger than the cache, what a step read last is
still there when the next one begins; in the same order again, each part would be gone just before it is needed.
"""

from __future__ import annotations

from typing import Any

from ..fields.run import (
    BARRIERS,
    BATCH,
    BIAS,
    BLOCK_ROWS,
    BLOCKS,
    CARRIES,
    CARRY_VALUE,
    HIDDEN,
    INPUT,
    KEPT,
    KEPT_ROW,
    LAST,
    LAST_ROW,
    OPERAND_VALUE,
    OPERANDS,
    ORDER,
    OUT,
    OUT_ROW,
    OUT_STEP,
    PAIR,
    PROJECTED,
    PROJECTED_ROW,
    PROJECTED_ROWS,
    PROJECTED_SIZE,
    REVERSE,
    ROW_THREADS,
    SCRATCH,
    SCRATCH_ROWS,
    SCRATCH_SIZE,
    SIZES,
    STAGE_TABLE,
    STAGES,
    STATE_ARRAYS,
    STATE_VALUE,
    STATES,
    STEPS,
    TURN,
    UNIT_THREADS,
    UNITS,
    W_H,
    W_X,
    X_ROW,
    X_STEP,
    X,
)
from ..fields.stage import CARRY_IN, CARRY_OUT, COLUMN, COLUMNS, GATES, GATES_BEFORE, SPLIT, STAGE_BYTES
from ..fields.stage import FORWARD as CELL
from ..shape import Shape
from .cellcode import FORWARD as CELL_ARGUMENTS
from .emitted import compiled, make_caller
from .memory import meet, word
from .multiply import make_multiply
from .rows import (
    active,
    clear_output,
    enter,
    fill_table,
    fill_table_placed,
    groups_together,
    leave,
    part_start,
    share,
    unit_offset,
)


def make_most_per_group(shape: Shape) -> Any:
    """`most_per_group(gates)`: most unit vectors that share a tile, as many as fill its columns."""
    most = shape.columns

    @compiled("most_per_group")
    def most_per_group(gates: int) -> int:
        return most if gates == 1 else max(1, most // gates)

    return most_per_group


def make_forward(shape: Shape) -> None:
    """Define the kernel `forward(args, thread)`; args is the address of the words named in `fields.run`."""
    multiply = make_multiply(shape)
    project = _make_projection(shape, multiply)
    compute = _make_stage(shape, multiply)
    vector, item, most_per_group = shape.vector_bytes, shape.itemsize, make_most_per_group(shape)

    @compiled("bring")
    def bring(args: int, block: int, first: int, last: int, i: int, u0: int, u1: int) -> None:
        """Initial states of the thread's rows from first to last, into the states before a step."""
        enter(
            block, word(args, UNITS) * vector, word(args, STATE_VALUE), word(args, STATE_ARRAYS), word(args, STATES),
            first, last, i, word(args, ROW_THREADS), word(args, ORDER), word(args, HIDDEN), u0, u1, vector, item,
        )  # fmt: skip

    @compiled("take")
    def take(
        args: int, values: int, target: int, target_row: int, first: int, last: int, i: int, u0: int, u1: int
    ) -> None:
        """The thread's rows from first to last of a state after a step."""
        leave(
            values, word(args, UNITS) * vector, target, target_row, first, last, i, word(args, ROW_THREADS),
            word(args, ORDER), word(args, HIDDEN), u0, u1, vector, item,
        )  # fmt: skip

    @compiled("forward")
    def forward(args: int, thread: int) -> None:
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
        projected_row, stages = word(args, PROJECTED_ROW), word(args, STAGES)
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
            after = blocks + ((s + 1) & 1) * batch * row_bytes if pair else before + max(before_n, n) * row_bytes
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
                        out_rows if out != 0 else 0, scratch, (s + word(args, TURN)) & 1)  # fmt: skip
                if number < stages - 1:
                    arrivals = meet(barrier, arrivals, unit_threads)
            row_index += 0 if pair else n

            following = 0
            if s + 1 < steps:
                following = active(sizes, batch, t - 1 if reverse else t + 1)
            stay = share(following, i, threads)
            for value in range(word(args, STATES)):
                state, values = word(word(args, STATE_ARRAYS), value), after + value * word(args, STATE_VALUE)
                take(args, values, state, hidden * item, stay, mine, i, u0, u1)
            if word(args, LAST) != 0:
                first, last = (share(before_n, i, threads), mine) if reverse else (stay, mine)
                take(args, after, word(args, LAST), word(args, LAST_ROW), first, last, i, u0, u1)
            bring(args, after, mine, stay, i, u0, u1)
            arrivals = meet(barrier, arrivals, unit_threads)
            before, before_n, n = after, n, following


def _make_projection(shape: Shape, multiply: Any) -> Any:
    """`project(...)`: the thread's columns of W_ih x + bias of a stage, for n rows."""
    vector, most_per_group = shape.vector_bytes, make_most_per_group(shape)

    @compiled("project")
    def project(args: int, stage: int, x_rows: int, n: int, projected: int, projected_row: int, j: int) -> None:
        units, width, unit_threads = word(args, UNITS), word(args, INPUT), word(args, UNIT_THREADS)
        gates, split = word(stage, GATES), word(stage, SPLIT)
        columns, column = word(stage, COLUMNS), word(stage, COLUMN)
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
    def compute(
        args: int, number: int, i: int, j: int, n: int, row_index: int, x_rows: int, projected: int,
        projected_row: int, before: int, after: int, operand_rows: int, out_rows: int, scratch: int,
        down: int,
    ) -> None:  # fmt: skip
        stage = word(args, STAGE_TABLE) + number * STAGE_BYTES
        gates, split = word(stage, GATES), word(stage, SPLIT)
        columns, column = word(stage, COLUMNS), word(stage, COLUMN)
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
        first_group, last_group = part_start(groups, j, unit_threads), part_start(groups, j + 1, unit_threads)
        while first_group < last_group:
            together = groups_together(first_group, last_group, groups, more, n, down)
            group = last_group - together if down != 0 else first_group
            u, wide = group * base + min(group, more), base + (1 if group < more else 0)
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
            if down != 0:
                last_group -= together
            else:
                first_group += together

    return compute
