"""Dropout of sequences: random numbers are drawn where the values are read, and not kept."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ...codegen.philox import BITS, philox
from ..dropout import DropArguments
from ..shape import Shape
from ..vector import Vector, numbered, repeated
from .emitted import compiled, emitted
from .ir import I64, loop, pointer


def make_drop(shape: Shape) -> None:
    """Define the kernel `drop(run, thread)`, see `dropout.DropArguments`: each thread has a part of all rows."""

    def body(
        b: Any, place: Any, width: Any, row: Any, step: Any, first: Any, second: Any, least: Any, scale: Any
    ) -> None:
        zero = Vector.full(b, shape.target, shape.dtype, 0)
        factor = b.bitcast(scale, ir.DoubleType())
        if zero.value.type.element != factor.type:
            factor = b.fptrunc(factor, zero.value.type.element)
        factors = Vector.splat(b, shape.target, factor)
        quarter = b.udiv(b.add(width, I64(3)), I64(4))
        of_row, of_step, *key = (repeated(zero, word) for word in (row, step, first, second))
        with loop(b, b.udiv(b.add(quarter, I64(shape.lanes - 1)), I64(shape.lanes))) as vector:
            unit = b.mul(vector, I64(shape.lanes))
            counter = numbered(zero, unit).words(), of_row, of_step, zero.same_words(0)
            for number, word in enumerate(philox(counter, key)):
                here = b.add(unit, b.mul(quarter, I64(number)))
                left, behind = b.sub(quarter, unit), b.sub(width, here)
                count = b.select(b.icmp_signed("<", left, behind), left, behind)
                count = b.select(b.icmp_signed("<", count, I64(0)), I64(0), count)
                at = pointer(b, b.add(place, b.mul(here, I64(shape.itemsize))))
                values = Vector.load(b, shape.target, shape.dtype, at, count) * factors
                drops = b.icmp_unsigned("<", (word >> (32 - BITS)).value, repeated(zero, least).value)
                zero.select(drops, values).store(at, count)

    names = ("place", "width", "row", "step", "first", "second", "least", "scale")
    drop_row = emitted(f"drop_row_{shape.dtype.name}", names, body)

    @compiled("drop")
    def drop(run: DropArguments, thread: int) -> None:
        count = run.steps * run.rows
        for number in range(count * thread // run.threads, count * (thread + 1) // run.threads):
            t, row = number // run.rows, number % run.rows
            place = run.values + t * run.step_bytes + row * run.row_bytes
            drop_row(place, run.width, row, (run.first + t) * run.turns, run.key_0, run.key_1, run.least, run.scale)
