"""What is recorded of a cell of one's own when a network is made, and computed from then on."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from networks import CELLS

from rnncore import Recurrent
from rnncore.cells import Cell, tanh
from rnncore.definition import define
from rnncore_kernels.cells.symbol import HIDDEN, Graph, Symbol

scale = 2.0


class Scaled(Cell):
    states, gates = "h", "a"

    def step(self, h: Any, a: Any) -> Any:
        return tanh(scale * a)


def results(rnn: Recurrent) -> list[Any]:
    """What a network computes, with every entry of an engine."""
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 2, 3)
    output, _, tape = rnn.forward(x)
    grads = rnn.backward(tape, np.ones_like(output))
    return [rnn(x)[0], rnn.freeze()(x)[0], rnn.step(x[0])[0], output, grads.x, *grads.parameters.values()]


def test_a_number_that_changes_later(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that exists, its copies among them, keeps what it recorded, and a new one records anew."""
    cell = Scaled()
    old = Recurrent(cell, 3, 4, backend=backend, seed=0)
    expected = results(old)
    pickled = pickle.dumps(old)
    monkeypatch.setitem(globals(), "scale", 0.5)
    new = Recurrent(cell, 3, 4, backend=backend, seed=0)
    for same in (old, copy.deepcopy(old), pickle.loads(pickled)):
        for value, first in zip(results(same), expected, strict=True):
            np.testing.assert_array_equal(value, first)
    for value, first in zip(results(new), expected, strict=True):
        assert not np.array_equal(value, first)
    np.testing.assert_array_equal(results(new)[0], results(Recurrent(Scaled(), 3, 4, backend=backend, seed=0))[0])


def test_a_number_that_changes_before_the_first_call(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = results(Recurrent(Scaled(), 3, 4, backend=backend, seed=0))
    rnn = Recurrent(Scaled(), 3, 4, backend=backend, seed=0)
    monkeypatch.setitem(globals(), "scale", 0.5)
    np.testing.assert_array_equal(results(rnn)[0], expected[0])


@pytest.mark.parametrize("name", CELLS)
def test_definitions_are_the_same_for_the_same_cell_alone(name: str) -> None:
    """Two cells may compute the same, as the Elman cell with a projection in place of W_hh; none here do."""
    cell = CELLS[name][0]
    definition = define(cell)
    assert definition.program == define(copy.copy(cell)).program == pickle.loads(pickle.dumps(definition)).program
    others = [define(other).program for other, _ in CELLS.values()]
    assert sum(definition.program == other for other in others) == 1


def test_threads_that_record_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other thread comes first where a node is made: both go on with its node."""
    graph, made = Graph(), list[Symbol]()
    make = Symbol.__init__

    def meanwhile(self: Symbol, *arguments: Any) -> None:
        monkeypatch.setattr(Symbol, "__init__", make)
        made.append(graph.node("number", 0.0, width=HIDDEN))
        make(self, *arguments)

    monkeypatch.setattr(Symbol, "__init__", meanwhile)
    assert graph.node("number", 0.0, width=HIDDEN) is made[0]
