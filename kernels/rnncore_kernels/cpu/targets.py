"""The gradients that the backward pass writes, and what becomes of them when it is done."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..alignment import address
from ..contract import Array, Inputs, LayerGradients, LayerWeights, Rows
from .arguments import NOT_AT_ALL, OVER_ROWS, OVER_UNITS, InputArguments, SumArguments
from .buffer_pool import empty
from .layer import LayerSizes
from .memory import words_address
from .packed import CpuPacked, matrix_words
from .tables import EMPTY, Table, make_table

SUMS = {"unit": OVER_ROWS, "scalar": OVER_ROWS, "row": OVER_UNITS, "unit_input": NOT_AT_ALL}
"""How the columns of a kind are summed; those of scalars over units too, when all rows are."""


def input_table(inputs: Inputs) -> Table:
    """InputArguments of inputs, or of their gradients."""
    entries = [
        InputArguments(base=address(array), step=array.strides[0], row=array.strides[1])
        for array in (*inputs.rows, *inputs.units)
    ]
    return make_table(InputArguments, entries) if entries else EMPTY


@functools.lru_cache(maxsize=1024)
def _gate_shapes(layer: LayerSizes, has_bias: tuple[bool, bool]) -> list[tuple[int, ...] | None]:
    """The shapes of W_ih, W_hh and their biases, None where there are none."""
    program = layer.program
    rows = [len(gates) * layer.hidden for gates in (program.x_gates, program.h_gates)]
    widths = [layer.inputs, layer.width(program.output_width) // layer.heads]
    weights = [(count, width) if count else None for count, width in zip(rows, widths, strict=True)]
    return [*weights, *[(count,) if count and has else None for count, has in zip(rows, has_bias, strict=True)]]


class Targets:
    """The gradients of a run, and the arguments by which the kernel finds them.

    Attributes:
        gradients: what the caller gets.
        matrices: address of MatrixArguments.
        inputs: InputArguments of the gradients of inputs.
        sums: SumArguments of columns whose sums are gradients.
    """

    def __init__(self, packed: CpuPacked, x: Array, inputs: Inputs, rows: Rows, grad_units: tuple[Array, ...]) -> None:
        layer, program = packed.layer, packed.layer.program
        dtype, hidden, (steps, batch, _) = layer.shape.dtype, layer.hidden, x.shape
        make: Callable[..., Array] = empty if steps * batch else np.zeros
        make_input: Callable[..., Array] = empty if rows.batch_sizes is None else np.zeros
        shapes = _gate_shapes(layer, packed.has_bias)
        weight_ih, weight_hh, bias_ih, bias_hh = [None if s is None else make(s, dtype) for s in shapes]
        weights = LayerWeights(
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
            tuple([make((layer.width(out), layer.width(of)), dtype) for out, of in program.projections]),
            tuple([np.zeros(hidden, dtype) for _ in range(program.units)]),
            tuple([np.zeros((), dtype) for _ in range(program.scalars)]),
        )
        written = {column.number for column in program.columns if column.kind == "unit_input"}
        if rows.batch_sizes is not None:
            for array in grad_units:
                array[...] = 0
        first = len(grad_units)
        new = [
            (make_input if k in written else np.zeros)(a.shape, dtype)
            for k, a in enumerate(inputs.units[first:], first)
        ]
        grad_inputs = Inputs(tuple([np.zeros((steps, batch), dtype) for _ in inputs.rows]), (*grad_units, *new))
        self.gradients = LayerGradients(make_input(x.shape, dtype), weights, grad_inputs)
        self._layer, self._others = layer, self._second_ones(layer, weights)
        self._matrices = matrix_words(weights, self._others)
        self.matrices = words_address(self._matrices)
        self.inputs = input_table(grad_inputs)
        self._of_scalars: list[tuple[int, Array]] = []
        self.sums = self._sums() if layer.has_sums else EMPTY

    def finish(self) -> LayerGradients:
        """The gradients, when the kernel has run."""
        if not self._others and not self._of_scalars:
            return self.gradients
        weights, program = self.gradients.weights, self._layer.program
        for number, (weight, bias) in zip(self._layer.second_blocks, self._others, strict=True):
            gate, matrix = program.blocks[number].gate, weights.weight_hh
            assert gate is not None
            assert matrix is not None
            rows = slice(gate * self._layer.hidden, (gate + 1) * self._layer.hidden)
            matrix[rows] += weight
            if weights.bias_hh is not None and bias is not None:
                weights.bias_hh[rows] += bias
        for number, sums in self._of_scalars:
            weights.scalars[number][...] += sums.sum()
        return self.gradients

    @staticmethod
    def _second_ones(layer: LayerSizes, weights: LayerWeights) -> list[tuple[Array, Array | None]]:
        """Gradients of their own for the second blocks of gates."""
        made: list[tuple[Array, Array | None]] = []
        for _ in layer.second_blocks:
            assert weights.weight_hh is not None
            weight = np.zeros((layer.hidden, weights.weight_hh.shape[1]), layer.shape.dtype)
            made.append((weight, None if weights.bias_hh is None else np.zeros(layer.hidden, weight.dtype)))
        return made

    def _sums(self) -> Table:
        layer, entries = self._layer, []
        for number, column in enumerate(layer.program.columns):
            if column.kind not in SUMS:
                continue
            width, target = layer.width(column.width), column.number
            if column.kind == "unit":
                target = address(self.gradients.weights.units[column.number])
            elif column.kind == "scalar":
                self._of_scalars.append((column.number, np.zeros(width, layer.shape.dtype)))
                target = address(self._of_scalars[-1][1])
            elif column.kind == "unit_input":
                target += layer.program.row_inputs
            sizes: dict[str, Any] = {"width": width, "units": layer.vectors(width), "place": layer.columns[number]}
            entries.append(SumArguments(kind=SUMS[column.kind], target=target, **sizes))
        return make_table(SumArguments, entries)
