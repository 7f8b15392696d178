"""Cells: their options, their gradients in whole networks, and what of a network follows from them."""

from __future__ import annotations

import copy
import pickle
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import own_cells
import pytest
from finite_differences import check_gradients
from minimal_gated_unit import MinimalGatedUnit
from networks import CELLS

import rnncore.cells
from rnncore import GRU, LSTM, Elman, Recurrent
from rnncore.cells import Cell, cell, tanh

SURROGATES = ("lif",)
"""Cells whose gradient is not that of what they compute."""


@pytest.mark.parametrize("name", [name for name in CELLS if name not in SURROGATES])
def test_gradients_by_finite_differences(backend: str, name: str) -> None:
    check_gradients(CELLS[name][0], backend)


def test_cell_that_delays_its_state(backend: str) -> None:
    """A state that is another one of the step before: results alias arguments, and nothing may be overwritten too early."""

    @cell(states="h earlier", gates="a")
    def second_order(h: Any, earlier: Any, a: Any) -> Any:
        return tanh(a + earlier), h

    check_gradients(second_order, backend)
    x = np.random.default_rng(0).standard_normal((5, 3, 2)).astype(np.float32)
    rnn = Recurrent(second_order, 2, 4, backend=backend, seed=0)
    w_x, w_h, b_x, b_h = rnn.parameters.values()
    h, earlier = np.zeros((3, 4)), np.zeros((3, 4))
    for t in range(5):
        h, earlier = np.tanh(x[t] @ w_x.T + b_x + h @ w_h.T + b_h + earlier), h
    output, state = rnn(x, lengths=[5, 5, 2])
    np.testing.assert_allclose(output[4, :2], h[:2], atol=1e-6)
    np.testing.assert_allclose(state[1][0, :2], earlier[:2], atol=1e-6)


def test_a_cell_that_reads_neither_x_nor_its_state_through_weights(backend: str) -> None:
    @cell(states="h", units="rate", unit_inputs="drive")
    def leaky(h: Any, rate: Any, drive: Any) -> Any:
        return h + rate * (drive - h)

    check_gradients(leaky, backend)
    rnn = Recurrent(leaky, 0, 4, backend=backend, seed=0)
    assert list(rnn.parameters) == ["rate_l0"]
    drive = np.ones((3, 2, 4), np.float32)
    rate, h = rnn.parameters["rate_l0"], 0.0
    for t, y in enumerate(rnn(np.zeros((3, 2, 0), np.float32), inputs={"drive": drive})[0]):
        h = h + rate * (drive[t] - h)
        np.testing.assert_allclose(y, h, atol=1e-6)


@dataclass(frozen=True, repr=False, kw_only=True)
class Scaled(MinimalGatedUnit):
    factor: float = 1.0


def test_cells_pickle_with_their_options() -> None:
    for one in (GRU("carry", "before"), Elman("relu"), LSTM(), Scaled(factor=2.0)):
        assert pickle.loads(pickle.dumps(one)) == one
    assert repr(pickle.loads(pickle.dumps(MinimalGatedUnit()))) == "MinimalGatedUnit()"


def test_cells_of_a_function_pickle_by_their_name() -> None:
    assert pickle.loads(pickle.dumps(own_cells.driven)) is own_cells.driven
    assert copy.deepcopy(own_cells.driven) is copy.copy(own_cells.driven) is own_cells.driven
    rnn = Recurrent(own_cells.projected, 3, 4, backend="numpy", seed=0)
    x = np.ones((3, 2, 3), np.float32)
    for same in (pickle.loads(pickle.dumps(rnn)), copy.deepcopy(rnn)):
        np.testing.assert_array_equal(same(x)[0], rnn(x)[0])
        assert same.cell is own_cells.projected

    @cell(states="h", gates="a")
    def local(h: Any, a: Any) -> Any:
        return tanh(a) + h

    message = (
        r"the cell local cannot be pickled: it is found by its name, and test_cells has no such cell .*local: define"
    )
    with pytest.raises(pickle.PicklingError, match=message):
        pickle.dumps(Recurrent(local, 3, 4, backend="numpy"))
    np.testing.assert_array_equal(copy.deepcopy(Recurrent(local, 3, 4, backend="numpy", seed=0))(x)[0].shape, (3, 2, 4))


def test_options() -> None:
    assert repr(GRU(update="carry")) == "GRU(update='carry', reset='after')"
    assert repr(Elman("relu")) == "Elman(activation='relu')"
    assert repr(MinimalGatedUnit()) == "MinimalGatedUnit()"
    assert repr(own_cells.driven) == "driven"
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


def test_an_option_that_is_a_truth_value_is_not_a_size() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'peepholes'"):
        LSTM(peepholes=True)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "hint"), [("LSTM", ": did you mean 'lstm'?"), ("gruu", ": did you mean 'gru'?"), ("", "")]
)
def test_a_name_that_is_nearly_one(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match="cell: expected one of 'rnn', ") as caught:
        Recurrent(name, 3, 4)
    assert str(caught.value).endswith(f"or an instance of Cell, got {name!r}{hint}")


def test_candidate_is_carry_with_the_update_gate_negated() -> None:
    x = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)
    for reset in ("after", "before"):
        carry, candidate = (Recurrent(GRU(update, reset), 4, 6, seed=0) for update in ("carry", "candidate"))
        for values in candidate.parameters.values():
            values[6:12] *= -1
        np.testing.assert_array_equal(carry(x)[0], candidate(x)[0])


def test_the_public_module_has_all_that_a_definition_needs() -> None:
    functions = (
        "exp log sqrt tanh sigmoid log_sigmoid softplus relu silu abs maximum minimum clamp sin cos where mean total"
    )
    names = {*functions.split(), "project", "heaviside", "observe", "layer_norm", "Cell", "cell", "CellError", "CELLS"}
    assert names <= set(rnncore.cells.__all__)
    assert {kind.__name__ for kind in rnncore.cells.CELLS.values()} <= set(rnncore.cells.__all__)
    for name in rnncore.cells.__all__:
        assert hasattr(rnncore.cells, name)


def test_an_observed_value_is_computed_with() -> None:
    @cell(states="h", gates="a")
    def watched(h: Any, a: Any) -> Any:
        return rnncore.cells.observe("candidate", tanh(a)) + h

    x = np.ones((2, 1, 3), np.float32)
    rnn = Recurrent(watched, 3, 4, backend="numpy", seed=0)
    assert isinstance(rnn.cell, Cell)
    assert rnn(x)[0].any()
