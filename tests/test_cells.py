"""Cells: gradients by finite differences, definitions that contradict themselves, cells of one's own."""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from minimal_gated_unit import MinimalGatedUnit
from networks import CELLS

from rnncore import GRU, LSTM, Elman, Recurrent
from rnncore.cells import Cell, CellError, Stage, Values, check_gradients
from rnncore_kernels.cells import functions, gru, lstm


@pytest.mark.parametrize("name", CELLS)
def test_gradients_by_finite_differences(backend: str, name: str) -> None:
    check_gradients(CELLS[name][0], backend=backend)


def test_check_gradients_finds_a_wrong_term() -> None:
    def backward(grad: Values, kept: Values, state: Values, new_state: Values) -> tuple[Values, Values]:
        grad_pre, grad_state = lstm.lstm_backward(grad, kept, state, new_state)
        return grad_pre, (None, grad_state[1] * 2)

    class Wrong(LSTM):
        stages = (Stage(("i", "f", "g", "o"), lstm.lstm_forward, backward, kept=("i", "f", "g", "o")),)

    with pytest.raises(CellError, match=r"Wrong\(\): backward: the gradient of x at \(0, 0, 0\) is .*; finite differ"):
        check_gradients(Wrong())


def one_stage(**replaced: Any) -> Cell:
    def forward(pre: Values, state: Values) -> tuple[Values, Values]:
        return (functions.tanh(pre[0]),), ()

    def backward(grad: Values, kept: Values, state: Values, new_state: Values) -> tuple[Values, Values]:
        h = new_state[0]
        return (grad[0] * (1 - h * h),), (None,)

    options: dict[str, Any] = {"gates": ("a",), "forward": forward, "backward": backward, **replaced}

    class Mine(Cell):
        name = "mine"
        states = ("h",)
        stages = (Stage(**options),)

    return Mine()


def change_in_place(pre: Values, state: Values) -> tuple[Values, Values]:
    a = pre[0]
    a *= 2
    return (a,), ()


WRONG_DEFINITIONS: dict[str, tuple[dict[str, Any], str]] = {
    "backward returns too few gradients of pre-activations": (
        {"backward": lambda g, k, s, n: ((), (None,))},
        "Mine, backward of stage 0: gradients of pre-activations: expected 1 values (a), got 0",
    ),
    "backward returns too many gradients of the state": (
        {"backward": lambda g, k, s, n: ((g[0],), (None, None))},
        "Mine, backward of stage 0: gradients of the state: expected 1 values (h), got 2",
    ),
    "backward returns one tuple": (
        {"backward": lambda g, k, s, n: (g[0],)},
        "Mine, backward of stage 0: expected a pair of tuples, got a tuple of 1 values",
    ),
    "forward returns too many states": (
        {"forward": lambda p, s: ((p[0], p[0]), ())},
        "Mine, forward of stage 0: new state: expected 1 values (h), got 2",
    ),
    "forward keeps what is not declared": (
        {"forward": lambda p, s: ((p[0],), (p[0],))},
        "Mine, forward of stage 0: kept: expected 0 values, got 1",
    ),
    "forward does not keep what is declared": (
        {"kept": ("a", "b")},
        "Mine, forward of stage 0: kept: expected 2 values (a, b), got 0",
    ),
    "forward returns one value": (
        {"forward": lambda p, s: p[0]},
        "Mine, forward of stage 0: expected a pair of tuples, got Symbol",
    ),
    "forward returns a number": (
        {"forward": lambda p, s: ((1.0,), ())},
        "Mine, forward of stage 0: new state: h: expected a value computed from the arguments, got 1.0",
    ),
    "backward returns None for a pre-activation": (
        {"backward": lambda g, k, s, n: ((None,), (None,))},
        "Mine, backward of stage 0: gradients of pre-activations: a: expected a value computed from the arguments, got None",
    ),
    "forward takes a pre-activation that is not there": (
        {"forward": lambda p, s: ((p[1],), ())},
        "Mine, forward of stage 0: IndexError: tuple index out of range (called with tuples of 1, 1 values; all must be",
    ),
    "a method of arrays": (
        {"forward": lambda p, s: ((p[0].mean(),), ())},
        "Mine, forward of stage 0: AttributeError: 'Symbol' object has no attribute 'mean'",
    ),
    "a function of NumPy": (
        {"forward": lambda p, s: ((np.tanh(p[0]),), ())},
        "Mine, forward of stage 0: TypeError: operand 'Symbol' does not support ufuncs",
    ),
    "a power": (
        {"forward": lambda p, s: ((p[0] ** 2,), ())},
        "Mine, forward of stage 0: TypeError: unsupported operand type(s) for ** or pow(): 'Symbol' and 'int'",
    ),
    "a comparison": (
        {"forward": lambda p, s: ((p[0] * (p[0] > 0),), ())},
        "a value of a cell cannot be compared or tested: use where_positive, relu, heaviside or clamp",
    ),
    "a test": (
        {"forward": lambda p, s: ((p[0] if p[0] else s[0],), ())},
        "a value of a cell cannot be compared or tested: use where_positive, relu, heaviside or clamp",
    ),
    "an array in the arithmetic": (
        {"forward": lambda p, s: ((p[0] * np.float64(2),), ())},
        "a value of a cell can be combined with another or a Python number, not with float64",
    ),
    "a limit that is no number": (
        {"forward": lambda p, s: ((functions.clamp(p[0], -1.0, s[0]),), ())},
        "clamp: expected limits that are Python numbers, got Symbol",
    ),
    "a change in place": (
        {"forward": change_in_place},
        "a value of a cell cannot be changed in place: write x = x + y, not x += y",
    ),
    "gates twice": (
        {"gates": ("a", "a")},
        "Mine.gates: expected a tuple of one or more different names, got ('a', 'a')",
    ),
    "a gate named like a part of another": (
        {"gates": ("n", "n_x"), "split": ("n",)},
        "Mine: expected different names of pre-activations, got ('n_x', 'n_h', 'n_x'): rename a gate",
    ),
    "no gates": ({"gates": ()}, "Mine.gates: expected a tuple of one or more different names, got ()"),
    "split of an unknown gate": (
        {"split": ("b",)},
        "Mine: split=('b',) names a gate that its stage ('a',) does not have",
    ),
}


@pytest.mark.parametrize(("definition", "message"), WRONG_DEFINITIONS.values(), ids=WRONG_DEFINITIONS)
def test_wrong_definition(definition: dict[str, Any], message: str) -> None:
    with pytest.raises(CellError, match=re.escape(message)):
        Recurrent(one_stage(**definition), 3, 4)


def test_a_first_stage_must_pass_on_an_operand() -> None:
    class Empty(MinimalGatedUnit):
        stages = (Stage(("f",), lambda p, s: ((), ()), MinimalGatedUnit.stages[0].backward), MinimalGatedUnit.stages[1])

    with pytest.raises(CellError, match="expected a carry that begins with the next stage's operand, got no values"):
        Recurrent(Empty(), 3, 4)


def test_incomplete_classes() -> None:
    class Nameless(Cell):
        pass

    class Stateless(Cell):
        name = "stateless"

    class Stageless(Cell):
        name = "stageless"
        states = ("h",)

    class Bare(Stageless):
        stages = MinimalGatedUnit.stages[0]  # type: ignore[assignment]

    class Numbered(Stageless):
        name = 3  # type: ignore[assignment]
        stages = MinimalGatedUnit.stages

    for kind, message in (
        (Nameless, "Nameless: define `name`"),
        (Stateless, "Stateless: define `states`"),
        (Stageless, "Stageless: define `stages`"),
        (Bare, "Bare.stages: expected a tuple of Stage, got Stage("),
        (Numbered, "Numbered.name: expected a string that identifies the cell, got 3"),
    ):
        with pytest.raises(CellError, match=re.escape(message)):
            Recurrent(kind(), 3, 4)


def test_options_that_an_engine_or_a_file_could_not_take() -> None:
    class Listed(MinimalGatedUnit):
        @property
        def options(self) -> dict[str, Any]:
            return {"limits": (0, 1)}

    @dataclass
    class Mutable(MinimalGatedUnit):
        scale: float = 1.0

    with pytest.raises(CellError, match=r"Listed.limits: expected an option to be a string or a number, got \(0, 1\)"):
        Recurrent(Listed(), 3, 4)
    with pytest.raises(CellError, match=r"Mutable: unhashable type: 'Mutable': write @dataclass\(frozen=True\)"):
        Recurrent(Mutable(), 3, 4)


def test_a_stage_without_a_gate() -> None:
    class Decayed(Cell):
        name = "decayed"
        states = ("h",)
        stages = (Stage((), lambda p, s: (s, ()), lambda g, k, s, n: ((), g)), *MinimalGatedUnit.stages)

    with pytest.raises(CellError, match="Decayed: expected every stage to have a gate, got one without"):
        Recurrent(Decayed(), 3, 4)


def test_own_cell_without_a_mistake_works() -> None:
    check_gradients(one_stage())


def test_cell_that_delays_its_state(backend: str) -> None:
    """A state that is another one of the step before: results alias arguments, and nothing may be overwritten too early."""

    def forward(pre: Values, state: Values) -> tuple[Values, Values]:
        h, earlier = state
        return (functions.tanh(pre[0] + earlier), h), ()

    def backward(grad: Values, kept: Values, state: Values, new_state: Values) -> tuple[Values, Values]:
        da = grad[0] * (1 - new_state[0] * new_state[0])
        return (da,), (grad[1], da)

    class SecondOrder(Cell):
        name = "second_order"
        states = ("h", "earlier")
        stages = (Stage(("a",), forward, backward),)

    check_gradients(SecondOrder(), backend=backend)
    x = np.random.default_rng(0).standard_normal((5, 3, 2)).astype(np.float32)
    rnn = Recurrent(SecondOrder(), 2, 4, backend=backend, seed=0)
    w_x, w_h, b_x, b_h = rnn.parameters.values()
    h, earlier = np.zeros((3, 4)), np.zeros((3, 4))
    for t in range(5):
        h, earlier = np.tanh(x[t] @ w_x.T + b_x + h @ w_h.T + b_h + earlier), h
    output, state = rnn(x, lengths=[5, 5, 2])
    np.testing.assert_allclose(output[4, :2], h[:2], atol=1e-6)
    np.testing.assert_allclose(state[1][0, :2], earlier[:2], atol=1e-6)


@dataclass(frozen=True, repr=False, kw_only=True)
class Scaled(MinimalGatedUnit):
    factor: float = 1.0


def test_cells_pickle_with_their_options() -> None:
    for cell in (GRU("carry", "before"), Elman("relu"), LSTM(), Scaled(factor=2.0)):
        assert pickle.loads(pickle.dumps(cell)) == cell
    assert repr(pickle.loads(pickle.dumps(MinimalGatedUnit()))) == "MinimalGatedUnit()"


def test_options() -> None:
    assert repr(GRU(update="carry")) == "GRU(update='carry', reset='after')"
    assert repr(Elman("relu")) == "Elman(activation='relu')"
    assert repr(LSTM()) == "LSTM()"
    assert repr(MinimalGatedUnit()) == "MinimalGatedUnit()"
    assert GRU() == GRU("candidate", "after") != GRU("carry")
    assert len({GRU(), GRU(), GRU("carry"), LSTM()}) == 3
    for make, message in (
        (lambda: Elman("gelu"), "Elman: activation: expected one of 'tanh', 'relu', 'sigmoid', 'identity', got 'gelu'"),
        (lambda: GRU("both"), "GRU: update: expected one of 'candidate', 'carry', got 'both'"),
        (lambda: GRU(reset="never"), "GRU: reset: expected one of 'after', 'before', got 'never'"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            make()


@pytest.mark.parametrize(
    ("cell", "arguments", "options", "given", "network"),
    [
        (GRU, (8, 16), {}, "8, 16", '"gru", 8, 16'),
        (LSTM, (8, 16), {}, "8, 16", '"lstm", 8, 16'),
        (Elman, (8, 16), {}, "8, 16", '"elman", 8, 16'),
        (Elman, (8,), {}, "8", '"elman", input_size, hidden_size'),
        (
            LSTM,
            (),
            {"input_size": 8, "hidden_size": 4},
            "input_size=8, hidden_size=4",
            '"lstm", input_size=8, hidden_size=4',
        ),
        (GRU, (8,), {"hidden_size": 4, "update": "carry"}, "8, hidden_size=4", "GRU(update='carry'), 8, hidden_size=4"),
    ],
)
def test_a_cell_answers_sizes_with_its_network(
    cell: Any, arguments: Any, options: Any, given: str, network: str
) -> None:
    with pytest.raises(TypeError) as caught:
        cell(*arguments, **options)
    assert f"expected no sizes, got {given}: this is the cell, the equations" in str(caught.value)
    assert str(caught.value).endswith(f"its network is Recurrent({network})")


def test_candidate_is_carry_with_the_update_gate_negated() -> None:
    x = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)
    for reset in ("after", "before"):
        carry, candidate = (Recurrent(GRU(update, reset), 4, 6, seed=0) for update in ("carry", "candidate"))
        for values in candidate.parameters.values():
            values[6:12] *= -1
        np.testing.assert_array_equal(carry(x)[0], candidate(x)[0])


def test_gru_module_is_written_for_both_updates() -> None:
    assert set(gru.STAGES) == {(reset, update) for reset in ("after", "before") for update in ("candidate", "carry")}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions(dtype: Any) -> None:
    x: Any = np.array([-np.inf, -1e30, -80, -40, -1, -0.0, 0.0, 1, 40, 1e30, np.inf, np.nan], dtype)
    with np.errstate(all="ignore"):
        wide: Any = x.astype(np.longdouble)
        expected = {
            "exp": np.exp(wide),
            "tanh": np.tanh(wide),
            "sigmoid": 1 / (1 + np.exp(-wide)),
            "relu": np.where(wide > 0, wide, 0),
            "heaviside": (wide > 0).astype(dtype),
        }
        for name, values in expected.items():
            actual = getattr(functions, name)(x)
            assert actual.dtype == dtype
            np.testing.assert_allclose(actual[:-1], values[:-1].astype(dtype), rtol=4 * np.finfo(dtype).eps)
            assert np.isnan(actual[-1])
        for value in (np.inf, np.full_like(x, np.inf)):
            chosen = functions.where_positive(x, value)
            assert chosen.dtype == dtype
            np.testing.assert_array_equal(chosen, np.array([0] * 7 + [np.inf] * 4 + [np.nan], dtype))
        clamped = functions.clamp(x, -2.0, 3.0)
    assert clamped.dtype == dtype
    np.testing.assert_array_equal(clamped, np.array([-2, -2, -2, -2, -1, 0, 0, 1, 3, 3, 3, np.nan], dtype))


def test_all_that_a_cell_may_use() -> None:
    """Every operator and function, with numbers on either side, in a cell that is checked and differentiated."""

    def forward(pre: Values, state: Values) -> tuple[Values, Values]:
        a, b = pre
        smooth = functions.exp(-functions.sigmoid(a)) / (2 + functions.tanh(b) * 0.5) - 1
        kinked = functions.relu(a) + functions.clamp(b, -0.5, 0.5) + functions.heaviside(a)
        return (1 / (3 - smooth) + 0.25 * kinked,), (a, b)

    def backward(grad: Values, kept: Values, state: Values, new_state: Values) -> tuple[Values, Values]:
        a, b = kept
        s, t = functions.sigmoid(a), functions.tanh(b)
        e, d = functions.exp(-s), 2 + t * 0.5
        smooth = e / d - 1
        outer = grad[0] / ((3 - smooth) * (3 - smooth))
        inside = functions.where_positive(b + 0.5, functions.heaviside(0.5 - b))
        da = -outer * e * s * (1 - s) / d + functions.where_positive(a, grad[0]) * 0.25
        db = -outer * e / (d * d) * 0.5 * (1 - t * t) + grad[0] * 0.25 * inside
        return (da, db), (None,)

    class Everything(Cell):
        name = "everything"
        states = ("h",)
        stages = (Stage(("a", "b"), forward, backward, kept=("a", "b")),)

    check_gradients(Everything())
