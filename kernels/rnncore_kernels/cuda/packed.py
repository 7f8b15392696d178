"""Weights as kernels and products of matrices read them."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from ..cells import Cell
from ..codegen.program import Program, make_program
from ..contract import Array, LayerWeights
from .tile import VECTOR_BYTES


@dataclass(frozen=True)
class CudaPacked:
    """A layer's weights; gates in the order of the program's columns, hidden units padded with zeros to whole vectors.

    Attributes:
        program: the cell.
        hidden: H.
        padded: H rounded up.
        of_x: (gates * padded, I), W_ih.
        bias: (columns, padded); the biases that are added to the same sum are added up.
        forward: of each stage (padded, columns, padded), W_hh: unit, gate, k.
        backward: of each stage (padded, columns * padded), its transpose: k, then gate and unit. None for inference.
        has_bias: whether the layer has biases.
    """

    program: Program
    hidden: int
    padded: int
    of_x: Array
    bias: Array
    forward: Array
    backward: Array | None
    has_bias: bool


def padded_size(hidden: int, itemsize: int) -> int:
    """H rounded up to whole vectors."""
    vector = VECTOR_BYTES // itemsize
    return -(-hidden // vector) * vector


def pack(xp: ModuleType, cell: Cell, weights: LayerWeights, *, copy: bool, backward: bool) -> CudaPacked:
    """See `contract.Engine.pack`."""
    program = make_program(cell)
    gates, hidden, inputs = program.gates, weights.weight_hh.shape[1], weights.weight_ih.shape[1]
    padded = padded_size(hidden, weights.weight_hh.dtype.itemsize)
    order = [gate for stage in program.stages for gate in stage.gates]
    of_x = weights.weight_ih
    if copy or padded != hidden or order != list(range(gates)):
        source = of_x.reshape(gates, hidden, inputs)
        of_x = xp.zeros((gates, padded, inputs), of_x.dtype)
        for number, gate in enumerate(order):
            of_x[number, :hidden] = source[gate]
        of_x = of_x.reshape(gates * padded, inputs)
    recurrent = weights.weight_hh.reshape(gates, hidden, hidden)
    bias = xp.zeros((program.columns, padded), of_x.dtype)
    count = sum(stage.columns - stage.split for stage in program.stages)
    of_h = xp.zeros((padded * count * padded,), of_x.dtype)
    transposed = xp.zeros_like(of_h) if backward else None
    first = 0
    for stage in program.stages:
        columns = stage.columns - stage.split
        place = slice(first, first + padded * columns * padded)
        first = place.stop
        there = of_h[place].reshape(padded, columns, padded)
        back = None if transposed is None else transposed[place].reshape(padded, columns, padded)
        for column, gate in enumerate(stage.recurrent_gates):
            there[:hidden, column, :hidden] = recurrent[gate]
            if back is not None:
                back[:hidden, column, :hidden] = recurrent[gate].T
        if weights.bias_ih is not None and weights.bias_hh is not None:
            of_ih, of_hh = (b.reshape(gates, hidden) for b in (weights.bias_ih, weights.bias_hh))
            for column, gate in enumerate(stage.gates):
                bias[stage.column + column, :hidden] = of_ih[gate]
            for column, gate in enumerate(stage.recurrent_gates):
                bias[stage.column + stage.split + column, :hidden] += of_hh[gate]
    has_bias = weights.bias_ih is not None
    return CudaPacked(program, hidden, padded, of_x, bias, of_h, transposed, has_bias)
