"""The sizes of a layer that follow from its cell, hidden and input size: the same for all layers alike."""

from __future__ import annotations

import functools
from itertools import accumulate
from typing import Any

import numpy as np

from ..cells import Cell
from ..codegen.program import Program, make_program
from . import kernels
from .fields.bf16x3 import BLOCK_BYTES
from .fields.bf16x3 import column_bytes as bf16_column_bytes
from .fields.stage import (
    BACKWARD,
    CARRY_IN,
    CARRY_OUT,
    COLUMN,
    COLUMNS,
    FORWARD,
    GATES,
    GATES_BEFORE,
    GRADS_IN,
    GRADS_OUT,
    H_GATES,
    SPLIT,
    STAGE_WORDS,
    X_GATES,
)
from .memory import Words, make_words, spread, words_address
from .shape import Shape
from .toolchain import Library


class Layer:
    """Sizes of a layer, in bytes where they end in `_bytes`, and the words of its cell's stages.

    Attributes:
        shape, program, hidden, inputs: what the layer is.
        units: vectors of hidden units.
        row_bytes: of a row of `units` vectors.
        groups: groups of hidden units that threads can divide in the forward pass.
        back_groups: the same in the backward pass.
        carries: values that stages pass on, beside operands; `carried` with these.
        sizes: bytes of the packed W_ih, W_hh, bias, and for the backward pass W_hh and W_ih.
        bf16_sizes: bytes of W_ih, W_hh, and for the backward pass W_hh and W_ih, in three parts, see `code.bf16x3`.
        forward_kernels: `pack` and `forward`.
        infer_table, keep_table: addresses of the words of the stages, see `fields.stage`.
    """

    def __init__(self, shape: Shape, program: Program, hidden: int, inputs: int) -> None:
        self.shape, self.program, self.hidden, self.inputs = shape, program, hidden, inputs
        vector, stages = shape.vector_bytes, program.stages
        self.units = -(-hidden // shape.lanes)
        self.row_bytes = row = self.units * vector
        most_units = [max(1, shape.columns // len(stage.gates)) for stage in stages]
        self.groups = min(-(-self.units // most) for most in most_units)
        self.back_groups = -(-self.units // shape.columns)
        self.columns_bytes = program.columns * row
        self.kept_row = spread(program.kept * row)
        self.pre_row = spread(self.columns_bytes)
        self.later_stages = len(stages) - 1
        self.carries = sum(stage.inputs - 1 for stage in stages[1:])
        self.carried = sum(stage.inputs for stage in stages[1:])
        widest = max(stage.columns * most for stage, most in zip(stages, most_units, strict=True))
        self.pre_vectors = max(widest, 4 * max(stage.columns for stage in stages))
        gate_row = program.gates * row
        depth = program.gates * self.units * shape.lanes
        inputs_row = -(-inputs // shape.lanes) * vector
        self.sizes = (gate_row * inputs, gate_row * hidden, self.columns_bytes, depth * row, depth * inputs_row)
        self.bf16_sizes = self._bf16_sizes()
        self.weights = program.gates * hidden * (hidden + inputs)
        self.recurrent_weights = program.gates * hidden * hidden
        self.recurrent_bytes = self.recurrent_weights * shape.itemsize
        self.infer_table, self.keep_table, self._memory = _tables(shape, program)
        self.forward_kernels = kernels.forward_kernels(shape)

    def _bf16_sizes(self) -> tuple[int, int, int, int]:
        lanes, gates = self.shape.lanes, self.program.gates
        # Each stage's gates begin with a block of their own.
        back = bf16_column_bytes(gates * self.units * lanes) + len(self.program.stages) * BLOCK_BYTES
        of_x, of_h = (gates * self.units * bf16_column_bytes(depth) for depth in (self.inputs, self.hidden))
        return of_x, of_h, back * self.units, back * -(-self.inputs // lanes)

    @functools.cached_property
    def backward_kernels(self) -> Library:
        """`pack_back` and `backward`."""
        return kernels.backward_kernels(self.shape)


@functools.lru_cache(maxsize=1024)
def make_layer(cell: Cell, dtype: np.dtype[Any], hidden: int, inputs: int) -> Layer:
    """The one `Layer` of these sizes."""
    return Layer(kernels.host_shape(dtype), make_program(cell), hidden, inputs)


@functools.lru_cache(maxsize=256)
def _tables(shape: Shape, program: Program) -> tuple[int, int, tuple[list[Words], Library]]:
    """Addresses of the words of the stages for inference and for training, and what they refer to."""
    library = kernels.cell_functions(shape, program)
    stages = program.stages
    inputs = [stage.inputs for stage in stages]
    before = list(accumulate((len(stage.gates) for stage in stages), initial=0))
    memory: list[Words] = []
    infer: list[int] = []
    keep: list[int] = []
    for number, stage in enumerate(stages):
        x_gates, h_gates = make_words(list(stage.gates)), make_words(list(stage.recurrent_gates))
        memory += [x_gates, h_gates]
        first, last = number == 0, number == len(stages) - 1
        carry_in = sum(count - 1 for count in inputs[1:number])
        values = {
            GATES: len(stage.gates),
            SPLIT: stage.split,
            COLUMNS: stage.columns,
            COLUMN: stage.column,
            GATES_BEFORE: before[number],
            X_GATES: words_address(x_gates),
            H_GATES: words_address(h_gates),
            CARRY_IN: carry_in,
            CARRY_OUT: carry_in + (0 if first else stage.inputs - 1),
            GRADS_IN: 0 if first else program.states + sum(inputs[1:number]),
            GRADS_OUT: 0 if last else program.states + sum(inputs[1 : number + 1]),
            BACKWARD: library.addresses[f"backward_{number}"],
        }
        for table, kind in ((infer, "forward_{}"), (keep, "forward_{}_keep")):
            values[FORWARD] = library.addresses[kind.format(number)]
            table += [values[place] for place in range(STAGE_WORDS)]
    tables = [make_words(infer), make_words(keep)]
    return words_address(tables[0]), words_address(tables[1]), (memory + tables, library)
