"""A row and unit in a step: where its values stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba.core import types

from ...cells.symbol import HIDDEN, Width
from ..arguments import Arrays
from ..layout import bias_columns, extent, x_order
from ..steps import Steps
from .functions import ELEMENTS, I64, Int, global_pointer, shared_pointer
from .scalar import Scalar


class Point:
    """A row and unit in a step: the addresses of its values.

    Args:
        b: LLVM's builder.
        steps: the pass.
        dtype: of all values.
        run, arrays: arguments of the kernel.
        n, t: number and time of the step.
        row: of the batch.
        row_here: the row's number in the slice of its block.
        unit: number of the unit.
    """

    def __init__(
        self, b: Any, steps: Steps, dtype: np.dtype[Any], run: Any, arrays: Sequence[Any],
        *, n: Any, t: Any, row: Any, row_here: Any, unit: Any,
    ) -> None:  # fmt: skip
        self.builder, self.steps, self.dtype = b, steps, dtype
        self.run: Any = run
        self.arrays = [Int(b, value) for value in arrays]
        self.n, self.t, self.row, self.row_here, self.unit = (Int(b, value) for value in (n, t, row, row_here, unit))
        self.program = steps.program
        self.places = Arrays.of(steps)
        self._columns = [column.width for column in self.program.columns]

    def elements(self, widths: Sequence[Width]) -> Int:
        """The padded units of some values."""
        number = extent(widths, self.dtype.itemsize)
        elements: Int = self.run.padded * number.hidden + number.constant
        return elements

    def state(self, index: int, *, after: bool) -> Int:
        """A state before or after the step."""
        slot = self.t + (1 - self.run.reverse if after else self.run.reverse)
        return self._value(self.places.states + index, self.program.states[index], slot & self.run.slot_mask)

    def grad(self, index: int, *, after: bool) -> Int:
        """The cotangent of a state before or after a step of the backward pass."""
        return self._value(self.places.grads + index, self.program.states[index], (self.n + int(after)) & 1)

    def operand(self, index: int) -> Int:
        """An operand of a product."""
        slot = self.t & self.run.slot_mask
        return self._value(self.places.operands + index, self.program.operands[index], slot)

    def saved(self, index: int) -> Int:
        """A value that the forward pass saves."""
        return self._value(self.places.saved + index, self.program.saved[index], self.t)

    def carried(self, index: int) -> Int:
        """A value that later phases read."""
        return self._value(self.places.carried + index, self.steps.values.carried[index], 0)

    def column(self, index: int) -> Int:
        """A column of the backward pass."""
        row = (self.t * self.run.batch + self.row) * self.elements(self._columns)
        return self._at(self.run.columns + self.arrays[self.places.columns + index], row + self.unit)

    def projection(self, gate: int) -> Int:
        """W_ih x of a gate, by its place among those that have input weights."""
        order = x_order(self.program)
        row = (self.t * self.run.batch + self.row) * len(order) * self.run.padded
        return self._at(self._at(self.run.projection, self.run.padded * order.index(gate)), row + self.unit)

    def bias(self, column: int) -> Int:
        """The bias of an x part or block of a gate, by its column."""
        first = self.run.padded * bias_columns(self.program).index(column)
        return self._at(self._at(self.run.bias, first), self.unit)

    def kept_total(self, place: int) -> Int:
        """A sum over units that is kept for the backward pass."""
        row = (self.run.steps * place + self.t) * self.run.batch + self.row
        return self._at(self.run.totals, row)

    def partial(self, total: int) -> Int:
        """The sums of the slices of a row."""
        row = ((self.n & 1) * len(self.steps.values.totals) + total) * self.run.batch + self.row
        return self._at(self.run.partial, row * self.run.slices)

    def shared_total(self, place: int, count: int) -> Int:
        """Offset in shared memory of one of so many totals of a row."""
        return self._at(self.run.totals_at, self.row_here * count + place)

    def output(self, kind: str) -> Int:
        """The element of `output` or `grad_output`."""
        step, row = getattr(self.run, f"{kind}_step"), getattr(self.run, f"{kind}_row")
        return self._at(getattr(self.run, kind) + self.t * step + self.row * row, self.unit)

    def last(self) -> Int:
        """The element of `last`."""
        return self._at(self.run.last + self.row * self.run.last_row, self.unit)

    def given_state(self, index: int) -> Int:
        """A state or cotangent of the call, whose rows are not padded."""
        return self._at(self.arrays[index], self.row * self.units(self.program.states[index]) + self.unit)

    def unit_parameter(self, index: int) -> Int:
        """A parameter of the unit."""
        return self._at(self.arrays[self.places.units + index], self.unit)

    def scalar(self, index: int) -> Int:
        """A parameter of all."""
        return self.arrays[self.places.scalars + index]

    def row_input(self, index: int) -> Int:
        """An input of the row."""
        return self._of_call(self.places.rows + 3 * index)

    def unit_input(self, index: int) -> Int:
        """An input of the row and unit."""
        return self._at(self._of_call(self.places.unit_inputs + 3 * index), self.unit)

    def _of_call(self, place: int) -> Int:
        address, step, row = self.arrays[place : place + 3]
        return address + self.t * step + self.row * row

    def _value(self, place: int, width: Width, slot: Int | int) -> Int:
        row = (self.run.batch * slot + self.row) * self.elements([width])
        return self._at(self.arrays[place], row + self.unit)

    def units(self, width: Width) -> Int:
        """The units of a width."""
        return self.run.hidden if width == HIDDEN else Int(self.builder, I64(width))

    def _at(self, base: Int, element: Int) -> Int:
        return base + element * self.dtype.itemsize

    def load(self, address: Int) -> Scalar:
        """The number at an address."""
        return Scalar(self.builder, self.builder.load(global_pointer(self.builder, address.value, self._element)))

    def store(self, address: Int, value: Scalar) -> None:
        """Write the number at an address."""
        self.builder.store(value.value, global_pointer(self.builder, address.value, self._element))

    def load_shared(self, offset: Int) -> Scalar:
        """The number at an offset in shared memory."""
        return Scalar(self.builder, self.builder.load(shared_pointer(self.builder, offset.value, self._element)))

    def store_shared(self, offset: Int, value: Scalar) -> None:
        """Write the number at an offset in shared memory."""
        self.builder.store(value.value, shared_pointer(self.builder, offset.value, self._element))

    def constant(self, number: float) -> Scalar:
        """A number in the dtype."""
        return Scalar(self.builder, self._element(0.0)).constant(number)

    @property
    def _element(self) -> Any:
        return ELEMENTS[self.dtype]


def arrays_type(steps: Steps) -> Any:
    """Numba's type of the kernel's `arrays`."""
    return types.UniTuple(types.int64, Arrays.of(steps).length)
