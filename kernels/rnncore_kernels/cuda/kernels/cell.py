"""The code of a visit on one row and unit, compiled from a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import types

from ...cells.symbol import Width
from ...codegen.expression import emit
from ...program.program import Code, Output
from ..steps import Steps, Visit
from .functions import I32, from_ir, run_type, values_type
from .point import Point, arrays_type
from .scalar import Scalar

POINT = (types.int64,) * 6
"""Types of `n, t, row, row_here, unit, length`, the last arguments of the functions made here: see `Point`, and the
steps of the row."""

Body = Callable[[Point, list[Scalar], Any], None]


def _make_function(name: str, steps: Steps, dtype: np.dtype[Any], sums: int, body: Body) -> Any:
    """A function `name(run, arrays, sums, *POINT)` for kernels, see `point.POINT`.

    Args:
        name: for error messages.
        steps: the pass.
        dtype: of all values.
        sums: length of the tuple `sums`; without it if 0.
        body: `body(point, sums, length)` writes the instructions.
    """

    def write(b: Any, run: Any, arrays: list[Any], *rest: Any) -> None:
        *given, n, t, row, row_here, unit, length = rest
        point = Point(b, steps, dtype, run, arrays, n=n, t=t, row=row, row_here=row_here, unit=unit)
        body(point, [Scalar(b, value) for values in given for value in values], length)

    of_sums = (values_type(dtype, sums),) if sums else ()
    return from_ir(name, (run_type(), arrays_type(steps), *of_sums, *POINT), None, write)


def make_evaluate(steps: Steps, visit: Visit, dtype: np.dtype[Any]) -> Any:
    """The function that computes the code of a visit.

    `sums` are those of the visit's product. Where that is one of the step before, they are 0 if there was none, and
    missing in the cotangent only where `settle` has not added them.
    """

    def body(point: Point, sums: list[Scalar], length: Any) -> None:
        reader = _Reader(point, steps, visit, sums)
        outputs = visit.code.outputs
        results = emit(visit.code, reader.read, point.constant)
        for output, value in zip(outputs, results, strict=True):
            _write(point, visit, output, value, length)

    return _make_function("evaluate", steps, dtype, steps.sums_of(visit), body)


def make_settle(steps: Steps, visit: Visit, dtype: np.dtype[Any]) -> Any:
    """The function that adds the product of the step before to the cotangent of a state, and writes it."""

    def body(point: Point, sums: list[Scalar], length: Any) -> None:
        assert visit.into is not None
        place = point.grad(visit.into, after=False)
        point.store(place, point.load(place) + sums[0])

    return _make_function("settle", steps, dtype, 1, body)


def make_stay(steps: Steps, visit: Visit, dtype: np.dtype[Any]) -> Any:
    """The function for a row that has no such step: its states stay as they are, all else is 0."""

    def body(point: Point, sums: list[Scalar], length: Any) -> None:
        at = point.grad if steps.backward else point.state
        for state in visit.begins:
            point.store(at(state, after=True), point.load(at(state, after=False)))
            if state == 0 and not steps.backward:
                with point.builder.if_then(point.run.output.is_not(0)):
                    point.store(point.output("output"), point.constant(0.0))
        _clear(point, visit.code, ("operand", "column"))

    return _make_function("stay", steps, dtype, 0, body)


def make_pad(steps: Steps, visit: Visit, dtype: np.dtype[Any]) -> Any:
    """The function for a unit of the padding, which vectors include: its values are 0, as its weights are."""

    def body(point: Point, sums: list[Scalar], length: Any) -> None:
        _clear(point, visit.code, ("new", "operand", "column"))

    return _make_function("pad", steps, dtype, 0, body)


def make_move(steps: Steps, width: Width, dtype: np.dtype[Any], *, enter: bool) -> Any:
    """The function that brings the states of a width from the call's arrays, or writes the last ones back."""

    def body(point: Point, sums: list[Scalar], length: Any) -> None:
        for state in (s for s, of in enumerate(steps.program.states) if of == width):
            given = point.given_state(state)
            # The state before step `steps` is the last.
            here = (point.grad if steps.backward else point.state)(state, after=False)
            source, destination = (given, here) if enter else (here, given)
            point.store(destination, point.load(source))

    return _make_function("move", steps, dtype, 0, body)


def make_blank(steps: Steps, width: Width, dtype: np.dtype[Any]) -> Any:
    """The function for a unit of the padding, before the first step: states are read as vectors."""

    def body(point: Point, sums: list[Scalar], length: Any) -> None:
        for state in (s for s, of in enumerate(steps.program.states) if of == width and not steps.backward):
            point.store(point.state(state, after=False), point.constant(0.0))

    return _make_function("blank", steps, dtype, 0, body)


def _clear(point: Point, code: Code, kinds: tuple[str, ...]) -> None:
    for output in code.outputs:
        if output.kind in kinds:
            point.store(_place(point, output), point.constant(0.0))


def _place(point: Point, output: Output) -> Any:
    kind, index = output.kind, output.number
    if kind in ("new", "grad_state"):
        return (point.state if kind == "new" else point.grad)(index, after=True)
    places = {"operand": point.operand, "saved": point.saved, "carried": point.carried, "column": point.column}
    return places[kind](index)


def _write(point: Point, visit: Visit, output: Output, value: Scalar, length: Any) -> None:
    b, place = point.builder, _place(point, output)
    if output.kind == "saved":
        with b.if_then(point.run.saves.is_not(0)):
            point.store(place, value)
        return
    if output.kind == "grad_state" and output.number not in visit.begins:
        value = point.load(place) + value
    point.store(place, value)
    if (output.kind, output.number) == ("new", 0):
        with b.if_then(point.run.output.is_not(0)):
            point.store(point.output("output"), value)
        is_last = b.icmp_signed("==", (point.run.first + point.t + 1).value, length)
        with b.if_then(b.and_(point.run.last.is_not(0), is_last)):
            point.store(point.last(), value)


class _Reader:
    """The values that the code of a visit reads."""

    def __init__(self, point: Point, steps: Steps, visit: Visit, sums: list[Scalar]) -> None:
        self._point, self._steps, self._visit, self._sums = point, steps, visit, sums
        self._program = steps.program

    def read(self, kind: str, index: int) -> Scalar:
        """The value of a kind and number, see `program.program`."""
        p = self._point
        if kind == "grad":
            return self._grad(index)
        if kind == "product":
            return self._product(index)
        if kind == "x":
            column = next(n for n, c in enumerate(self._program.columns) if c.x == index)
            return p.load(p.bias(column)) + p.load(p.projection(index))
        if kind == "back":
            return self._sums[0]
        if kind == "inverse_size":
            return self._inverse_size()
        if kind == "index":
            return p.constant(0.0).from_bits(self._bits(p.unit.value))
        if kind in ("state", "new"):
            return p.load(p.state(index, after=kind == "new"))
        if kind == "total" and self._steps.backward:
            return p.load(p.kept_total(self._program.kept_totals.index(index)))
        if kind in ("total", "grad_total"):
            totals = self._visit.totals
            return p.load_shared(p.shared_total(totals.index(index), len(totals)))
        places = {
            "carried": p.carried,
            "operand": p.operand,
            "saved": p.saved,
            "unit": p.unit_parameter,
            "scalar": p.scalar,
            "row": p.row_input,
            "unit_input": p.unit_input,
        }
        return p.load(places[kind](index))

    def _product(self, block: int) -> Scalar:
        p, visit = self._point, self._visit
        assert visit.product is not None
        value = self._sums[self._program.products[visit.product].blocks.index(block)]
        column = self._program.column_of_block[block]
        of = self._program.columns[column]
        if of.kind == "projection":
            return value
        added = p.load(p.bias(column))
        if of.x is not None:
            added = p.load(p.projection(of.x)) + added
        return added + value

    def _grad(self, state: int) -> Scalar:
        p, visit = self._point, self._visit
        value = p.load(p.grad(state, after=False))
        if visit.into == state and not visit.settles:
            value = value + self._sums[0]
        if state != 0:
            return value
        b = p.builder
        before, given = b.block, p.run.grad_output.is_not(0)
        with b.if_then(given):
            loaded, there = p.load(p.output("grad_output")), b.block
        phi = b.phi(loaded.value.type)
        phi.add_incoming(loaded.value.type(0.0), before)
        phi.add_incoming(loaded.value, there)
        return value + Scalar(b, phi)

    def _inverse_size(self) -> Scalar:
        return self._point.constant(0.0).from_bits(self._bits(self._point.run.inverse_size.value))

    def _bits(self, word: Any) -> Any:
        """An i64 cut to the length of the dtype."""
        return self._point.builder.trunc(word, I32) if self._point.dtype.itemsize == 4 else word
