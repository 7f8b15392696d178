"""Sums over the units of a row.

Each thread that reads one computes it, from the stored row, vector by vector in the same order: no bit depends on how
many threads there are.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ...codegen.value import FLAGS
from ..arguments import RunArguments, StepArguments
from ..shape import Shape
from ..vector import ELEMENTS, Vector
from .calls import total_at, value_at
from .emitted import compiled, emitted
from .ir import I64, loop, pointer, word_pointer


def make_sum_units(shape: Shape) -> Any:
    """`sum_units(source, row, n, width, target, target_row)`: of n rows at a distance, one element each."""

    def body(b: Any, source: Any, row: Any, n: Any, width: Any, target: Any, target_row: Any) -> None:
        total, whole, rest = _prepare(b, shape, width)
        with loop(b, n) as q:
            at = b.add(source, b.mul(q, row))
            result = _sum_row(b, shape, total, at, whole, rest)
            _store(b, shape, result, b.add(target, b.mul(q, target_row)))

    names = ("source", "row", "n", "width", "target", "target_row")
    return emitted(f"sum_units_{shape.dtype.name}", names, body)


def make_add_units(shape: Shape) -> Any:
    """`add_units(source, row, n, width, targets)`: the same, added to the elements of a table of addresses."""

    def body(b: Any, source: Any, row: Any, n: Any, width: Any, targets: Any) -> None:
        total, whole, rest = _prepare(b, shape, width)
        with loop(b, n) as q:
            at = b.add(source, b.mul(q, row))
            result = _sum_row(b, shape, total, at, whole, rest)
            to = b.load(word_pointer(b, targets, q))
            element = ELEMENTS[shape.dtype]
            old = b.load(b.inttoptr(to, element.as_pointer()), align=shape.itemsize, typ=element)
            _store(b, shape, b.fadd(old, result), to)

    return emitted(f"add_units_{shape.dtype.name}", ("source", "row", "n", "width", "targets"), body)


def make_sum_totals(shape: Shape) -> Any:
    """`sum_totals(run, step, totals, count)`: the sums that a phase begins with, of all the thread's rows."""
    item, sum_units = shape.itemsize, make_sum_units(shape)

    @compiled("sum_totals")
    def sum_totals(run: RunArguments, step: StepArguments, totals: int, count: int) -> None:
        for number in range(count):
            total = total_at(totals, number)
            value = value_at(run.values, total.value)
            base, row = run.memory + value.offset + step.fresh * value.row, run.row_threads * value.row
            sum_units(base, row, step.rows, total.width, step.totals + total.index * step.table_bytes, item)
            if total.kept >= 0 and step.unit_thread == 0:
                kept = value_at(run.values, total.kept)
                to = run.history + kept.offset + step.index * kept.row
                sum_units(base, row, step.rows, total.width, to, run.row_threads * kept.row)

    return sum_totals


def _prepare(b: Any, shape: Shape, width: Any) -> tuple[Any, Any, Any]:
    """Room for a vector, and how many whole vectors and elements behind them a row has."""
    total, whole = b.alloca(ir.VectorType(ELEMENTS[shape.dtype], shape.lanes)), b.udiv(width, I64(shape.lanes))
    return total, whole, b.sub(width, b.mul(whole, I64(shape.lanes)))


def _sum_row(b: Any, shape: Shape, total: Any, at: Any, whole: Any, rest: Any) -> Any:
    # What is behind the last unit may be anything.
    behind = pointer(b, b.add(at, b.mul(whole, I64(shape.vector_bytes))))
    b.store(Vector.load(b, shape.target, shape.dtype, behind, rest).value, total)
    with loop(b, whole) as u:
        value = Vector.load(b, shape.target, shape.dtype, pointer(b, b.add(at, b.mul(u, I64(shape.vector_bytes)))))
        b.store((Vector(b, b.load(total), shape.target) + value).value, total)
    value, lanes = b.load(total), shape.lanes
    while lanes > 1:
        lanes //= 2
        index = ir.IntType(32)
        halves = [
            b.shuffle_vector(
                value, value, ir.Constant(ir.VectorType(index, lanes), [index(k + first) for k in range(lanes)])
            )
            for first in (0, lanes)
        ]
        value = b.fadd(*halves, flags=FLAGS)
    return b.extract_element(value, ir.IntType(32)(0))


def _store(b: Any, shape: Shape, value: Any, address: Any) -> None:
    b.store(value, b.inttoptr(address, ELEMENTS[shape.dtype].as_pointer()), align=shape.itemsize)
