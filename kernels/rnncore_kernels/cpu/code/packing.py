"""Weights as the tiles read them.

For a product with K inputs, the columns of a group stand side by side for each k: in the forward pass the gates of some
hidden units, in the backward pass units alone. A group with more columns than a tile has is several such blocks.
"""

from __future__ import annotations

from ..fields.bf16x3 import BLOCK_BYTES
from ..fields.pack import (
    B_HH,
    B_IH,
    BIAS,
    HIDDEN,
    INPUT,
    SCRATCH,
    STAGE_TABLE,
    STAGES,
    THREADS,
    UNITS,
    W_H,
    W_H_BACK,
    W_H_BACK_BF16,
    W_H_BF16,
    W_HH,
    W_HH_ROW,
    W_IH,
    W_IH_ROW,
    W_X,
    W_X_BACK,
    W_X_BACK_BF16,
    W_X_BF16,
)
from ..fields.stage import COLUMN, COLUMNS, GATES, GATES_BEFORE, H_GATES, SPLIT, STAGE_BYTES, X_GATES
from ..shape import Shape
from .bf16x3 import back_blocks, column_bytes, make_bf16_columns
from .emitted import compiled
from .memory import set_word, word
from .moves import make_add, make_gather, make_transpose
from .rows import make_most_per_group, part_start, unit_offset


def make_pack(shape: Shape) -> None:
    """Define the kernel `pack(args, thread)`: the weights of the forward pass; words as in `fields.pack`."""
    transpose, add, most_per_group = make_transpose(shape), make_add(shape), make_most_per_group(shape)
    vector, lanes, item, most = shape.vector_bytes, shape.lanes, shape.itemsize, shape.columns

    @compiled("pack_columns")
    def pack_columns(
        args: int, thread: int, stage: int, source: int, source_row: int, target: int, depth: int, gate_number: int
    ) -> None:
        """The rows of W_ih or W_hh that a stage multiplies."""
        units, hidden, threads, gates = word(args, UNITS), word(args, HIDDEN), word(args, THREADS), word(stage, GATES)
        most_units = most_per_group(gates)
        target += word(stage, GATES_BEFORE) * units * vector * depth
        groups = (units + most_units - 1) // most_units
        for group in range(part_start(groups, thread, threads), part_start(groups, thread + 1, threads)):
            u = unit_offset(group, groups, units)
            wide = unit_offset(group + 1, groups, units) - u
            tiles = (gates * wide + most - 1) // most
            first = 0
            for number in range(tiles):
                width = gates * wide // tiles + (1 if number < gates * wide % tiles else 0)
                at = target + (u * gates + first) * vector * depth
                for column in range(first, first + width):
                    gate, unit = word(gate_number, column // wide), u + column % wide
                    row = source + (gate * hidden + unit * lanes) * source_row
                    for k in range(0, depth, lanes):
                        transpose(row + k * item, source_row, hidden - unit * lanes, min(lanes, depth - k),
                                  at + (k * width + column - first) * vector, width * vector)  # fmt: skip
                first += width

    @compiled("pack_bias")
    def pack_bias(args: int, stage: int) -> None:
        """The biases of a stage's columns, added up where both go to one."""
        units, hidden, gates, split = word(args, UNITS), word(args, HIDDEN), word(stage, GATES), word(stage, SPLIT)
        columns, of_x, of_h = word(stage, COLUMNS), word(args, B_IH), word(args, B_HH)
        most_units = most_per_group(gates)
        groups = (units + most_units - 1) // most_units
        for group in range(groups):
            u = unit_offset(group, groups, units)
            wide = unit_offset(group + 1, groups, units) - u
            for column in range(columns):
                gate = word(word(stage, X_GATES), column if column < gates else column - gates)
                for k in range(wide):
                    at = (gate * hidden + (u + k) * lanes) * item
                    left = of_x + at if of_x != 0 and column < gates else 0
                    right = of_h + at if of_h != 0 and column >= split else 0
                    to = word(args, BIAS) + (word(stage, COLUMN) * units + u * columns + column * wide + k) * vector
                    add(left, right, hidden - (u + k) * lanes, to)

    @compiled("pack")
    def pack(args: int, thread: int) -> None:
        for number in range(word(args, STAGES)):
            stage = word(args, STAGE_TABLE) + number * STAGE_BYTES
            pack_columns(args, thread, stage, word(args, W_IH), word(args, W_IH_ROW), word(args, W_X),
                         word(args, INPUT), word(stage, X_GATES))  # fmt: skip
            pack_columns(args, thread, stage, word(args, W_HH), word(args, W_HH_ROW), word(args, W_H),
                         word(args, HIDDEN), word(stage, H_GATES))  # fmt: skip
            if thread == 0:
                pack_bias(args, stage)


def make_convert(shape: Shape) -> None:
    """Define the kernels `convert(args, thread)` and `convert_back(args, thread)`: packed weights in three parts."""
    bf16_columns, most_per_group = make_bf16_columns(shape), make_most_per_group(shape)
    vector, lanes, most = shape.vector_bytes, shape.lanes, shape.columns

    @compiled("convert_groups")
    def convert_groups(units: int, gates: int, depth: int, source: int, target: int, thread: int, threads: int) -> None:
        """A thread's share of a packed matrix: `gates` columns of vectors for each unit, in groups and tiles."""
        most_units = most_per_group(gates)
        groups = (units + most_units - 1) // most_units
        for group in range(part_start(groups, thread, threads), part_start(groups, thread + 1, threads)):
            u = unit_offset(group, groups, units)
            columns = (unit_offset(group + 1, groups, units) - u) * gates
            tiles = (columns + most - 1) // most
            first = u * gates
            for number in range(tiles):
                width = columns // tiles + (1 if number < columns % tiles else 0)
                bf16_columns(source + first * vector * depth, width * vector, depth, width,
                             target + first * column_bytes(depth))  # fmt: skip
                first += width

    @compiled("convert")
    def convert(args: int, thread: int) -> None:
        units, width, hidden, threads = word(args, UNITS), word(args, INPUT), word(args, HIDDEN), word(args, THREADS)
        of_x, of_h = word(args, W_X_BF16), word(args, W_H_BF16)
        for number in range(word(args, STAGES)):
            stage = word(args, STAGE_TABLE) + number * STAGE_BYTES
            gates, before = word(stage, GATES), word(stage, GATES_BEFORE) * units
            convert_groups(units, gates, width, word(args, W_X) + before * vector * width,
                         of_x + before * column_bytes(width), thread, threads)  # fmt: skip
            convert_groups(units, gates, hidden, word(args, W_H) + before * vector * hidden,
                         of_h + before * column_bytes(hidden), thread, threads)  # fmt: skip

    @compiled("convert_back")
    def convert_back(args: int, thread: int) -> None:
        units, width, threads = word(args, UNITS), word(args, INPUT), word(args, THREADS)
        vectors = (width + lanes - 1) // lanes
        for number in range(word(args, STAGES)):
            stage = word(args, STAGE_TABLE) + number * STAGE_BYTES
            depth = word(stage, GATES) * units * lanes
            before = word(stage, GATES_BEFORE) * units
            place = back_blocks(before, number) * BLOCK_BYTES
            convert_groups(units, 1, depth, word(args, W_H_BACK) + before * lanes * units * vector,
                           word(args, W_H_BACK_BF16) + units * place, thread, threads)  # fmt: skip
            convert_groups(vectors, 1, depth, word(args, W_X_BACK) + before * lanes * vectors * vector,
                           word(args, W_X_BACK_BF16) + vectors * place, thread, threads)  # fmt: skip


def make_pack_back(shape: Shape) -> None:
    """Define the kernel `pack_back(args, thread)`: the transposed weights of the backward pass."""
    gather = make_gather(shape)
    vector, lanes, most = shape.vector_bytes, shape.lanes, shape.columns

    @compiled("pack_rows")
    def pack_rows(
        args: int, thread: int, stage: int, source: int, source_row: int, target: int, count: int, gate_number: int
    ) -> None:
        """The rows of W_hh or W_ih of a stage, for a product over its gates and their units."""
        units, hidden, threads, gates = word(args, UNITS), word(args, HIDDEN), word(args, THREADS), word(stage, GATES)
        vectors = (count + lanes - 1) // lanes
        depth = gates * units * lanes
        target += word(stage, GATES_BEFORE) * units * lanes * vectors * vector
        groups = (vectors + most - 1) // most
        table = word(args, SCRATCH) + thread * 8 * units * lanes
        for gate in range(gates):
            for row in range(units * lanes):
                set_word(table, row, source + (word(gate_number, gate) * hidden + row) * source_row)
            for group in range(part_start(groups, thread, threads), part_start(groups, thread + 1, threads)):
                v = unit_offset(group, groups, vectors)
                wide = unit_offset(group + 1, groups, vectors) - v
                at = target + (v * depth + gate * units * lanes * wide) * vector
                gather(table, hidden, v * vector, min(wide * lanes, count - v * lanes), at, wide)
                # Behind the last unit zeros, as many as there are lanes.
                gather(table, units * lanes - hidden, 0, 0, at + hidden * wide * vector, wide)

    @compiled("pack_back")
    def pack_back(args: int, thread: int) -> None:
        for number in range(word(args, STAGES)):
            stage = word(args, STAGE_TABLE) + number * STAGE_BYTES
            pack_rows(args, thread, stage, word(args, W_HH), word(args, W_HH_ROW), word(args, W_H_BACK),
                      word(args, HIDDEN), word(stage, H_GATES))  # fmt: skip
            pack_rows(args, thread, stage, word(args, W_IH), word(args, W_IH_ROW), word(args, W_X_BACK),
                      word(args, INPUT), word(stage, X_GATES))  # fmt: skip
