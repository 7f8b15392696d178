"""Weights as the tiles read them.

For a product with K inputs, the columns of a group stand side by side for each k: in the forward pass those of some
units of a phase, in the backward pass units alone. A group with more columns than a tile has is several such blocks.
"""

from __future__ import annotations

from ..arguments import PackArguments, PhaseArguments
from ..shape import Shape
from .calls import column_at, matrix_at, phase_at
from .emitted import compiled
from .gemm import Gemm
from .groups import first_multiplied, part_start, unit_offset
from .matrices import make_bias_at
from .memory import clear, copy, set_word, word
from .moves import make_add, make_gather, make_transpose


def make_pack(shape: Shape) -> None:
    """Define the kernel `pack(call, thread)`: the weights of the forward pass."""
    transpose, add, bias_at = make_transpose(shape), make_add(shape), make_bias_at(shape)
    vector, lanes, item, most = shape.vector_bytes, shape.lanes, shape.itemsize, shape.columns

    @compiled("pack_columns")
    def pack_columns(
        call: PackArguments, thread: int, phase: PhaseArguments, of_x: int, first_column: int, columns: int,
        target: int, depth: int,
    ) -> None:  # fmt: skip
        """The weights of some columns of a phase, for x or for the operand of its product.

        A group multiplies `depth` elements: those of the heads of its units, and zeros where units are of another.
        """
        units, threads, groups, head, head_depth = phase.units, call.threads, phase.groups, phase.head, phase.head_depth
        if of_x != 0:
            head, head_depth = phase.width, depth
        for group in range(part_start(groups, thread, threads), part_start(groups, thread + 1, threads)):
            u = unit_offset(group, groups, units)
            wide = unit_offset(group + 1, groups, units) - u
            tiles = (columns * wide + most - 1) // most
            first, origin = 0, 0
            if of_x == 0:
                origin = first_multiplied(u * lanes, head, head_depth, phase.depth, depth)
            for number in range(tiles):
                width = columns * wide // tiles + (1 if number < columns * wide % tiles else 0)
                at = target + (u * columns + first) * vector * depth
                for column in range(first, first + width):
                    there = column_at(call.columns, phase.first_column + first_column + column // wide)
                    matrix = matrix_at(call.matrices, 0 if of_x != 0 else there.matrix)
                    start = (u + column % wide) * lanes
                    end = min(start + lanes, phase.width)
                    source = matrix.weight + ((there.x_row if of_x != 0 else there.h_row) + start) * matrix.row
                    to, to_row = at + (column - first) * vector, width * vector
                    if head_depth < depth:
                        for k in range(depth):
                            clear(to + k * to_row, vector)
                    for h in range(start // head, (end - 1) // head + 1):
                        first_row, end_row = max(0, h * head - start), min(end, (h + 1) * head) - start
                        of_head = to + (h * head_depth - origin) * to_row
                        if first_row == 0:
                            # Zeros in the place of the units behind, which are of the next head.
                            for k in range(0, head_depth, lanes):
                                transpose(source + k * item, matrix.row, end_row, min(lanes, head_depth - k),
                                          of_head + k * to_row, to_row)  # fmt: skip
                        else:
                            for r in range(first_row, end_row):
                                for k in range(head_depth):
                                    copy(of_head + k * to_row + r * item, source + r * matrix.row + k * item, item)
                first += width

    @compiled("pack_bias")
    def pack_bias(call: PackArguments, phase: PhaseArguments) -> None:
        """The biases of a phase's columns, added up where both go to one."""
        units, groups, columns = phase.units, phase.groups, phase.columns
        for number in range(columns):
            column = column_at(call.columns, phase.first_column + number)
            left, right = bias_at(call.matrices, 0, column.x_row), bias_at(call.matrices, column.matrix, column.h_row)
            for group in range(groups):
                u = unit_offset(group, groups, units)
                wide = unit_offset(group + 1, groups, units) - u
                for k in range(wide):
                    start = (u + k) * lanes
                    to = call.packed + phase.bias + (u * columns + number * wide + k) * vector
                    add(left + start * item if left != 0 else 0, right + start * item if right != 0 else 0,
                        phase.width - start, to)  # fmt: skip

    @compiled("pack")
    def pack(call: PackArguments, thread: int) -> None:
        for number in range(call.phases):
            phase = phase_at(call.phase_table, number)
            if phase.x_columns > 0:
                pack_columns(call, thread, phase, 1, 0, phase.x_columns, call.packed + phase.w_x, call.inputs)
            if phase.h_columns > 0:
                pack_columns(call, thread, phase, 0, phase.split, phase.h_columns, call.packed + phase.w_h, phase.span)
            if thread == 0:
                pack_bias(call, phase)


def make_pack_back(shape: Shape) -> None:
    """Define the kernel `pack_back(call, thread)`: the transposed weights of the backward pass."""
    gather = make_gather(shape)
    vector, lanes, item, most = shape.vector_bytes, shape.lanes, shape.itemsize, shape.columns

    @compiled("pack_rows")
    def pack_rows(
        call: PackArguments, thread: int, phase: PhaseArguments, of_x: int, first_column: int, columns: int,
        target: int, count: int,
    ) -> None:  # fmt: skip
        """The weights of some columns of a phase, for a product over these and their units, or those of its heads.

        `count` elements are computed.
        """
        units, width, threads, head, head_depth = phase.units, phase.width, call.threads, phase.head, phase.head_depth
        vectors = (count + lanes - 1) // lanes
        depth = units * lanes
        if of_x == 0:
            depth = phase.back_span
        groups = (vectors + most - 1) // most
        table = call.scratch + thread * call.scratch_size
        for number in range(columns):
            column = column_at(call.columns, phase.first_column + first_column + number)
            matrix = matrix_at(call.matrices, 0 if of_x != 0 else column.matrix)
            first = column.x_row if of_x != 0 else column.h_row
            for row in range(units * lanes):
                set_word(table, row, matrix.weight + (first + row) * matrix.row)
            for group in range(part_start(groups, thread, threads), part_start(groups, thread + 1, threads)):
                v = unit_offset(group, groups, vectors)
                wide = unit_offset(group + 1, groups, vectors) - v
                at, start, end = target + (v * columns + number * wide) * depth * vector, v * lanes, (v + wide) * lanes
                if of_x != 0 or head == width:
                    gather(table, width, v * vector, min(end, count) - start, at, wide)
                    # Behind the last unit zeros, as many as there are lanes.
                    gather(table, units * lanes - width, 0, 0, at + width * wide * vector, wide)
                    continue
                clear(at, depth * wide * vector)
                origin = first_multiplied(start, head_depth, head, width, depth)
                for k in range(depth):
                    # The unit's weights are those of its head's elements.
                    of_head = (origin + k) // head * head_depth
                    low, high = max(start, of_head), min(min(end, count), of_head + head_depth)
                    if low < high:
                        row = word(table, origin + k)
                        copy(at + k * wide * vector + (low - start) * item, row + (low - of_head) * item,
                             (high - low) * item)  # fmt: skip

    @compiled("pack_back")
    def pack_back(call: PackArguments, thread: int) -> None:
        for number in range(call.phases):
            phase = phase_at(call.phase_table, number)
            if phase.h_columns > 0:
                pack_rows(
                    call, thread, phase, 0, phase.split, phase.h_columns, call.packed + phase.w_h_back, phase.depth
                )
            if phase.x_columns > 0:
                pack_rows(call, thread, phase, 1, 0, phase.x_columns, call.packed + phase.w_x_back, call.inputs)


def make_convert(shape: Shape, gemm: Gemm) -> None:
    """Define the kernels `convert(call, thread)` and `convert_back(call, thread)`: weights for other products."""
    take_columns, column_bytes = gemm.take_columns, gemm.column_bytes
    vector, lanes, most = shape.vector_bytes, shape.lanes, shape.columns

    @compiled("convert_groups")
    def convert_groups(
        call: PackArguments, thread: int, units: int, groups: int, columns: int, parts: int, depth: int, source: int,
        target: int,
    ) -> None:  # fmt: skip
        """A thread's share of a packed matrix: some columns of vectors for each unit, in groups and tiles.

        Each is multiplied in so many parts, of that depth.
        """
        threads, size = call.threads, column_bytes(depth)
        for group in range(part_start(groups, thread, threads), part_start(groups, thread + 1, threads)):
            u = unit_offset(group, groups, units)
            here = (unit_offset(group + 1, groups, units) - u) * columns
            tiles = (here + most - 1) // most
            first = u * columns
            for number in range(tiles):
                width = here // tiles + (1 if number < here % tiles else 0)
                for part in range(parts):
                    place = first * parts + part * width
                    take_columns(call.packed + source + place * vector * depth, width * vector, depth, width,
                                 call.converted + target + place * size)  # fmt: skip
                first += width

    @compiled("convert")
    def convert(call: PackArguments, thread: int) -> None:
        for number in range(call.phases):
            phase, to = phase_at(call.phase_table, number), phase_at(call.converted_table, number)
            if phase.x_columns > 0:
                convert_groups(call, thread, phase.units, phase.groups, phase.x_columns, 1, call.inputs, phase.w_x,
                               to.w_x)  # fmt: skip
            if phase.h_columns > 0:
                convert_groups(call, thread, phase.units, phase.groups, phase.h_columns, 1, phase.span, phase.w_h,
                               to.w_h)  # fmt: skip

    @compiled("convert_back")
    def convert_back(call: PackArguments, thread: int) -> None:
        vectors = (call.inputs + lanes - 1) // lanes
        for number in range(call.phases):
            phase, to = phase_at(call.phase_table, number), phase_at(call.converted_table, number)
            groups, parts, depth = (phase.depth_units + most - 1) // most, 1, phase.h_columns * phase.back_span
            if phase.head < phase.width:
                parts, depth = phase.h_columns, phase.back_span
            if phase.h_columns > 0:
                convert_groups(call, thread, phase.depth_units, groups, 1, parts, depth, phase.w_h_back,
                               to.w_h_back)  # fmt: skip
            if phase.x_columns > 0:
                depth = phase.x_columns * phase.units * lanes
                convert_groups(call, thread, vectors, (vectors + most - 1) // most, 1, 1, depth, phase.w_x_back,
                               to.w_x_back)  # fmt: skip
