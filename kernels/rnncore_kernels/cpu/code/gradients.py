"""The products of back-propagation over the steps of a chunk: the gradients of x, of inputs and of parameters.

They are divided among all threads, those of x and inputs by rows, those of parameters by units.
"""

from __future__ import annotations

from typing import Any

from ..arguments import OVER_ROWS, OVER_UNITS, BackwardArguments, PhaseArguments, StepArguments
from ..shape import Shape
from ..sizes import PANEL_ROWS, WEIGHT_GROUPS
from .calls import column_at, matrix_at, phase_at, sum_at
from .emitted import compiled
from .gemm import Gemm
from .groups import block_start, part_start, unit_offset
from .matrices import make_bias_at
from .memory import copy, word
from .moves import make_scatter, make_sum_rows
from .rows import fill_table
from .totals import make_add_units


def make_input_back(shape: Shape, gemm: Gemm) -> Any:
    """`input_back(run, part, parts, grad_x_rows, count, step)`: cotangents of x of a part of the chunk's rows."""
    vector, lanes, most = shape.vector_bytes, shape.lanes, shape.columns
    multiply, column_bytes = gemm.multiply, gemm.column_bytes
    prepare, prepared_bytes = gemm.prepare, gemm.prepared_bytes
    most_rows, row_block, scatter = gemm.most_back_rows, gemm.row_block, make_scatter(shape)
    table_bytes = 8 * most_rows

    @compiled("input_back")
    def input_back(
        run: BackwardArguments, part: int, parts: int, grad_x_rows: int, count: int, step: StepArguments
    ) -> None:
        width, pre_row = run.inputs, run.pre_row
        vectors = (width + lanes - 1) // lanes
        groups = (vectors + most - 1) // most
        tables, sums = step.scratch, step.scratch + run.phases * table_bytes
        r, last = block_start(count, row_block, part, parts), block_start(count, row_block, part + 1, parts)
        while r < last:
            n = min(most_rows, last - r)
            prepared = step.prepared
            for number in range(run.phases):
                phase = phase_at(run.phase_table, number)
                if phase.x_columns > 0:
                    depth = phase.x_columns * phase.units * lanes
                    table = tables + number * table_bytes
                    fill_table(table, n, run.pre + r * pre_row + phase.place, pre_row)
                    prepare(table, n, depth, prepared)
                    prepared += prepared_bytes(n, depth)
            for group in range(groups):
                v = unit_offset(group, groups, vectors)
                wide = unit_offset(group + 1, groups, vectors) - v
                start, start_row, prepared = step.nothing, 0, step.prepared
                for number in range(run.phases):
                    phase = phase_at(run.phase_table, number)
                    if phase.x_columns > 0:
                        depth = phase.x_columns * phase.units * lanes
                        w = run.weights + phase.w_x_back + v * column_bytes(depth)
                        rows = tables + number * table_bytes
                        if prepared != 0:
                            rows = prepared
                        multiply(wide, rows, 0, n, depth, w, start, start_row, sums, wide * vector, 1, 0, 0, 0)
                        start, start_row = sums, wide * vector
                        prepared += prepared_bytes(n, depth)
                if start != sums:
                    multiply(wide, tables, 0, n, 0, 0, start, 0, sums, wide * vector, 1, 0, 0, 0)
                scatter(grad_x_rows + 8 * r, n, v * vector, width - v * lanes, sums, wide)
            r += n

    return input_back


def make_weights_back(shape: Shape, gemm: Gemm) -> Any:
    """`weights_back(...)`: what the chunk adds to the gradients of a phase's rows of weights and biases.

    `operands` is the table of what the product multiplied.
    """
    vector, lanes, item, most = shape.vector_bytes, shape.lanes, shape.itemsize, shape.columns
    take_left, take_right, add_product = gemm.take_left, gemm.take_right, gemm.add_product
    panel_bytes, left_units, sum_rows = gemm.panel_bytes, gemm.left_units, make_sum_rows(shape)
    bias_at = make_bias_at(shape)

    @compiled("weights_back")
    def weights_back(
        run: BackwardArguments, part: int, parts: int, phase: PhaseArguments, x_rows: int, operands: int, count: int,
        step: StepArguments, add: int,
    ) -> None:  # fmt: skip
        units, width, inputs, head, depth = phase.units, phase.width, run.inputs, phase.head, phase.head_depth
        columns, pre_row = phase.columns, run.pre_row
        # Groups of columns of W_ih, then of each head.
        x_vectors, h_vectors = (inputs + lanes - 1) // lanes, (depth + lanes - 1) // lanes
        x_groups, h_groups = (x_vectors + most - 1) // most, (h_vectors + most - 1) // most
        if phase.x_columns == 0:
            x_groups = 0
        all_groups = x_groups
        if phase.h_columns > 0:
            all_groups += h_groups * (width // head)
        first, last = block_start(columns * units, 2, part, parts), block_start(columns * units, 2, part + 1, parts)
        r = 0
        while True:
            n = min(PANEL_ROWS, count - r)
            panel = panel_bytes(n)
            # A panel has all rows of a vector of units or columns.
            left = step.panels
            panels = left + left_units * panel
            base = run.pre + r * pre_row + phase.place
            group = 0
            while group < all_groups:
                # As many groups of columns of both as stay in the cache while all units pass over them.
                first_group, group = group, min(all_groups, group + WEIGHT_GROUPS)
                for g in range(first_group, group):
                    rows, elements, vectors, groups, number, of_head = x_rows, inputs, x_vectors, x_groups, g, 0
                    if g >= x_groups:
                        rows, elements, vectors, groups = operands, depth, h_vectors, h_groups
                        number, of_head = (g - x_groups) % h_groups, (g - x_groups) // h_groups * depth * item
                    v = unit_offset(number, groups, vectors)
                    wide, to = unit_offset(number + 1, groups, vectors) - v, panels + (g - first_group) * most * panel
                    take_right(rows + 8 * r, n, of_head + v * vector, elements - v * lanes, to, wide)
                unit = first
                while unit < last:
                    # Units of one column are rows of the gradient that stand together.
                    number, start = unit // units, unit % units
                    column = column_at(run.columns, phase.first_column + number)
                    here = min(left_units, min(units - start, last - unit))
                    first_row, end_row, taken = start * lanes, min((start + here) * lanes, width), 0
                    for g in range(first_group, group):
                        matrix, row, elements, vectors, groups, number = 0, column.x_row, inputs, x_vectors, x_groups, g
                        at, end = first_row, end_row
                        if g >= x_groups:
                            matrix, row, elements, vectors = column.matrix, column.h_row, depth, h_vectors
                            groups, number, k = h_groups, (g - x_groups) % h_groups, (g - x_groups) // h_groups
                            at, end = max(at, k * head), min(end, (k + 1) * head)
                        if matrix < 0 or row < 0 or at >= end:
                            continue
                        if taken == 0:
                            take_left(base + unit * vector, pre_row, n, left, here)
                            taken = 1
                        v = unit_offset(number, groups, vectors)
                        wide = unit_offset(number + 1, groups, vectors) - v
                        right = panels + (g - first_group) * most * panel
                        grad = matrix_at(run.matrices, matrix).weight
                        c = grad + ((row + at) * elements + v * lanes) * item
                        add_product(wide, end - at, here, n, left + (at - first_row) * item, right, c, elements * item,
                                    elements - v * lanes, add, step.nothing)  # fmt: skip
                    unit += here
            for unit in range(first, last):
                column, start = column_at(run.columns, phase.first_column + unit // units), unit % units * lanes
                at = base + unit * vector
                of_x, of_h = bias_at(run.matrices, 0, column.x_row), bias_at(run.matrices, column.matrix, column.h_row)
                if of_x != 0:
                    sum_rows(at, pre_row, n, of_x + start * item, width - start, add)
                if of_h != 0:
                    sum_rows(at, pre_row, n, of_h + start * item, width - start, add)
            add = 1
            r += n
            if r >= count:
                break

    return weights_back


def make_sums_back(shape: Shape) -> Any:
    """`sums_back(run, part, parts, input_rows, table_bytes, count)`: cotangents, added to what are zeros at first."""
    vector, lanes, item = shape.vector_bytes, shape.lanes, shape.itemsize
    sum_rows, add_units = make_sum_rows(shape), make_add_units(shape)

    @compiled("sums_back")
    def sums_back(run: BackwardArguments, part: int, parts: int, input_rows: int, table_bytes: int, count: int) -> None:
        pre_row = run.pre_row
        first, last = part_start(count, part, parts), part_start(count, part + 1, parts)
        for number in range(run.sums):
            each = sum_at(run.sum_table, number)
            base = run.pre + each.place
            if each.kind == OVER_ROWS:
                for unit in range(part_start(each.units, part, parts), part_start(each.units, part + 1, parts)):
                    for r in range(0, count, PANEL_ROWS):
                        n = min(PANEL_ROWS, count - r)
                        sum_rows(base + r * pre_row + unit * vector, pre_row, n, each.target + unit * vector,
                                 each.width - unit * lanes, 1)  # fmt: skip
            else:
                targets = input_rows + each.target * table_bytes + 8 * first
                if each.kind == OVER_UNITS:
                    add_units(base + first * pre_row, pre_row, last - first, each.width, targets)
                else:
                    for r in range(first, last):
                        copy(word(targets, r - first), base + r * pre_row, each.width * item)

    return sums_back
