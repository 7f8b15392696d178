"""The products of back-propagation over the steps of a chunk: the gradients of x and of the weights.

They are divided among all threads, those of x by rows, those of the weights by rows of the weights.
"""

from __future__ import annotations

from typing import Any

from ..fields.bf16x3 import BLOCK_BYTES, ROWS
from ..fields.run import (
    BF16_BACK_ROWS,
    BLOCK_ROWS,
    GRAD_B_HH,
    GRAD_B_IH,
    GRAD_W_HH,
    GRAD_W_IH,
    HIDDEN,
    INPUT,
    PANEL_ROWS,
    PRE,
    PRE_ROW,
    STAGE_TABLE,
    STAGES,
    UNITS,
    W_X_BACK,
    W_X_BACK_BF16,
    WEIGHT_GROUPS,
    block_units,
)
from ..fields.stage import COLUMN, COLUMNS, GATES, GATES_BEFORE, H_GATES, SPLIT, STAGE_BYTES, X_GATES
from ..shape import Shape
from .balance import block_bound
from .bf16x3 import back_blocks, column_bytes
from .emitted import compiled
from .memory import clear, word
from .moves import fetch, make_add_rows, make_copy, make_gather, make_scatter, make_sum_rows
from .multiply import make_multiply
from .outer import make_outer
from .rows import fill_table, unit_offset
from .tile_registers import TileRegisters


def make_input_back(shape: Shape, tile_registers: TileRegisters) -> Any:
    """`input_back(args, low, high, grad_x_rows, count, scratch, bf16)`: cotangents of x of a part of the chunk's rows.

    With `bf16`, room for rows in three parts, products are computed on tile registers.
    """
    vector, lanes, most = shape.vector_bytes, shape.lanes, shape.columns
    multiply, multiply_bf16, to_bf16 = make_multiply(shape), tile_registers.multiply, tile_registers.bf16_rows
    scatter = make_scatter(shape)

    @compiled("input_back")
    def input_back(args: int, low: int, high: int, grad_x_rows: int, count: int, scratch: int, bf16: int) -> None:
        units, width = word(args, UNITS), word(args, INPUT)
        row_bytes = units * vector
        pre_row = word(args, PRE_ROW)
        vectors = (width + lanes - 1) // lanes
        groups = (vectors + most - 1) // most
        most_rows = BLOCK_ROWS if bf16 == 0 else BF16_BACK_ROWS
        nothing, sums = scratch + 8 * most_rows, scratch + 8 * most_rows + most * vector
        clear(nothing, most * vector)
        whole = 1 if bf16 == 0 else ROWS
        r, last = block_bound(count, low, whole), block_bound(count, high, whole)
        while r < last:
            n = min(most_rows, last - r)
            if bf16 != 0:
                target = bf16
                for number in range(word(args, STAGES)):
                    stage = word(args, STAGE_TABLE) + number * STAGE_BYTES
                    fill_table(scratch, n, word(args, PRE) + r * pre_row + word(stage, COLUMN) * row_bytes, pre_row)
                    depth = word(stage, GATES) * units * lanes
                    to_bf16(scratch, n, depth, target)
                    target += (n + ROWS - 1) // ROWS * column_bytes(depth)
            for group in range(groups):
                v = unit_offset(group, groups, vectors)
                wide = unit_offset(group + 1, groups, vectors) - v
                rows = bf16
                for number in range(word(args, STAGES)):
                    stage = word(args, STAGE_TABLE) + number * STAGE_BYTES
                    depth = word(stage, GATES) * units * lanes
                    start, start_row = nothing, 0
                    if number > 0:
                        start, start_row = sums, wide * vector
                    if bf16 != 0:
                        before = vectors * back_blocks(word(stage, GATES_BEFORE) * units, number)
                        w = word(args, W_X_BACK_BF16) + before * BLOCK_BYTES + v * column_bytes(depth)
                        multiply_bf16(wide, rows, n, depth, w, start, start_row, sums, wide * vector)
                        rows += (n + ROWS - 1) // ROWS * column_bytes(depth)
                    else:
                        fill_table(scratch, n, word(args, PRE) + r * pre_row + word(stage, COLUMN) * row_bytes, pre_row)
                        w = word(args, W_X_BACK) + word(stage, GATES_BEFORE) * units * lanes * vectors * vector
                        multiply(wide, scratch, n, depth, w + v * depth * vector, start, start_row, sums,
                                 wide * vector, 1, 0, 0, 0)  # fmt: skip
                scatter(grad_x_rows + 8 * r, n, v * vector, width - v * lanes, sums, wide)
            r += n

    return input_back


def make_weights_back(shape: Shape, tile_registers: TileRegisters) -> Any:
    """`weights_back(...)`: what the chunk adds to the gradients of a stage's rows of W_ih, W_hh and the biases.

    `operands` is the table of what W_hh was multiplied with. With `bf16`, room for both factors in three parts,
    products are computed on tile registers.
    """
    vector, lanes, item, most = shape.vector_bytes, shape.lanes, shape.itemsize, shape.columns
    outer, gather, sum_rows, copy_rows = make_outer(shape), make_gather(shape), make_sum_rows(shape), make_copy(shape)
    add_rows, multiply = make_add_rows(shape), tile_registers.multiply
    gather_bf16, transpose_bf16 = tile_registers.bf16_gathered, tile_registers.bf16_transposed
    vector_units = block_units(lanes)

    @compiled("weights_back")
    def weights_back(
        args: int, low: int, high: int, stage: int, x_rows: int, operands: int, count: int, scratch: int, bf16: int,
        add: int,
    ) -> None:  # fmt: skip
        units, hidden, inputs = word(args, UNITS), word(args, HIDDEN), word(args, INPUT)
        gates, split, columns = word(stage, GATES), word(stage, SPLIT), word(stage, COLUMNS)
        row_bytes, pre_row = units * vector, word(args, PRE_ROW)
        x_vectors = (inputs + lanes - 1) // lanes
        x_groups, h_groups = (x_vectors + most - 1) // most, (units + most - 1) // most
        first, last = block_bound(columns * units, low, 2), block_bound(columns * units, high, 2)
        nothing, sums = scratch, scratch + most * vector
        if bf16 != 0:
            clear(nothing, most * vector)
        r = 0
        while True:
            n = min(PANEL_ROWS, count - r)
            # Of a vector of units or columns, all rows.
            together, left, panel = vector_units, scratch, PANEL_ROWS * vector
            if bf16 != 0:
                together, left, panel = 2, bf16, column_bytes(n)
            panels = left + together * panel
            base = word(args, PRE) + r * pre_row + word(stage, COLUMN) * row_bytes
            group = 0
            while group < x_groups + h_groups:
                # As many groups of columns of both as stay in the cache while all units pass over them.
                first_group, group = group, min(x_groups + h_groups, group + WEIGHT_GROUPS)
                for g in range(first_group, group):
                    rows, width, vectors, groups, number = x_rows, inputs, x_vectors, x_groups, g
                    if g >= x_groups:
                        rows, width, vectors, groups, number = operands, hidden, units, h_groups, g - x_groups
                    v = unit_offset(number, groups, vectors)
                    wide, to = unit_offset(number + 1, groups, vectors) - v, panels + (g - first_group) * most * panel
                    if bf16 != 0:
                        gather_bf16(rows + 8 * r, n, v * vector, width - v * lanes, to, wide)
                    else:
                        gather(rows + 8 * r, n, v * vector, width - v * lanes, to, wide)
                unit = first
                while unit < last:
                    # Units of one gate are rows of the gradient that stand together.
                    column, start = unit // units, unit % units
                    here = min(together, min(units - start, last - unit))
                    height = min((start + here) * lanes, hidden) - start * lanes
                    if bf16 != 0:
                        for k in range(here):
                            transpose_bf16(base + (unit + k) * vector, pre_row, n, left + k * panel)
                    else:
                        copy_rows(base + unit * vector, pre_row, n, left, here)
                    for g in range(first_group, group):
                        grad_w, width, vectors, groups, number = word(args, GRAD_W_IH), inputs, x_vectors, x_groups, g
                        gate = column
                        if g >= x_groups:
                            grad_w, width, vectors, groups = word(args, GRAD_W_HH), hidden, units, h_groups
                            number, gate = g - x_groups, column - split
                        if gate < 0 or gate >= gates:
                            continue
                        row = word(word(stage, H_GATES if g >= x_groups else X_GATES), gate) * hidden + start * lanes
                        v = unit_offset(number, groups, vectors)
                        wide = unit_offset(number + 1, groups, vectors) - v
                        right = panels + (g - first_group) * most * panel
                        c = grad_w + (row * width + v * lanes) * item
                        if bf16 != 0:
                            fetch(c, width * item, height, min(wide * vector, (width - v * lanes) * item))
                            multiply(wide, left, here * lanes, n, right, nothing, 0, sums, wide * vector)
                            add_rows(sums, height, wide, c, width * item, width - v * lanes, add)
                        else:
                            outer(wide, height, n, left, here * vector, right, c, width * item, width - v * lanes, add)
                    unit += here
            for unit in range(first, last):
                column, start = unit // units, unit % units * lanes
                at = base + unit * vector
                if word(args, GRAD_B_IH) != 0 and column < gates:
                    row = word(word(stage, X_GATES), column) * hidden + start
                    sum_rows(at, pre_row, n, word(args, GRAD_B_IH) + row * item, hidden - start, add)
                if word(args, GRAD_B_HH) != 0 and column >= split:
                    row = word(word(stage, H_GATES), column - split) * hidden + start
                    sum_rows(at, pre_row, n, word(args, GRAD_B_HH) + row * item, hidden - start, add)
            add = 1
            r += n
            if r >= count:
                break

    return weights_back
