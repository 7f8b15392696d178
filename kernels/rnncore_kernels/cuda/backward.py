"""The backward pass of a layer in one direction: one launch for the columns, then sums and products over all steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

from ..contract import Array, BackwardRun, Inputs, LayerGradients, LayerWeights
from ..program.program import Column, Product, rows_of, units_of
from .device import Device
from .forward import ALL, Residuals, matrix
from .launch import launch, make_values
from .layout import columns_of, extent
from .pack import CudaPacked
from .steps import backward_steps


def backward(device: Device, run: BackwardRun[CudaPacked, Residuals]) -> LayerGradients:
    """See `contract.Engine.backward`."""
    gradients = _Gradients(device, run)
    x = gradients.of_x()
    weight_ih, (weight_hh, projections) = gradients.weight_ih(), gradients.of_products()
    bias_ih, bias_hh = gradients.biases()
    sums = gradients.sums()
    weights = LayerWeights(
        weight_ih, weight_hh, bias_ih, bias_hh, projections, tuple(sums["unit"]), tuple(sums["scalar"])
    )
    return LayerGradients(x, weights, Inputs(tuple(sums["row"]), tuple(sums["unit_input"])))


def cleared(xp: ModuleType, sequence: Array, inside: Array | None) -> Array:
    """A sequence with 0 past the ends of rows."""
    if inside is None:
        return sequence
    result: Array = xp.where(inside[:, :, None], sequence, sequence.dtype.type(0))
    return result


class _Gradients:
    """The gradients of a run, from the columns (T, B, columns) of its backward pass."""

    def __init__(self, device: Device, run: BackwardRun[CudaPacked, Residuals]) -> None:
        self._device, self._residuals, packed = device, run.residuals, run.packed
        self._grad_units = run.grad_units
        self._xp, self._packed, self._program = device.xp, packed, packed.program
        self._hidden, self._inputs, self._dtype, self._heads, _ = packed.sizes
        self._steps, self._batch, _ = run.residuals.x.shape
        self._any = self._steps > 0 and self._batch > 0
        widths, itemsize = [column.width for column in self._program.columns], self._dtype.itemsize
        self._starts = [extent(widths[:n], itemsize).of(packed.padded) for n in range(len(widths) + 1)]
        self._columns = self._xp.empty((self._steps, self._batch, self._starts[-1]), self._dtype)
        # Past a row's end its columns are 0, but its last state is there, and weights are, which may be infinite.
        self._inside = run.residuals.ends.inside(self._xp, self._steps)
        if self._any:
            self._launch(run)

    def of_x(self) -> Array:
        """(T, B, I)."""
        result: Array = self._xp.zeros((self._steps, self._batch, self._inputs), self._dtype)
        if not self._any or not self._inputs:
            return result
        flat = result.reshape(self._steps * self._batch, self._inputs)
        for number, (part, weights) in enumerate(self._x_parts()):
            self._device.multiply(part, self._packed.weight_x[weights], flat, accumulate=number > 0)
        return cleared(self._xp, result, self._inside)

    def weight_ih(self) -> Array | None:
        """(Gx*H, I)."""
        order, padded = [x for columns in columns_of(self._program) for x in columns.x], self._packed.padded
        if not order:
            return None
        product = self._xp.zeros((len(order) * padded, self._inputs), self._dtype)
        if self._any and self._inputs:
            x = matrix(self._device, self._residuals.x)
            for part, weights in self._x_parts():
                self._device.multiply(part.T, x, product[weights])
        result = self._xp.empty((len(order), self._hidden, self._inputs), self._dtype)
        for place, gate in enumerate(order):
            result[gate] = product[place * padded : place * padded + self._hidden]
        flat: Array = result.reshape(len(order) * self._hidden, self._inputs)
        return flat

    def of_products(self) -> tuple[Array | None, tuple[Array, ...]]:
        """Gradients of W_hh (Gh*H, P) and of the projections."""
        gates, program = len(self._program.h_gates), self._program
        columns_hh = self._units(program.output_width) // self._heads
        weight_hh = self._zeros(gates * self._hidden, columns_hh) if gates else None
        projections = tuple(self._zeros(self._units(width), self._units(inner)) for width, inner in program.projections)
        for columns in columns_of(program) if self._any else ():
            product = next((p for p in program.products if p.blocks and p.blocks == columns.blocks), None)
            if product is None:
                continue
            operand = cleared(self._xp, self._operand(product), self._inside)
            operand = operand.reshape(self._steps * self._batch, operand.shape[2])
            part = self._part(columns.first_block, len(product.blocks))
            gradients = LayerWeights(None, weight_hh, None, None, projections)
            of_blocks = [gradients.of_block(program.blocks[number], self._hidden) for number in product.blocks]
            if self._heads > 1:
                for place, (number, gradient) in enumerate(zip(product.blocks, of_blocks, strict=True)):
                    here = self._part(columns.first_block + place, 1)
                    self._add_heads(here, operand, gradient, program.blocks[number].heads_of(self._heads))
                continue
            products = self._xp.empty((part.shape[1], operand.shape[1]), self._dtype)
            self._device.multiply(part.T, operand, products)
            parts = products.reshape(len(of_blocks), -1, operand.shape[1])
            for gradient, values in zip(of_blocks, parts, strict=True):
                # Added, as a gate may multiply several operands.
                gradient += values[: len(gradient), : gradient.shape[1]]
        return weight_hh, projections

    def _add_heads(self, part: Array, operand: Array, gradient: Array, heads: int) -> None:
        """Add the products of a block's columns and an operand, head by head."""
        units, inner = len(gradient) // heads, gradient.shape[1]
        for head in range(heads):
            rows = rows_of(head, units)
            self._device.multiply(part[:, rows].T, operand[:, rows_of(head, inner)], gradient[rows], accumulate=True)

    def biases(self) -> tuple[Array | None, Array | None]:
        """Gradients of b_ih (Gx*H,) and b_hh (Gh*H,)."""
        if not self._packed.has_bias:
            return None, None
        hidden, program = self._hidden, self._program
        of_x, of_h = self._zeros(len(program.x_gates) * hidden), self._zeros(len(program.h_gates) * hidden)
        sums = self._columns.sum(axis=(0, 1))
        for number, column in enumerate(program.columns):
            there = sums[self._starts[number] : self._starts[number] + hidden]
            if column.kind == "gate" and column.x is not None:
                of_x[rows_of(column.x, hidden)] += there
            if column.kind == "gate" and column.block is not None:
                gate = program.blocks[column.block].gate
                assert gate is not None
                of_h[rows_of(gate, hidden)] += there
        return of_x if program.x_gates else None, of_h if program.h_gates else None

    def sums(self) -> dict[str, list[Array]]:
        """Gradients of parameters and inputs, by kind."""
        program, steps, batch = self._program, self._steps, self._batch
        for array in self._grad_units:
            array[...] = 0
        others = program.unit_inputs[len(self._grad_units) :]
        result = {
            "unit": [self._zeros(self._hidden) for _ in range(program.units)],
            "scalar": [self._zeros() for _ in range(program.scalars)],
            "row": [self._zeros(steps, batch) for _ in range(program.row_inputs)],
            "unit_input": [*self._grad_units, *[self._zeros(steps, batch, self._units(width)) for width in others]],
        }
        axes: dict[str, Any] = {"unit": (0, 1), "scalar": None, "row": 2}
        for number, column in enumerate(program.columns):
            if column.kind in result:
                values_here = self._values(number, column)
                if column.kind in axes:
                    values_here = values_here.sum(axis=axes[column.kind])
                result[column.kind][column.number][...] += values_here
        return result

    def _launch(self, run: BackwardRun[CudaPacked, Residuals]) -> None:
        residuals, packed, grad = run.residuals, run.packed, run.grad_output
        arguments = {
            "steps": self._steps,
            "first": 0,
            "reverse": int(residuals.reverse),
            "slot_mask": ALL,
            "totals": residuals.totals,
            "columns": self._columns,
            "grad_output": grad,
            "grad_output_step": 0 if grad is None else grad.strides[0],
            "grad_output_row": 0 if grad is None else grad.strides[1],
        }
        values = replace(
            residuals.values,
            grads=make_values(self._device, self._program.states, 2, self._batch, packed),
            columns=tuple(start * self._dtype.itemsize for start in self._starts[:-1]),
        )
        steps, inputs = backward_steps(self._program), run.inputs or residuals.inputs
        launch(self._device, steps, packed, residuals.ends, run.grad_state, inputs, values, arguments)

    def _x_parts(self) -> Iterator[tuple[Array, slice]]:
        """The columns (T * B, width) of W_ih x that stand side by side, and their rows of `weight_x`."""
        first, padded = 0, self._packed.padded
        for columns in columns_of(self._program):
            if columns.x:
                last = first + len(columns.x) * padded
                yield self._part(columns.first, len(columns.x)), slice(first, last)
                first = last

    def _part(self, first: int, count: int) -> Array:
        flat: Array = self._columns.reshape(self._steps * self._batch, self._starts[-1])
        return flat[:, self._starts[first] : self._starts[first + count]]

    def _values(self, number: int, column: Column) -> Array:
        start = self._starts[number]
        part: Array = self._columns[:, :, start : start + self._units(column.width)]
        return part

    def _operand(self, product: Product) -> Array:
        """The operand of a product (T, B, padded units)."""
        kind, index = product.operand
        if kind == "operand":
            return self._residuals.values.operands[index]
        states = self._residuals.values.states[index]
        return states[1:] if self._residuals.reverse == (kind == "state") else states[:-1]

    def _units(self, width: int) -> int:
        return units_of(width, self._hidden)

    def _zeros(self, *shape: int) -> Array:
        zeros: Array = self._xp.zeros(shape, self._dtype)
        return zeros
