"""Gradients of a layer's weights, x and inputs from what the NumPy engine's backward pass found for each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..contract import Array, Inputs, LayerGradients, Run
from ..program.program import rows_of, units_of
from .operations import Values
from .packed import NumpyPacked, by_head, mapped


def gradients(
    run: Run[NumpyPacked],
    tape: Sequence[Values],
    places: Sequence[tuple[int, Array | slice, int]],
    columns: Sequence[list[Array]],
    grad_units: tuple[Array, ...],
) -> LayerGradients:
    """Sums and products over all steps of the columns, (rows of all steps, width) each, from the last step on.

    Places are steps, their rows and the number of these. Rows past their end are left out: 0 times an infinite state
    would be NaN.
    """
    program, sizes, rounded = run.packed.program, run.packed.sizes, run.packed.rounded
    weights = mapped(run.packed.weights, np.zeros_like)
    for array in grad_units:
        array[...] = 0
    others = map(np.zeros_like, run.inputs.units[len(grad_units) :])
    inputs = Inputs(tuple(map(np.zeros_like, run.inputs.rows)), (*grad_units, *others))
    x = rounded(_joined([run.x[t, rows] for t, rows, _ in places], sizes.inputs, sizes.dtype))
    grad_x = np.zeros((len(x), sizes.inputs), sizes.dtype)

    def scattered(target: Array, flat: Array) -> None:
        first = 0
        for t, rows, n in places:
            target[t, rows] = flat[first : first + n]
            first += n

    row_parts: dict[int, Array] = {}
    for column, parts in zip(program.columns, columns, strict=True):
        d = _joined(parts, units_of(column.width, sizes.hidden), sizes.dtype)
        if column.x is not None:
            rows = rows_of(column.x, sizes.hidden)
            weight_ih, bias_ih = weights.weight_ih, weights.bias_ih
            assert weight_ih is not None
            assert run.packed.weights.weight_ih is not None
            weight_ih[rows] = rounded(d).T @ x
            grad_x += rounded(d) @ run.packed.weights.weight_ih[rows]
            if bias_ih is not None:
                bias_ih[rows] = d.sum(axis=0)
        if column.block is not None:
            block = program.blocks[column.block]
            product = next(p for p in program.products if column.block in p.blocks)
            width = units_of(product.operand_width, sizes.hidden)
            operand = _joined([values[product.operand] for values in reversed(tape)], width, sizes.dtype)
            # Added, as a gate may multiply several operands.
            gradient, heads = weights.of_block(block, sizes.hidden), len(run.packed.blocks[column.block])
            factors = by_head(rounded(d), heads).swapaxes(1, 2), by_head(rounded(operand), heads)
            gradient += (factors[0] @ factors[1]).reshape(gradient.shape)
            if block.gate is not None and weights.bias_hh is not None:
                weights.bias_hh[rows_of(block.gate, sizes.hidden)] += d.sum(axis=0)
        elif column.kind == "unit":
            weights.units[column.number][...] = d.sum(axis=0)
        elif column.kind == "scalar":
            weights.scalars[column.number][...] += d.sum()
        elif column.kind == "row":
            row_parts[column.number] = row_parts.get(column.number, 0) + d.sum(axis=1)
        elif column.kind == "unit_input":
            scattered(inputs.units[column.number], d)
    for index, flat in row_parts.items():
        scattered(inputs.rows[index], flat)
    result = np.zeros(run.x.shape, sizes.dtype)
    scattered(result, grad_x)
    return LayerGradients(result, weights, inputs)


def _joined(parts: list[Array], width: int, dtype: np.dtype[Any]) -> Array:
    return np.concatenate(parts) if parts else np.empty((0, width), dtype)
