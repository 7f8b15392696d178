"""The language that cells are written in: what a definition may not do, and the line that the message points at."""

from __future__ import annotations

import itertools
import linecache
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from rnncore import Recurrent, cells
from rnncore.cells import (
    Cell,
    CellError,
    cell,
    clamp,
    heaviside,
    mean,
    observe,
    project,
    tanh,
    total,
    where,
)

counter = itertools.count()
stashed: list[Any] = []


def refusal(one: Any) -> str:
    """What is said of a cell where a network of it is made."""
    with pytest.raises((CellError, TypeError)) as caught:
        Recurrent(one, 3, 4, backend="numpy")
    return str(caught.value)


def step_of(function: Callable[..., Any], **declared: Any) -> Cell:
    function.__name__ = "mine"
    return cell(**{"states": "h", "gates": "a", **declared})(function)


def in_place(h: Any, a: Any) -> Any:
    a += h
    return a


def set_unit(h: Any, a: Any) -> Any:
    h[0] = a
    return h


def stash(h: Any, a: Any) -> Any:
    stashed.append(a)
    return stashed[0] + h


def loop(h: Any, a: Any) -> Any:
    return [unit for unit in a][0] + h  # noqa: RUF015, C416


def branch(h: Any, a: Any) -> Any:
    return a if a > h else h


STEPS: dict[str, tuple[Callable[..., Any], str]] = {
    "a loop over units": (
        loop,
        f"mine.step: test_language.py, line {loop.__code__.co_firstlineno + 1}: return [unit for unit in a][0] + h  # noqa: RUF015, C416: TypeError: a "
        "cell has no loop over units: write the equation of one unit, with mean and total for sums",
    ),
    "a comparison that decides": (
        branch,
        f"line {branch.__code__.co_firstlineno + 1}: return a if a > h else h: TypeError: a comparison of a cell's values cannot decide in Python: use "
        "where(a > b, x, y)",
    ),
    "a value that decides": (lambda h, a: a or h, "a value of a cell cannot decide in Python: use where(a > b, x, y)"),
    "equality": (lambda h, a: where(a == h, a, h), "values of a cell cannot be compared for equality: use where(a > b"),
    "a unit": (lambda h, a: a[0] + h, "a value of a cell has no single units to take out: write the equation of one unit"),
    "a length": (lambda h, a: a / len(h), "a value of a cell has no length: write the equation of one unit"),
    "a change in place": (in_place, "a value of a cell cannot be changed in place: write x = x + y, not x += y"),
    "a power that is no whole number": (lambda h, a: a**0.5, "can be raised to a whole number from 1 on, not to 0.5"),
    "a power of 0": (lambda h, a: a**0, "a value of a cell can be raised to a whole number from 1 on, not to 0"),
    "a function of NumPy": (lambda h, a: np.tanh(a), "TypeError: a function of NumPy computes arrays, not values"),
    "a method of arrays": (lambda h, a: a.mean(), "AttributeError: a value of a cell has no 'mean', neither methods"),
    "a function of math": (lambda h, a: math.tanh(a) * h, "a value of a cell is not a number: use the functions of rnncore."),
    "a part of a state": (lambda h, a: h.x + a, "AttributeError: only a gate has .x, not <state h, a value of step>"),
    "an array": (
        lambda h, a: a * np.ones(2),
        "mul: expected a value of the cell or a number, got ndarray array([1., 1.]): declare an array in units or unit_inputs",
    ),
    "a truth value": (lambda h, a: a * True, "mul: expected a value of the cell or a number, got bool True"),
    "an exponent": (lambda h, a: 2**a, "a value of a cell cannot be an exponent: write exp(v * math.log(base))"),
    "a product of matrices": (lambda h, a: h @ a, "write project(name, v), or g.of(v) for a gate g"),
    "a unit that is set": (set_unit, "a value of a cell cannot be changed in place"),
    "a product with a comparison": (lambda h, a: (a > h) * h, "a comparison of a cell's values is for where(a > b, x, y) alo"),
    "a product by a comparison": (lambda h, a: h * (a > h), "got Condition <a comparison, for where(a > b, x, y)>"),
    "two comparisons": (lambda h, a: where((a > h) & (h > 0), a, h), "a comparison of a cell's values is for where(a > b,"),
    "a built-in maximum": (lambda h, a: max(a, h), "use where(a > b, x, y), maximum, minimum or clamp"),
    "a number alone": (lambda h, a: tanh(1.0) + a, "tanh: expected a value of a cell's step, got float 1.0: it computes no"),
    "a limit that is no number": (lambda h, a: clamp(a, -1.0, h), "clamp: expected a value of the cell or a number"),
    "a condition that is none": (lambda h, a: where(a, a, h), "where: expected a comparison a > b as the condition, got <"),
    "a surrogate that is no function": (
        lambda h, a: heaviside(a, surrogate=1.0),  # type: ignore[arg-type]
        "heaviside: surrogate: expected a function of v, got 1.0",
    ),
    "a surrogate that returns a number": (
        lambda h, a: heaviside(a, surrogate=lambda v: 1.0),
        "heaviside: surrogate: expected a value computed from the arguments of step, got 1.0",
    ),
    "a surrogate that returns nothing": (
        lambda h, a: heaviside(a, surrogate=lambda v: None),
        "heaviside: surrogate: expected a value computed from the arguments of step, got None",
    ),
    "a surrogate of another width": (
        lambda h, a: heaviside(mean(a), surrogate=lambda v: h) * h,
        "heaviside: surrogate: expected one number a row, as of v, got hidden_size units",
    ),
    "a surrogate with a product of its own": (
        lambda h, a: heaviside(a + h, surrogate=lambda v: a.of(h * h)),
        "mine.step: heaviside: surrogate: expected parts of gates that step returns something of, got the product of a",
    ),
    "a surrogate with a part of x of its own": (
        lambda h, a: heaviside(a.h, surrogate=lambda v: a.x),
        "heaviside: surrogate: expected parts of gates that step returns something of, got a.x, which the surrogate alo",
    ),
    "a sum of a sum": (lambda h, a: a + total(mean(a)), "total: expected a value with units, got one number a row"),
    "a projection of a sum": (
        lambda h, a: a + project("p", mean(a)),
        "project: p: expected a value with units, got one number a row",
    ),
    "a name of a matrix that is none": (lambda h, a: project("1", a), "project: expected a name for the matrix, an ident"),
    "a matrix without a name": (
        lambda h, a: project(h, 3),
        "project: expected a name for the matrix, an identifier, got <state h, a value of step>",
    ),
    "a name of a matrix that is taken": (lambda h, a: project("hh", a), "project: the name 'hh' is that of the gates'"),
    "a width that is none": (lambda h, a: project("p", a, 0), "project: width: expected a whole number of at least 1, or"),
    "a matrix twice": (
        lambda h, a: project("p", a) + project("p", h),
        "project: expected a name for each matrix, got 'p' twice",
    ),
    "two widths": (
        lambda h, a: a + project("p", a, 2),
        "add: expected values of one width, got hidden_size units and 2 units: project one of them",
    ),
    "a name for nothing": (lambda h, a: observe("", a), "observe: expected a name, got ''"),
    "a name for two values": (
        lambda h, a: observe("x", a) + observe("x", h),
        "observe: expected a name for each value, got 'x' twice",
    ),
    "a gate of itself": (
        lambda h, a: a.of(tanh(a.x)),
        "a.of: expected an operand that does not depend on the gate a itself",
    ),
    "a gate of another width": (
        lambda h, a: a.of(project("p", h, 2)),
        "a.of: expected hidden_size units, as of the output state, got 2 units",
    ),
    "a gate of a number": (lambda h, a: a.of(1.0), "a.of: expected a value computed from the arguments of step, got 1.0"),
    "no value": (lambda h, a: None, "mine.step: h: expected a value computed from the arguments, got None"),
    "a number": (lambda h, a: 1.0, "mine.step: h: expected a value computed from the arguments, got 1.0"),
    "too many states": (lambda h, a: (a, h), "mine.step: expected to return the new states (h), got 2 values"),
    "no tuple": (lambda h, a: {"h": a}, "mine.step: h: expected a value computed from the arguments, got {'h': <gate a, a "),
    "a sum": (lambda h, a: mean(a), "mine.step: h: expected a value with units, got one number a row"),
    "a state that narrows": (
        lambda h, a: project("p", h, next(counter) + 1),
        "mine.step: expected states that keep their widths, got others at each step",
    ),
    "a value from another call": (
        stash,
        "add: expected values computed from this call's arguments, got another's",
    ),
    "a value from another call alone": (
        lambda h, a: stashed[0],
        "mine.step: h: expected a value computed from the arguments, got ",
    ),
    "a random number": (
        lambda h, a: a * random.random(),
        "mine.step: expected the same arithmetic at every call: it is recorded when a network is made",
    ),
    "other operations": (
        lambda h, a: a * 2.0 if next(counter) % 2 else a + 2.0,
        "mine.step: expected the same arithmetic at every call",
    ),
    "a parameter of no name": (lambda *values: values[0], "mine.step: expected parameters that are named, got *values"),
    "an unknown parameter": (
        lambda h, a, b: a,
        "mine.step: expected parameters named after a, h, got 'b': declare it in one of states, gates, units, scalars,",
    ),
    "x itself": (lambda h, x: h, "mine.step: expected parameters named after a, h, got 'x': the input reaches a cell through "),
    "a gate that is not used": (lambda h: h, "mine.gates: 'a' is declared, but nothing that step returns uses it"),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_steps_that_are_refused(name: str) -> None:
    step, message = STEPS[name]
    # What is said quotes the line of the step, which may be the one that has the expected message.
    quoted = linecache.getline(__file__, step.__code__.co_firstlineno).strip()
    assert message in refusal(step_of(step)).replace(quoted, "")


def nothing(**values: Any) -> Any:
    return next(iter(values.values()))


DECLARATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "no state": ({"states": ""}, "mine.states: expected one or more names, got none: a cell carries a state"),
    "a number": ({"gates": 3}, "mine.gates: expected a string of names or a tuple of them, got 3"),
    "a number among names": ({"gates": ("a", 3)}, "mine.gates: expected a string of names or a tuple of them, got ('a', 3)"),
    "no identifier": ({"units": "p-i"}, "mine.units: expected names that a parameter can have, with spaces between, got 'p-i'"),
    "a word of Python": ({"units": "if"}, "mine.units: expected names that a parameter can have, with spaces between, got 'if'"),
    "a name of PyTorch's": ({"units": "bias_hh"}, "mine.units: expected other names than those of the gates' weights, got 'bias_hh'"),
    "a name twice": ({"gates": "a a"}, "mine: expected different names, got 'a' in gates and in gates"),
    "a name of two": ({"row_inputs": "h"}, "mine: expected different names, got 'h' in states and in row_inputs"),
    "a number for nothing": ({"initial": {"a": 1.0}}, "mine.initial: expected names of units or scalars (), got 'a'"),
    "no number": (
        {"units": "p", "initial": {"p": "1"}},
        "mine.initial['p']: expected a finite number, got '1'",
    ),
    "NaN": ({"units": "p", "initial": {"p": math.nan}}, "mine.initial['p']: expected a finite number, got nan"),
    "numbers in a list": ({"initial": [1.0]}, "mine.initial: expected numbers by name, as in {'p': 1.0}, got [1.0]"),
    "two states of one": ({"states": "h c"}, "mine.step: expected to return the new states (h, c), got one value, <add, a"),
    "a unit that is not used": ({"units": "p"}, "mine.units: 'p' is declared, but nothing that step returns uses it"),
    "an input that is not used": ({"row_inputs": "dt"}, "mine.row_inputs: 'dt' is declared, but nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", DECLARATIONS)
def test_declarations_that_are_refused(name: str) -> None:
    declared, message = DECLARATIONS[name]
    assert message in refusal(step_of(lambda h, a: a + h, **declared))


def test_classes_that_are_refused() -> None:
    class Stepless(Cell):
        states = "h"

    class Numbered(Stepless):
        name = 3  # type: ignore[assignment]

    class Nameless(Stepless):
        name = ""

    @dataclass
    class Mutable(Stepless):
        scale: float = 1.0

    @dataclass(frozen=True)
    class Listed(Stepless):
        limits: tuple[int, int] = (0, 1)

    class Initialized(Stepless):
        def __init__(self) -> None:
            self.scale = 2.0

    @dataclass(frozen=True)
    class Unhashable(Stepless):
        limits: Any = field(default_factory=list)

    for kind, message in (
        (Stepless, "Stepless: define `step`, the equations of one time step"),
        (Numbered, "Numbered.name: expected a string that identifies the cell, got 3"),
        (Nameless, "Nameless.name: expected a string that identifies the cell, got ''"),
        (Mutable, "Mutable: unhashable type: 'Mutable': write @dataclass(frozen=True) above the class"),
        (Initialized, "Initialized.scale: expected options to be fields: write @dataclass(frozen=True)"),
        (Unhashable, "Unhashable.limits: expected an option to be a string, a number or None, got []"),
        (Listed, "Listed.limits: expected an option to be a string, a number or None, got (0, 1)"),
    ):
        assert message in refusal(kind())
    with pytest.raises(TypeError, match=r"cell: expected names, as in @cell\(states='h', gates='a'\), got <function"):
        cell(nothing)  # type: ignore[arg-type, call-arg]
    with pytest.raises(TypeError, match="cell: expected a function to decorate, got int"):
        cell(states="h")(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cell: expected a function to decorate, got type: a class derives from Cell"):
        cell(states="h")(Stepless)
    with pytest.raises(TypeError, match=r"got function: make a cell of it with @rnncore\.cells\.cell\(states="):
        Recurrent(nothing, 3, 4)  # type: ignore[arg-type]


def test_numbers_of_numpy_python_s_abs_and_a_list_of_states() -> None:
    def scaled(h: Any, a: Any) -> Any:
        return [np.float64(0.5) * abs(a) * np.float32(2) + np.int64(1)]

    def plain(h: Any, a: Any) -> Any:
        return cells.abs(a) + 1

    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 1, 3)
    one, other = (Recurrent(step_of(step), 3, 4, backend="numpy", seed=0)(x)[0] for step in (scaled, plain))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_parameter_that_has_a_default_keeps_it() -> None:
    @cell(states="h", gates="a")
    def scaled(a: Any, h: Any, scale: float = 0.5) -> Any:
        return tanh(a * scale) + h

    rnn = Recurrent(scaled, 3, 4, backend="numpy", seed=0)
    x = np.ones((1, 1, 3), np.float32)
    w_x, _, b_x, b_h = rnn.parameters.values()
    np.testing.assert_allclose(rnn(x)[0][0], np.tanh((x[0] @ w_x.T + b_x + b_h) / 2), atol=1e-6)


def test_a_matrix_that_nothing_uses_is_refused() -> None:
    def unused(h: Any, a: Any) -> Any:
        project("p", a)
        return tanh(a)

    assert "mine.step: the result of project('p', ...) is not used by what it returns" in refusal(step_of(unused))


@dataclass(frozen=True)
class Depending(Cell):
    """Names that are properties, which depend on options."""

    gated: bool = True

    states = "h"

    @property
    def gates(self) -> str:  # type: ignore[override]
        return "a z" if self.gated else "a"

    @property
    def units(self) -> tuple[str, ...]:  # type: ignore[override]
        return () if self.gated else ("z",)

    def step(self, h: Any, a: Any, z: Any) -> Any:
        return tanh(a) + z * h


def test_names_are_tuples_however_they_were_written() -> None:
    states: Any = Depending().states
    assert states == ("h",)
    assert tuple(Depending().gates) == ("a", "z")
    assert tuple(Depending(gated=False).units) == ("z",)
    assert step_of(lambda h, a: a, gates="aa b").gates == ("aa", "b")


def test_names_that_depend_on_options() -> None:
    assert "z_l0" not in Recurrent(Depending(), 3, 4, backend="numpy").parameters
    assert Recurrent(Depending(gated=False), 3, 4, backend="numpy").parameters["z_l0"].shape == (4,)


class Mistaken(Cell):
    states = "h"

    @property
    def gates(self) -> str:  # type: ignore[override]
        return self.no_such_option  # type: ignore[attr-defined,no-any-return]

    def step(self, h: Any) -> Any:
        return h * 0.5


def test_a_property_of_names_that_fails_is_not_taken_for_one_without_names() -> None:
    with pytest.raises(CellError, match=r"Mistaken\.gates: .*no_such_option"):
        Recurrent(Mistaken(), 3, 4, backend="numpy")
