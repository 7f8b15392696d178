"""The cells of the library: sizes and steps on the engines of this machine, names, parameters, options and papers."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Close
from test_against_oracle import check
from test_cells_on_engines import RICH

from rnncore import Recurrent
from rnncore.cells import CELLS, GRU, LSTM, Cell
from rnncore.states import as_tuple, unwrap_state
from rnncore.verification.networks import VARIANTS, Call, make_call, step_of
from rnncore_kernels.cells import SHIPPED


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "hidden", "inputs"), [(1, 19, 5), (7, 33, 2), (2, 32, 16)])
@pytest.mark.parametrize("name", RICH)
def test_wide(backend: str, name: str, batch: int, hidden: int, inputs: int, close: Close) -> None:
    """More units than a vector has, and a number of rows and units that is no multiple of anything."""
    call = make_call(VARIANTS[name], 3, batch, hidden_size=hidden, input_size=inputs, backend=backend)
    check(call, close)


@pytest.mark.parametrize("name", VARIANTS)
def test_step_by_step(backend: str, name: str, close: Close) -> None:
    """The states behind each step, one call a step, are those of the whole sequence."""
    call = make_call(VARIANTS[name], 4, 2, backend=backend)
    expected = call.expected()
    state: Any = call.state
    for t, x_t in enumerate(call.x):
        options: dict[str, Any] = {}
        if call.inputs:
            options["inputs"] = {key: values[t : t + 1] for key, values in call.inputs.items()}
        output, state = call.rnn(x_t[None], unwrap_state(state), **options)
        close(output[0], expected.output[t], "output")
        state = as_tuple(state)
    for value, wanted in zip(state, expected.state, strict=True):
        close(value, wanted, "state")


def test_every_cell_has_a_name_a_variant_and_an_oracle() -> None:
    assert {type(cell) for cell in VARIANTS.values()} == set(SHIPPED)
    assert set(CELLS.values()) == set(SHIPPED)
    assert all(CELLS[shipped.name] is shipped for shipped in SHIPPED)
    assert all(step_of(cell) for cell in VARIANTS.values())
    assert len(set(VARIANTS.values())) == len(VARIANTS)


def test_the_page_of_cells_has_all_of_them() -> None:
    page = (Path(__file__).parent.parent / "docs" / "shipped_cells.md").read_text()
    assert re.findall(r"^\| `(?:rnn`, `)?(\w+)`", page, re.MULTILINE) == [shipped.name for shipped in SHIPPED]
    for shipped in SHIPPED:
        options = inspect.signature(shipped).parameters.values()
        call = ", ".join(f"{option.name}={option.default!r}" for option in options).replace("'", '"')
        assert f"`{shipped.__name__}({call})`" in page


@pytest.mark.parametrize("shipped", SHIPPED)
def test_every_cell_has_its_paper(shipped: type[Cell]) -> None:
    module = inspect.getmodule(shipped)
    assert module is not None
    assert re.search(r"\b(19|20)\d\d\b", f"{shipped.__doc__} {module.__doc__}")


def test_parameters_are_named_after_what_they_are() -> None:
    def names(cell: Cell | str) -> set[str]:
        rnn = Recurrent(cell, 3, 4, backend="numpy")
        return {name for name in rnn.parameters if not name.startswith(("weight_ih", "weight_hh", "bias"))}

    assert names(LSTM(peephole=True)) == {"peephole_i_l0", "peephole_f_l0", "peephole_o_l0"}
    assert names(LSTM(peephole=True, coupled=True)) == {"peephole_i_l0", "peephole_o_l0"}
    assert names(LSTM(projection=2)) == {"weight_hr_l0"}
    assert names("fastgrnn") == {"b_z_l0", "b_h_l0", "zeta_l0", "nu_l0"}
    assert names("lstm") == set()


def test_parameters_begin_with_numbers_of_their_own() -> None:
    rnn = Recurrent("layernorm_lstm", 3, 4, backend="numpy")
    assert (rnn.parameters["gain_c_l0"] == 1).all()
    assert (rnn.parameters["shift_c_l0"] == 0).all()
    assert Recurrent("fastgrnn", 3, 4, backend="numpy").parameters["nu_l0"] == -4
    assert Recurrent(LSTM(peephole=True), 3, 4, backend="numpy").parameters["peephole_i_l0"].any()


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("lstm", {"peephole": 1}, TypeError, "LSTM: peephole: expected True or False, got 1"),
        ("lstm", {"coupled": "yes"}, TypeError, "LSTM: coupled: expected True or False, got 'yes'"),
        ("lstm", {"projection": 0}, ValueError, "LSTM: projection: expected a whole number from 1 on, or None, got 0"),
        ("lstm", {"projection": 2.5}, ValueError, "projection: expected a whole number from 1 on, or None, got 2.5"),
        ("lstm", {"projection": True}, ValueError, "projection: expected a whole number from 1 on, or None, got True"),
        ("ran", {"activation": "relu"}, ValueError, "RAN: activation: expected one of 'tanh', 'identity', got 'relu'"),
        ("slstm", {"forget": "tanh"}, ValueError, "SLSTM: forget: expected one of 'sigmoid', 'exp', got 'tanh'"),
        ("janet", {"beta": "1"}, TypeError, "JANET: beta: expected a Python number, got '1'"),
        ("janet", {"beta": np.inf}, ValueError, "JANET: beta: expected a finite number, got inf"),
        ("lem", {"dt": 0}, ValueError, "LEM: dt: expected a finite number greater than 0, got 0"),
        ("cornn", {"gamma": -1.0}, ValueError, "CoRNN: gamma: expected a finite number greater than 0, got -1.0"),
        ("cornn", {"epsilon": True}, TypeError, "CoRNN: epsilon: expected a Python number, got True"),
        ("lif", {"slope": np.nan}, ValueError, "LIF: slope: expected a finite number greater than 0, got nan"),
    ],
)
def test_options_of_the_wrong_kind(name: str, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        CELLS[name](**options)


@pytest.mark.parametrize("shipped", SHIPPED)
def test_sizes_are_answered_with_the_network(shipped: type[Cell]) -> None:
    make: Any = shipped
    with pytest.raises(TypeError, match=rf'Recurrent\("{shipped.name}", 28, 128\)'):
        make(28, 128)


def test_coupled_and_projected_cells_contain_the_plain_ones() -> None:
    """With peepholes of 0 the peephole LSTM is the LSTM, and with the identity for a matrix the projected is."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 2, 3)).astype(np.float32)
    plain = Recurrent("lstm", 3, 4, seed=0, backend="numpy")
    peephole = Recurrent(LSTM(peephole=True), 3, 4, seed=1, backend="numpy")
    for name, values in peephole.parameters.items():
        values[...] = 0 if name.startswith("peephole") else plain.parameters[name]
    assert np.array_equal(plain(x)[0], peephole(x)[0])
    assert GRU() != GRU("carry")
    assert LSTM() != LSTM(peephole=True)


def test_a_spike_is_0_or_1() -> None:
    call: Call = make_call(VARIANTS["lif"], 20, 8, backend="numpy")
    output, _ = call.rnn(call.x)
    assert set(np.unique(output)) == {0.0, 1.0}
