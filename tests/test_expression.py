"""Expressions of cells: evaluated on vectors, and described."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from compiled import HOST, Compiled, element
from conftest import Close
from llvmlite import ir
from networks import CELLS

from rnncore_kernels.cells import functions
from rnncore_kernels.cells.symbol import Symbol
from rnncore_kernels.codegen.expression import describe, emit
from rnncore_kernels.cpu.vector import Vector


def outputs_of(cell: Any, value: Callable[[str], Any]) -> list[Any]:
    """All that the functions of a cell compute, forward and backward, from values by name."""
    state = carry = tuple(value(name) for name in cell.states)
    kept: tuple[Any, ...] = ()
    found: list[Any] = []
    for stage in cell.stages:
        carry, kept_here = stage.forward(tuple(value(name) for name in stage.pre), carry)
        kept += kept_here
        found += [*carry, *kept_here]
    grad = tuple(value(f"grad of {name}") for name in cell.states)
    for stage in reversed(cell.stages):
        grad_pre, grad = stage.backward(grad, kept, state, carry)
        found += [*grad_pre, *grad]
        grad = tuple(value("zero") if given is None else given for given in grad)
    return found


@pytest.mark.parametrize("name", CELLS)
def test_emit_evaluates_what_cells_compute(name: str, close: Close) -> None:
    cell, lanes = CELLS[name][0], HOST.lanes("float64")
    names: list[str] = []

    def symbol(name: str) -> Symbol:
        names.extend([] if name in names else [name])
        return Symbol("input", name)

    outputs = outputs_of(cell, symbol)

    def body(builder: Any, given: Any, result: Any, _: Any) -> None:
        def place(pointer: Any, row: int) -> Any:
            return element(builder, pointer, ir.IntType(64)(row * lanes), "float64")

        inputs = {name: Vector.load(builder, HOST, "float64", place(given, k)) for k, name in enumerate(names)}
        for row, vector in enumerate(emit(outputs, inputs)):
            assert (vector is None) == (outputs[row] is None)
            if vector is not None:
                vector.store(place(result, row))

    x = np.random.default_rng(0).standard_normal((len(names), lanes))
    y = Compiled(HOST, {"body": body}, "float64")("body", x, np.zeros((len(outputs), lanes)))
    for row, exact in enumerate(outputs_of(cell, lambda name: x[names.index(name)])):
        if exact is not None:
            close(y[row], exact, "output")


def deep(depth: int) -> Symbol:
    x = Symbol("input", "x")
    for _ in range(depth):
        x = x + x
    return x


def test_emit_computes_what_is_shared_once() -> None:
    x = Symbol("input", "x")
    function = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), []), "f")
    vector = Vector.full(ir.IRBuilder(function.append_basic_block()), HOST, "float32", 1)
    first, none, second, given = emit([functions.tanh(x * 2), None, functions.tanh(x * 2), x], {"x": vector})
    assert first is second
    assert none is None
    assert given is vector
    emit([deep(3000)], {"x": vector})
    with pytest.raises(KeyError, match="y"):
        emit([Symbol("input", "y")], {"x": vector})


def test_descriptions_are_the_same_for_the_same_expressions_alone() -> None:
    def expressions() -> list[Sequence[Symbol | None]]:
        x, y = Symbol("input", "x"), Symbol("input", "y")
        clamp, exp = functions.clamp, functions.exp
        single = [x, y, x + y, y + x, x - y, -x, x * y, x / y, x + 0, 0 + x, x + 0.1, x + (-0.0), x + (y + x), exp(x)]
        single += [(x + y) + x, clamp(x, 0, 1), clamp(x, 0, 2)]
        return [*([one] for one in single), [x, y], [y, x], [x, None], [None, x], [x, x], []]

    texts = [describe(outputs) for outputs in expressions()]
    assert texts == [describe(outputs) for outputs in expressions()]
    assert len(set(texts)) == len(texts)
    x = Symbol("input", "x")
    square = x * x
    assert describe([x * x + x * x]) == describe([square + square])
    assert describe([x + 1]) == describe([x + 1.0])
    assert len(describe([deep(3000)]).splitlines()) == 3002
