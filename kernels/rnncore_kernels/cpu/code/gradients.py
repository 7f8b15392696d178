"""The products of back-propagation over the steps of a chunk: the gradients of x and of the weights.

They are divided among all threads, those of x by rows, those of the weights by rows of the weights.
"""

from __future__ import annotations

from typing import Any

from ..fields.run import (
    BLOCK_ROWS,
    HIDDEN,
    INPUT,
    PANEL_ROWS,
    PRE,
    PRE_ROW,
    STAGE_TABLE,
    STAGES,
    UNITS,
    W_X_BACK,
    WEIGHT_GROUPS,
    block_units,
)
from ..fields.stage import COLUMN, GATES, GATES_BEFORE, STAGE_BYTES
from ..shape import Shape
from .emitted import compiled
from .memory import clear, word
from .moves import make_copy, make_gather, make_scatter, make_sum_rows
from .outer import make_outer
from .rows import fill_table, unit_offset


def make_input_back(shape: Shape, multiply: Any) -> Any:
    """`input_back(args, thread, threads, grad_x_rows, count, scratch)`: cotangents of x of the chunk's rows."""
    vector, lanes, most = shape.vector_bytes, shape.lanes, shape.columns
    scatter = make_scatter(shape)

    @compiled("input_back")
    def input_back(args: int, thread: int, threads: int, grad_x_rows: int, count: int, scratch: int) -> None:
        units, width = word(args, UNITS), word(args, INPUT)
        row_bytes = units * vector
        pre_row = word(args, PRE_ROW)
        vectors = (width + lanes - 1) // lanes
        groups = (vectors + most - 1) // most
        nothing, sums = scratch + 8 * BLOCK_ROWS, scratch + 8 * BLOCK_ROWS + most * vector
        clear(nothing, most * vector)
        r, last = count * thread // threads, count * (thread + 1) // threads
        while r < last:
            n = min(BLOCK_ROWS, last - r)
            for group in range(groups):
                v = unit_offset(group, groups, vectors)
                wide = unit_offset(group + 1, groups, vectors) - v
                for number in range(word(args, STAGES)):
                    stage = word(args, STAGE_TABLE) + number * STAGE_BYTES
                    fill_table(scratch, n, word(args, PRE) + r * pre_row + word(stage, COLUMN) * row_bytes, pre_row)
                    depth = word(stage, GATES) * units * lanes
                    w = (
                        word(args, W_X_BACK)
                        + (word(stage, GATES_BEFORE) * units * lanes * vectors + v * depth) * vector
                    )
                    start, start_row = nothing, 0
                    if number > 0:
                        start, start_row = sums, wide * vector
                    multiply(wide, scratch, n, depth, w, start, start_row, sums, wide * vector, 1, 0, 0, 0)
                scatter(grad_x_rows + 8 * r, n, v * vector, width - v * lanes, sums, wide)
            r += n

    return input_back


def make_weights_back(shape: Shape) -> Any:
    """`weights_back(...)`: what the chunk adds to the gradient of a stage's rows of W_ih or W_hh and its bias."""
    vector, lanes, item, most = shape.vector_bytes, shape.lanes, shape.itemsize, shape.columns
    outer, gather, sum_rows, copy_rows = make_outer(shape), make_gather(shape), make_sum_rows(shape), make_copy(shape)
    together = block_units(lanes)

    @compiled("weights_back")
    def weights_back(
        args: int, thread: int, threads: int, rows: int, width: int, grad_w: int, grad_b: int, gate_number: int,
        gates: int, column: int, count: int, scratch: int, add: int,
    ) -> None:  # fmt: skip
        units, hidden = word(args, UNITS), word(args, HIDDEN)
        row_bytes = units * vector
        pre_row, grad_w_row = word(args, PRE_ROW), width * item
        vectors = (width + lanes - 1) // lanes
        groups = (vectors + most - 1) // most
        first, last = gates * units * thread // threads, gates * units * (thread + 1) // threads
        panel = PANEL_ROWS * vector
        left, panels = scratch, scratch + together * panel
        r = 0
        while True:
            n = min(PANEL_ROWS, count - r)
            base = word(args, PRE) + r * pre_row + column * row_bytes
            group = 0
            while group < groups:
                # As many groups of columns as stay in the cache while all units pass over them.
                first_group, v0 = group, unit_offset(group, groups, vectors)
                group = min(groups, group + WEIGHT_GROUPS)
                for g in range(first_group, group):
                    v = unit_offset(g, groups, vectors)
                    wide = unit_offset(g + 1, groups, vectors) - v
                    gather(rows + 8 * r, n, v * vector, width - v * lanes, panels + (v - v0) * panel, wide)
                unit = first
                while unit < last:
                    # Units of one gate are rows of the gradient that stand together.
                    start = unit % units
                    here = min(together, units - start, last - unit)
                    row = word(gate_number, unit // units) * hidden + start * lanes
                    columns = min((start + here) * lanes, hidden) - start * lanes
                    copy_rows(base + unit * vector, pre_row, n, left, here)
                    for g in range(first_group, group):
                        v = unit_offset(g, groups, vectors)
                        wide = unit_offset(g + 1, groups, vectors) - v
                        outer(wide, columns, n, left, here * vector, panels + (v - v0) * panel,
                              grad_w + row * grad_w_row + v * vector, grad_w_row, width - v * lanes, add)  # fmt: skip
                    unit += here
            if grad_b != 0:
                for unit in range(first, last):
                    start = unit % units * lanes
                    row = word(gate_number, unit // units) * hidden + start
                    sum_rows(base + unit * vector, pre_row, n, grad_b + row * item, hidden - start, add)
            add = 1
            r += n
            if r >= count:
                break

    return weights_back
