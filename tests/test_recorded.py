"""What is recorded of a cell of one's own when a network is made, and computed from then on."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from networks import CELLS

from rnncore import Recurrent
from rnncore.cells import Cell, CellError, Stage, Values, clamp, tanh
from rnncore_kernels.codegen.recorded import record

scale = 2.0


def forward(pre: Values, state: Values) -> tuple[Values, Values]:
    return (tanh(scale * pre[0]),), ()


def backward(grad: Values, kept: Values, state: Values, new_state: Values) -> tuple[Values, Values]:
    h = new_state[0]
    return (scale * grad[0] * (1 - h * h),), (None,)


class Scaled(Cell):
    name = "scaled"
    states = ("h",)
    stages = (Stage(("a",), forward, backward),)


def make(**replaced: Any) -> Cell:
    """A cell with other functions."""

    class Mine(Scaled):
        stages = (Stage(**{"gates": ("a",), "forward": forward, "backward": backward, **replaced}),)

    return Mine()


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
    expected = results(Recurrent(make(), 3, 4, backend=backend, seed=0))
    rnn = Recurrent(make(), 3, 4, backend=backend, seed=0)
    monkeypatch.setitem(globals(), "scale", 0.25)
    np.testing.assert_array_equal(results(rnn)[0], expected[0])


counter = itertools.count()
stashed: list[Any] = []


def stash(pre: Values, state: Values) -> tuple[Values, Values]:
    stashed.append(pre[0])
    return (stashed[0] + pre[0],), ()


CHANGING: dict[str, tuple[dict[str, Callable[..., Any]], str]] = {
    "a random number": (
        {"forward": lambda p, s: ((p[0] * random.random(),), ())},
        "Mine, forward of stage 0: expected the same arithmetic at every call, got mul 0.",
    ),
    "a random number in backward": (
        {"backward": lambda g, k, s, n: ((g[0] + random.random(),), (None,))},
        "Mine, backward of stage 0: expected the same arithmetic at every call, got add 0.",
    ),
    "another operation": (
        {"forward": lambda p, s: ((p[0] * 2.0 if next(counter) % 2 else p[0] + 2.0,), ())},
        "Mine, forward of stage 0: expected the same arithmetic at every call, got ",
    ),
    "more operations": (
        {"forward": lambda p, s: ((sum((p[0],) * (next(counter) % 2), p[0]),), ())},
        "Mine, forward of stage 0: expected the same arithmetic at every call, got ",
    ),
    "a value kept from another call": (
        {"forward": stash},
        "Mine, forward of stage 0: expected values computed from the arguments, got one from another call",
    ),
}


@pytest.mark.parametrize("name", CHANGING)
def test_functions_that_are_not_the_same_twice_are_refused(name: str) -> None:
    replaced, message = CHANGING[name]
    with pytest.raises(CellError, match=re.escape(message)):
        Recurrent(make(**replaced), 3, 4, backend="numpy")


@pytest.mark.parametrize("name", CELLS)
def test_a_recorded_function_computes_the_same_bits(name: str) -> None:
    cell = CELLS[name][0]
    recorded = record(cell)
    assert recorded == record(copy.copy(cell)) == pickle.loads(pickle.dumps(recorded))
    assert len({recorded, *(record(other) for other, _ in CELLS.values())}) == len(CELLS)
    rng = np.random.default_rng(0)

    def some(count: int) -> Values:
        return tuple(rng.standard_normal((5, 3)).astype(np.float32) for _ in range(count))

    carry = state = some(len(cell.states))
    for stage, replayed in zip(cell.stages, recorded.stages, strict=True):
        pre = some(len(stage.pre))
        after = stage.forward(pre, carry)
        carried = some(len(after[0]))
        calls: tuple[tuple[Any, Any, tuple[Values, ...]], ...] = (
            (stage.forward, replayed.forward, (pre, carry)),
            (
                stage.backward,
                replayed.backward,
                (carried, some(sum(len(s.kept) for s in cell.stages)), state, some(len(state))),
            ),
        )
        for function, same, arguments in calls:
            for part, expected in zip(same(*arguments), function(*arguments), strict=True):
                assert len(part) == len(expected)
                for value, first in zip(part, expected, strict=True):
                    assert (value is None) == (first is None)
                    np.testing.assert_array_equal(value, first)
        carry = carried


def test_long_functions_and_numbers_of_every_kind() -> None:
    numbers = (1, -2.5, 1e-320, math.inf, -math.inf, math.nan)

    def long(pre: Values, state: Values) -> tuple[Values, Values]:
        a = pre[0]
        for k in range(500):
            a = a * 1.001 - k
        return (clamp(a, -math.inf, 7.5), *(number - pre[0] for number in numbers)), ()

    def none(grad: Values, kept: Values, state: Values, new_state: Values) -> tuple[Values, Values]:
        return (grad[0],), (None,) * len(state)

    class Long(Cell):
        name = "long"
        states = tuple("abcdefg")
        stages = (Stage(("a",), long, none),)

    pre = (np.linspace(-1, 1, 6).reshape(2, 3),)
    (replayed,) = record(Long()).stages
    for value, expected in zip(replayed.forward(pre, pre * 7)[0], long(pre, pre * 7)[0], strict=True):
        np.testing.assert_array_equal(value, expected)
