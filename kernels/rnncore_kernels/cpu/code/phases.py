"""A thread's part of a step of the forward pass: the input projection, and a phase."""

from __future__ import annotations

from typing import Any

from ..arguments import BEFORE, INDEX, ForwardArguments, PhaseArguments, StepArguments
from ..shape import Shape
from .calls import value_at
from .cellcode import CELL
from .emitted import compiled, make_caller
from .gemm import Gemm
from .groups import first_multiplied, groups_together, part_start, pieces, unit_offset
from .rows import fill_table
from .totals import make_sum_totals


def make_projection(shape: Shape, gemm: Gemm) -> Any:
    """`project(run, phase, step, rows, n)`: the thread's pieces of W_ih x + bias of a phase, for n prepared rows of x.

    At `step.projected` the columns of a group stand together: `run.projected_rows` rows of those of the first, then of
    the second. Pieces are groups of units, or where threads have unequal numbers of groups, some of the rows of one.
    """
    vector, multiply, rows_at, column_bytes = shape.vector_bytes, gemm.multiply, gemm.rows_at, gemm.column_bytes

    @compiled("project")
    def project(run: ForwardArguments, phase: PhaseArguments, step: StepArguments, rows: int, n: int) -> None:
        x_columns, columns, units = phase.x_columns, phase.columns, phase.units
        groups, depth = phase.groups, run.inputs
        h_only = columns - x_columns
        w_column = column_bytes(depth)
        per_group = pieces(n, step.uneven)
        piece = part_start(groups * per_group, step.unit_thread, run.unit_threads)
        last = part_start(groups * per_group, step.unit_thread + 1, run.unit_threads)
        while piece < last:
            group, skipped = piece // per_group, piece % per_group
            count = min(per_group - skipped, last - piece)
            piece += count
            first_row = part_start(n, skipped, per_group)
            m = part_start(n, skipped + count, per_group) - first_row
            u = unit_offset(group, groups, units)
            wide = unit_offset(group + 1, groups, units) - u
            row = columns * wide * vector
            start = run.packed + phase.bias + u * columns * vector
            c = step.projected + (phase.projected + u * columns * vector) * run.projected_rows + first_row * row
            w = run.weights + phase.w_x + u * x_columns * w_column
            multiply(x_columns * wide, rows_at(rows, first_row, depth), 0, m, depth, w, start, 0, c, row, 1, 0, 0, 0)
            if h_only > 0:
                behind = x_columns * wide * vector
                multiply(h_only * wide, rows, 0, m, 0, 0, start + behind, 0, c + behind, row, 1, 0, 0, 0)

    return project


def make_phase(shape: Shape, gemm: Gemm) -> Any:
    """`compute(run, phase, step)`: one phase of one step, for the thread's pieces as in `make_projection`.

    What x contributes is there from `step.projected_row` on, or is computed from the rows of `step.x_rows`.
    """
    vector, lanes, most_rows = shape.vector_bytes, shape.lanes, gemm.most_rows
    multiply, prepare, rows_at, column_bytes = gemm.multiply, gemm.prepare, gemm.rows_at, gemm.column_bytes
    together_most = 4 if gemm.together else 1
    cell, sum_totals = make_caller(CELL), make_sum_totals(shape)

    @compiled("compute")
    def compute(run: ForwardArguments, phase: PhaseArguments, step: StepArguments) -> None:
        n, uneven, descending = step.rows, step.uneven, step.descending
        units, columns, x_columns, h_columns = phase.units, phase.columns, phase.x_columns, phase.h_columns
        depth, inputs, split, groups = phase.depth, run.inputs, phase.split, phase.groups
        scratch, width = step.scratch, phase.width
        if phase.total_count > 0:
            sum_totals(run, step, phase.totals, phase.total_count)
        rows, x_rows, apart = 0, 0, step.projected
        if h_columns > 0:
            value = value_at(run.values, phase.operand)
            first = step.after
            if phase.operand_rows == BEFORE:
                first = step.before
            elif phase.operand_rows == INDEX:
                first = step.index
            base, row = run.history + value.offset + first * value.row, run.row_threads * value.row
            fill_table(step.operand_rows, n, base, row)
            rows = prepare(step.operand_rows, n, depth, step.prepared)
        if apart == 0 and x_columns > 0:
            x_rows = step.x_rows
        base, more = 1, 0
        if groups < units:
            base, more = units // groups, units % groups
        head, head_depth, span, origin = phase.head, phase.head_depth, phase.span, 0
        w_column, w_x_column = column_bytes(span), column_bytes(inputs)
        w_h, w_x, bias = run.weights + phase.w_h, run.weights + phase.w_x, run.packed + phase.bias
        per_group = pieces(n, uneven)
        piece = part_start(groups * per_group, step.unit_thread, run.unit_threads)
        last = part_start(groups * per_group, step.unit_thread + 1, run.unit_threads)
        while piece < last:
            together, group, skipped = 1, piece // per_group, piece % per_group
            count = min(per_group - skipped, last - piece)
            if descending != 0:
                group = (last - 1) // per_group
                count = last - max(piece, group * per_group)
                skipped = last - count - group * per_group
            if count == per_group and together_most > 1:
                whole, whole_end = (piece + per_group - 1) // per_group, last // per_group
                together = groups_together(whole, whole_end, groups, more, n, descending)
                if descending != 0:
                    group += 1 - together
            u, wide = group * base + min(group, more), base + (1 if group < more else 0)
            if span < depth:
                last_unit = u + (together - 1) * wide
                if u * lanes // head != last_unit * lanes // head:
                    # Groups of different heads are multiplied one at a time.
                    u, together = last_unit if descending != 0 else u, 1
                origin = first_multiplied(u * lanes, head, head_depth, depth, span)
            group_bytes = columns * wide * vector
            pre_row = together * group_bytes
            behind = split * wide * vector
            r, end = part_start(n, skipped, per_group), part_start(n, skipped + count, per_group)
            while r < end:
                m = min(most_rows, end - r)
                of_x, of_x_row, of_x_group = bias + u * columns * vector, 0, group_bytes
                if x_columns > 0:
                    if apart == 0:
                        x_group = x_columns * wide * w_x_column
                        multiply(x_columns * wide, x_rows + 8 * r, 0, m, inputs, w_x + u * x_columns * w_x_column,
                                 of_x, 0, scratch, pre_row, together, x_group, group_bytes, group_bytes)  # fmt: skip
                        if columns > x_columns:
                            h_only = x_columns * wide * vector
                            multiply((columns - x_columns) * wide, x_rows, 0, m, 0, 0, of_x + h_only, 0,
                                     scratch + h_only, pre_row, together, 0, group_bytes, group_bytes)  # fmt: skip
                        of_x, of_x_row = scratch, pre_row
                    else:
                        of_x = apart + (phase.projected + u * columns * vector) * run.projected_rows
                        of_x += (step.projected_row + r) * group_bytes
                        of_x_row, of_x_group = group_bytes, group_bytes * run.projected_rows
                if h_columns > 0:
                    multiply(h_columns * wide, rows_at(rows, r, depth), origin, m, span, w_h + u * h_columns * w_column,
                             of_x + behind, of_x_row, scratch + behind, pre_row, together, h_columns * wide * w_column,
                             of_x_group, group_bytes)  # fmt: skip
                cell(phase.cell, run, step, r, m, u, wide, together, of_x, of_x_row, of_x_group, scratch, pre_row,
                     group_bytes, wide * vector, width)  # fmt: skip
                r += m
            if descending != 0:
                last -= together * count
            else:
                piece += together * count

    return compute
