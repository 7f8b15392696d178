"""The code of a phase on rows of some vectors of units, compiled from its expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...codegen.expression import emit
from ...program.program import Code, Place
from ..arguments import BackwardArguments, ForwardArguments, InputArguments, StepArguments, ValueArguments
from ..shape import Shape
from ..vector import ELEMENTS, Vector, first_lanes, numbered
from .ir import I64, PREFIX, Definition, loop, pointer, prefetch, word_pointer

CELL = (
    "run", "step", "r", "n",  # of the thread's rows the first, and how many
    "first", "units", "groups",  # of the units the first, and how many in each of some groups
    "pre_x", "pre_x_row", "pre_x_group",  # columns of x parts, and distances
    "pre", "pre_row", "pre_group",  # all others
    "column",  # distance of columns
    "width",  # units of the phase, in elements
)  # fmt: skip
"""Arguments of the function: sizes and distances in bytes, addresses of the first row."""

COUNTERS = {
    "state": "before", "new": "after", "operand": "index", "saved": "index", "total": "index", "carried": "fresh",
    "grad": "fresh", "grad_state": "fresh", "back": "fresh", "column": "pre",
}  # fmt: skip
"""The number of the thread's first row, in the values of a kind: a field of StepArguments."""

MEMORIES = {
    "state": "history", "new": "history", "operand": "history", "saved": "history", "total": "history",
    "unit": "packed", "scalar": "packed", "inverse_size": "packed", "column": "pre",
}  # fmt: skip
"""Memory that values of a kind are in: a field of the arguments of the kernel; `memory` for others."""


ROWS = {"saved": "saved", "total": "saved", "column": "column"}
"""Values with rows at one distance; all others of a phase have its width, and so the same distance."""


class PhaseCode(NamedTuple):
    """What is compiled for a phase.

    Attributes:
        code: its expressions.
        x: gates whose parts of x it reads, the first columns.
        blocks: the product's blocks, the columns behind these.
        values: numbers of values.
        row_inputs: number of the inputs that have one number a row, before those with units.
        backward: whether totals are those of the forward pass, and the output has a cotangent.
        adds: kinds and numbers of the results that are added to what is there.
        fenced: nodes whose values are rounded before others use them.
    """

    code: Code
    x: Sequence[int]
    blocks: Sequence[int]
    values: Mapping[Place, int]
    row_inputs: int
    backward: bool
    adds: frozenset[Place]
    fenced: frozenset[int]


def make_code(shape: Shape, phase: PhaseCode, name: str) -> Definition:
    """The function of a phase; see CELL."""

    def body(b: Any, *arguments: Any) -> None:
        _Emission(b, shape, phase, dict(zip(CELL, arguments, strict=True))).emit()

    return Definition(PREFIX + name, len(CELL), returns=False, body=body)


class _Emission:
    """The instructions of one function while they are written."""

    def __init__(self, b: Any, shape: Shape, phase: PhaseCode, arguments: Mapping[str, Any]) -> None:
        self._b, self._shape, self._phase, self._a = b, shape, phase, arguments
        self._kind = BackwardArguments if phase.backward else ForwardArguments
        self._threads = self._field("run", "row_threads")
        self._bases: dict[Place, tuple[Any, Any]] = {}
        self._distances: dict[str, Any] = {}
        self._moved: dict[str, Any] = {}
        self._unit_values: dict[Place, Vector] = {}
        self._unit: Any = None
        self._count: Any = None
        self._row: Any = None
        self._pre_x: Any = None
        self._pre: Any = None

    def emit(self) -> None:
        """Loops over groups, units and rows, and the code inside."""
        b, a = self._b, self._a
        reads = list(dict.fromkeys(self._phase.code.reads()))
        for place in dict.fromkeys([*reads, *((o.kind, o.number) for o in self._phase.code.outputs)]):
            self._bases[place] = self._base(*place)
        constants = {place: self._splat(place) for place in reads if place[0] in ("scalar", "inverse_size")}
        self._out = self._table("out_rows")
        with loop(b, a["groups"]) as group, loop(b, a["units"]) as k:
            unit = b.add(b.mul(group, a["units"]), k)
            self._unit = b.mul(unit, I64(self._shape.vector_bytes))
            lanes = b.mul(b.add(a["first"], unit), I64(self._shape.lanes))
            self._count = b.sub(a["width"], lanes)
            self._unit_values = dict(constants)
            for place in reads:
                if place[0] == "unit":
                    self._unit_values[place] = self._load(b.add(self._bases[place][0], self._unit))
                elif place[0] == "index":
                    self._unit_values[place] = numbered(self._zero(), lanes)
            at = b.mul(k, I64(self._shape.vector_bytes))
            self._pre_x = b.add(b.add(a["pre_x"], b.mul(group, a["pre_x_group"])), at)
            self._pre = b.add(b.add(a["pre"], b.mul(group, a["pre_group"])), at)
            with loop(b, a["n"]) as row:
                self._row = row
                self._moved = {rows: b.mul(row, distance) for rows, distance in self._distances.items()}
                self._emit_row()

    def _emit_row(self) -> None:
        results = emit(self._phase.code, self._read, self._zero().constant, self._phase.fenced, Vector.fence)
        for output, value in zip(self._phase.code.outputs, results, strict=True):
            place = output.kind, output.number
            if place in self._phase.adds:
                value = value + self._load(self._at(place))
            if output.kind == "column":
                # Lanes past the last unit may hold anything, and the products run over them.
                value = value.select(first_lanes(value, self._count), 0.0)
            value.store(pointer(self._b, self._at(place)))
            if place == ("new", 0):
                with self._b.if_then(self._b.icmp_signed("!=", self._out, I64(0))):
                    value.store(pointer(self._b, self._in_row(self._out, self._out_unit())), self._count)

    def _zero(self) -> Vector:
        return Vector.full(self._b, self._shape.target, self._shape.dtype, 0)

    def _read(self, kind: str, index: int) -> Vector:
        place, b = (kind, index), self._b
        if place in self._unit_values:
            return self._unit_values[place]
        if kind in ("x", "product"):
            return self._load(self._column(kind, index))
        if kind == "unit_input":
            table, to_next = self._bases[place]
            at = self._in_row(table, self._out_unit())
            # Rows of inputs lie too far apart for the processor to see what comes next.
            prefetch(b, pointer(b, at, to_next))
            return self._load(at, self._count)
        if kind == "row":
            return self._element(self._in_row(self._bases[place][0], I64(0)))
        if kind in ("total", "grad_total"):
            base, row = self._bases[place]
            return self._element(b.add(base, b.mul(self._row, row)))
        value = self._load(self._at(place))
        return self._with_output(value) if place == ("grad", 0) else value

    def _column(self, kind: str, index: int) -> Any:
        """Where the row of a column is."""
        b, a, phase = self._b, self._a, self._phase
        if kind == "x":
            base, row, column = self._pre_x, a["pre_x_row"], phase.x.index(index)
        else:
            base, row, column = self._pre, a["pre_row"], len(phase.x) + phase.blocks.index(index)
        return b.add(b.add(base, b.mul(self._row, row)), b.mul(a["column"], I64(column)))

    def _base(self, kind: str, index: int) -> tuple[Any, Any]:
        """Where the first row of a value and the first unit are, and the distance of the thread's rows."""
        b, a = self._b, self._a
        if kind in ("x", "product", "index"):
            return None, None
        if kind in ("row", "unit_input"):
            number = index + (self._phase.row_inputs if kind == "unit_input" else 0)
            table = b.add(self._table("input_rows"), b.mul(self._field("step", "table_bytes"), I64(number)))
            return table, None if kind == "row" else self._to_next_step(number)
        if kind == "grad_total" or (kind == "total" and not self._phase.backward):
            at = b.add(self._field("step", "totals"), b.mul(self._field("step", "table_bytes"), I64(index)))
            item = I64(self._shape.itemsize)
            return b.add(at, b.mul(a["r"], item)), item
        value = b.add(self._field("run", "values"), I64(8 * len(ValueArguments.names) * self._value(kind, index)))
        offset, row, turn = (b.load(word_pointer(b, value, k)) for k in range(3))
        base = b.add(self._field("run", MEMORIES.get(kind, "memory")), offset)
        if kind in ("grad", "grad_state"):
            parity = self._field("step", "parity")
            base = b.add(base, b.mul(turn, parity if kind == "grad" else b.sub(I64(1), parity)))
        if kind in COUNTERS:
            first = b.add(self._field("step", COUNTERS[kind]), b.mul(a["r"], self._threads))
            base = b.add(base, b.mul(first, row))
        if kind not in ("scalar", "inverse_size", "total"):
            base = b.add(base, b.mul(a["first"], I64(self._shape.vector_bytes)))
        if kind not in COUNTERS:
            return base, None
        distance = b.mul(row, self._threads)
        return base, self._distances.setdefault(ROWS.get(kind, "width"), distance)

    def _to_next_step(self, number: int) -> Any:
        """Bytes from an input at a step to the same at the step that is computed next."""
        b, place = self._b, InputArguments.names.index("step") + len(InputArguments.names) * number
        step = b.load(word_pointer(b, self._field("run", "input_table"), place))
        back = b.icmp_signed("!=" if not self._phase.backward else "==", self._field("run", "reverse"), I64(0))
        return b.select(back, b.neg(step), step)

    def _value(self, kind: str, index: int) -> int:
        return self._phase.values[{"new": "state", "grad_state": "grad"}.get(kind, kind), index]

    def _at(self, place: Place) -> Any:
        """Where the vector of a value is, in this row."""
        moved = self._moved[ROWS.get(place[0], "width")]
        return self._b.add(self._b.add(self._bases[place][0], moved), self._unit)

    def _field(self, who: str, name: str) -> Any:
        names = StepArguments.names if who == "step" else self._kind.names
        return self._b.load(word_pointer(self._b, self._a[who], names.index(name)))

    def _table(self, name: str) -> Any:
        """The table of the addresses of these rows, or 0."""
        b, table = self._b, self._field("step", name)
        moved = b.add(table, b.mul(self._a["r"], I64(8)))
        return b.select(b.icmp_signed("!=", table, I64(0)), moved, I64(0))

    def _in_row(self, table: Any, offset: Any) -> Any:
        """An address in this row of a table."""
        return self._b.add(self._b.load(word_pointer(self._b, table, self._row)), offset)

    def _out_unit(self) -> Any:
        """Offset of this vector of units in a row of the caller's."""
        return self._b.add(self._b.mul(self._a["first"], I64(self._shape.vector_bytes)), self._unit)

    def _load(self, address: Any, count: Any = None) -> Vector:
        return Vector.load(self._b, self._shape.target, self._shape.dtype, pointer(self._b, address), count)

    def _element(self, address: Any) -> Vector:
        element = ELEMENTS[self._shape.dtype]
        place = self._b.inttoptr(address, element.as_pointer())
        return Vector.splat(self._b, self._shape.target, self._b.load(place, align=self._shape.itemsize, typ=element))

    def _splat(self, place: Place) -> Vector:
        return self._element(self._bases[place][0])

    def _with_output(self, grad: Vector) -> Vector:
        """The cotangent of the first state, with that of the output where there is one."""
        b, before = self._b, self._b.block
        with b.if_then(b.icmp_signed("!=", self._out, I64(0))):
            total = grad + self._load(self._in_row(self._out, self._out_unit()), self._count)
            inside = b.block
        value = b.phi(grad.value.type)
        value.add_incoming(grad.value, before)
        value.add_incoming(total.value, inside)
        return Vector(b, value, self._shape.target)
