"""What a thread computes of a step: the input projection, and a stage of the cell for its rows and pieces of units."""

from __future__ import annotations

from typing import Any

from ..fields.bf16x3 import ROWS
from ..fields.run import (
    BF16_BLOCK_ROWS,
    BIAS,
    BLOCK_ROWS,
    CARRIES,
    CARRY_VALUE,
    HIDDEN,
    INPUT,
    KEPT,
    KEPT_ROW,
    OPERAND_VALUE,
    OPERANDS,
    PROJECTED_ROWS,
    ROW_THREADS,
    STAGE_TABLE,
    STAGES,
    STATE_VALUE,
    UNITS,
    W_H,
    W_H_BF16,
    W_X,
    W_X_BF16,
)
from ..fields.stage import CARRY_IN, CARRY_OUT, COLUMN, COLUMNS, GATES, GATES_BEFORE, SPLIT, STAGE_BYTES
from ..fields.stage import FORWARD as CELL
from ..shape import Shape
from .balance import bound, pieces
from .bf16x3 import column_bytes
from .cellcode import FORWARD as CELL_ARGUMENTS
from .emitted import compiled, make_caller
from .memory import word
from .multiply import make_multiply
from .rows import fill_table, groups_together, make_most_per_group, part_start, unit_offset
from .tile_registers import TileRegisters


def make_projection(shape: Shape, tile_registers: TileRegisters) -> Any:
    """`project(...)`: the thread's pieces of W_ih x + bias of a stage, for n rows.

    In `projected` the columns of a group stand together: PROJECTED_ROWS rows of those of the first, then of the second.
    Pieces are groups of units, or with `uneven` some of the rows of one. With `bf16` x's rows are there in three parts.
    """
    vector, most_per_group = shape.vector_bytes, make_most_per_group(shape)
    multiply, multiply_bf16 = make_multiply(shape), tile_registers.multiply

    @compiled("project")
    def project(
        args: int, stage: int, x_rows: int, n: int, projected: int, low: int, high: int, uneven: int, bf16: int
    ) -> None:
        units, width = word(args, UNITS), word(args, INPUT)
        gates, split = word(stage, GATES), word(stage, SPLIT)
        columns, column = word(stage, COLUMNS), word(stage, COLUMN)
        most_units = most_per_group(gates)
        groups = (units + most_units - 1) // most_units
        w, w_column = word(args, W_X), vector * width
        if bf16 != 0:
            w, w_column = word(args, W_X_BF16), column_bytes(width)
        w += word(stage, GATES_BEFORE) * units * w_column
        per_group = pieces(n, uneven)
        piece, last = bound(groups * per_group, low), bound(groups * per_group, high)
        while piece < last:
            group, skipped = piece // per_group, piece % per_group
            count = min(per_group - skipped, last - piece)
            piece += count
            first_row = part_start(n, skipped, per_group)
            m = part_start(n, skipped + count, per_group) - first_row
            u = unit_offset(group, groups, units)
            wide = unit_offset(group + 1, groups, units) - u
            place, row = (column * units + u * columns) * vector, columns * wide * vector
            start, c = word(args, BIAS) + place, projected + place * word(args, PROJECTED_ROWS) + first_row * row
            at = w + u * gates * w_column
            if bf16 != 0:
                multiply_bf16(gates * wide, bf16, m, width, at, start, 0, c, row)
            else:
                multiply(gates * wide, x_rows + 8 * first_row, m, width, at, start, 0, c, row, 1, 0, 0, 0)
            if split > 0:
                behind = gates * wide * vector
                multiply(split * wide, x_rows, m, 0, 0, start + behind, 0, c + behind, row, 1, 0, 0, 0)

    return project


def make_stage(shape: Shape, tile_registers: TileRegisters) -> Any:
    """`compute(...)`: one stage of one step, for the thread's pieces as in `make_projection`.

    `projected` is what `project` made, the step's rows from `projected_row` on, or 0. With `bf16`, room for
    operands in three parts, the product is computed on tile registers.
    """
    vector, lanes, most_per_group = shape.vector_bytes, shape.lanes, make_most_per_group(shape)
    multiply, multiply_bf16, to_bf16 = make_multiply(shape), tile_registers.multiply, tile_registers.bf16_rows
    cell = make_caller(CELL_ARGUMENTS)

    @compiled("compute")
    def compute(
        args: int, number: int, i: int, low: int, high: int, n: int, row_index: int, x_rows: int, projected: int,
        projected_row: int, before: int, after: int, operand_rows: int, out_rows: int, scratch: int,
        down: int, uneven: int, bf16: int,
    ) -> None:  # fmt: skip
        stage = word(args, STAGE_TABLE) + number * STAGE_BYTES
        gates, split = word(stage, GATES), word(stage, SPLIT)
        columns, column = word(stage, COLUMNS), word(stage, COLUMN)
        units, hidden, width = word(args, UNITS), word(args, HIDDEN), word(args, INPUT)
        threads = word(args, ROW_THREADS)
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
        w_h, w_column, most_rows = word(args, W_H), vector * hidden, BLOCK_ROWS
        if bf16 != 0:
            w_h, w_column, most_rows = word(args, W_H_BF16), column_bytes(hidden), BF16_BLOCK_ROWS
            to_bf16(operand_rows, n, hidden, bf16)
        w_h += word(stage, GATES_BEFORE) * units * w_column
        bias = word(args, BIAS) + column * units * vector
        per_group = pieces(n, uneven)
        piece, last = bound(groups * per_group, low), bound(groups * per_group, high)
        while piece < last:
            together, group, skipped = 1, piece // per_group, piece % per_group
            count = min(per_group - skipped, last - piece)
            if down != 0:
                group = (last - 1) // per_group
                count = last - max(piece, group * per_group)
                skipped = last - count - group * per_group
            if count == per_group and bf16 == 0:
                whole, whole_end = (piece + per_group - 1) // per_group, last // per_group
                together = groups_together(whole, whole_end, groups, more, n, down)
                if down != 0:
                    group += 1 - together
            u, wide = group * base + min(group, more), base + (1 if group < more else 0)
            group_bytes = columns * wide * vector
            pre_row = together * group_bytes
            behind = split * wide * vector
            w = w_h + u * gates * w_column
            r, end = part_start(n, skipped, per_group), part_start(n, skipped + count, per_group)
            while r < end:
                m = min(most_rows, end - r)
                of_x, of_x_row, of_x_group = scratch, pre_row, group_bytes
                if projected == 0:
                    start = bias + u * columns * vector
                    multiply(gates * wide, x_rows + 8 * r, m, width, w_x + u * gates * vector * width, start, 0,
                             scratch, pre_row, together, gates * wide * vector * width, group_bytes,
                             group_bytes)  # fmt: skip
                    if split > 0:
                        first = gates * wide * vector
                        multiply(split * wide, x_rows, m, 0, 0, start + first, 0, scratch + first, pre_row,
                                 together, 0, group_bytes, group_bytes)  # fmt: skip
                else:
                    of_x = projected + (column * units + u * columns) * vector * word(args, PROJECTED_ROWS)
                    of_x += (projected_row + r) * group_bytes
                    of_x_row, of_x_group = group_bytes, group_bytes * word(args, PROJECTED_ROWS)
                if bf16 != 0:
                    multiply_bf16(gates * wide, bf16 + r * (w_column // ROWS), m, hidden, w, of_x + behind,
                                  of_x_row, scratch + behind, pre_row)  # fmt: skip
                else:
                    multiply(gates * wide, operand_rows + 8 * r, m, hidden, w, of_x + behind, of_x_row,
                             scratch + behind, pre_row, together, gates * wide * w_column, of_x_group,
                             group_bytes)  # fmt: skip
                unit, inside, x_inside = u, 0, 0
                for _ in range(together):
                    for k in range(wide):
                        at = r * row + unit * vector
                        cell(address, m, of_x + x_inside + k * vector, of_x_row, scratch + inside + k * vector, pre_row,
                             wide * vector, operand + at, rest + at, rest_value, following + at, following_rest + at,
                             following_value, row, kept + r * threads * kept_row + unit * vector, threads * kept_row,
                             unit_row, out_rows + 8 * r if out_rows != 0 else 0, unit * vector,
                             hidden - unit * lanes)  # fmt: skip
                        unit += 1
                    inside += group_bytes
                    x_inside += of_x_group
                r += m
            if down != 0:
                last -= together * count
            else:
                piece += together * count

    return compute
