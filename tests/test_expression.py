"""The code of phases, evaluated on vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from compiled import HOST, Compiled, element
from conftest import Close
from llvmlite import ir
from networks import CELLS

from rnncore_kernels.codegen.expression import emit
from rnncore_kernels.cpu.vector import Vector
from rnncore_kernels.numpy.operations import compute
from rnncore_kernels.program.derive import make_program
from rnncore_kernels.program.program import Code, Output


@pytest.mark.parametrize("name", CELLS)
def test_emit_evaluates_what_phases_compute(name: str, close: Close) -> None:
    """Each phase's code, forward and backward, against the same on NumPy's arrays."""
    program, lanes = make_program(CELLS[name][0]), HOST.lanes("float64")
    for phase in (*program.forward.phases, *program.inference, *program.backward.phases):
        code = phase.code
        places = list(dict.fromkeys(code.reads()))

        def body(builder: Any, given: Any, result: Any, _: Any, code: Code = code, places: Any = places) -> None:
            def at(pointer: Any, row: int) -> Any:
                return element(builder, pointer, ir.IntType(64)(row * lanes), "float64")

            def read(kind: str, index: int) -> Vector:
                return Vector.load(builder, HOST, "float64", at(given, places.index((kind, index))))

            def constant(value: float) -> Vector:
                return Vector.full(builder, HOST, "float64", value)

            for row, vector in enumerate(emit(code, read, constant)):
                vector.store(at(result, row))

        x = np.random.default_rng(0).uniform(0.1, 1, (len(places), lanes))
        y = Compiled(HOST, {"body": body}, "float64")("body", x, np.zeros((len(code.outputs), lanes)))
        values: Any = {place: x[row][None] for row, place in enumerate(places)}
        compute(code, values, (1, lanes), np.dtype(np.float64))
        for row, output in enumerate(code.outputs):
            close(y[row], values[output.kind, output.number][0], "output")


def test_emit_reads_each_value_once_and_makes_numbers_of_results() -> None:
    code = Code(
        (("state", (0,)), ("add", (0, 0)), ("number", (0.0,)), ("mul", (1, 2.0))),
        (Output("new", 0, 3), Output("column", 0, 2), Output("new", 1, 0)),
    )
    read: list[Any] = []

    @dataclass
    class Value:
        number: float

        def __add__(self, other: Any) -> Value:
            return Value(self.number + other.number)

        def __mul__(self, other: float) -> Value:
            return Value(self.number * other)

    def give(kind: str, index: int) -> Any:
        read.append((kind, index))
        return Value(3)

    assert emit(code, give, Value) == [Value(12), Value(0), Value(3)]
    assert read == [("state", 0)]
