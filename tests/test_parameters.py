"""Parameters: names, initial values, updates that every later call sees, loading."""

from __future__ import annotations

import re
from typing import Any, cast

import numpy as np
import pytest
from own_cells import partial_gates, projected

from rnncore import Recurrent
from rnncore.cells import CellError, cell, project, tanh


def test_names_shapes_and_order() -> None:
    rnn = Recurrent("lstm", 3, 5, num_layers=2, bidirectional=True)
    assert {name: values.shape for name, values in rnn.parameters.items()} == {
        "weight_ih_l0": (20, 3),
        "weight_hh_l0": (20, 5),
        "bias_ih_l0": (20,),
        "bias_hh_l0": (20,),
        "weight_ih_l0_reverse": (20, 3),
        "weight_hh_l0_reverse": (20, 5),
        "bias_ih_l0_reverse": (20,),
        "bias_hh_l0_reverse": (20,),
        "weight_ih_l1": (20, 10),
        "weight_hh_l1": (20, 5),
        "bias_ih_l1": (20,),
        "bias_hh_l1": (20,),
        "weight_ih_l1_reverse": (20, 10),
        "weight_hh_l1_reverse": (20, 5),
        "bias_ih_l1_reverse": (20,),
        "bias_hh_l1_reverse": (20,),
    }
    assert list(Recurrent("gru", 3, 5, bias=False).parameters) == ["weight_ih_l0", "weight_hh_l0"]
    assert len(rnn.parameters) == 16
    assert repr(Recurrent("rnn", 3, 5, bias=False).parameters) == (
        "Parameters(weight_ih_l0 (5, 3), weight_hh_l0 (5, 5))"
    )


def test_initial_values() -> None:
    rnn = Recurrent("lstm", 50, 100, seed=7)
    for values in rnn.parameters.values():
        assert values.dtype == np.float32
        assert abs(values).max() <= 0.1
        assert abs(values.mean()) < 0.01
        assert abs(values.std() - 0.1 / np.sqrt(3)) < 0.004
    for name, values in Recurrent("lstm", 50, 100, seed=7, dtype="float64").parameters.items():
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values.astype(np.float32), rnn.parameters[name])
    other = Recurrent("lstm", 50, 100, seed=8)
    assert not np.array_equal(other.parameters["weight_ih_l0"], rnn.parameters["weight_ih_l0"])
    first, second = (Recurrent("lstm", 50, 100).parameters["weight_ih_l0"] for _ in range(2))
    assert not np.array_equal(first, second)


def test_parameters_of_a_cell_of_ones_own() -> None:
    """Gates have weights where they are used; then come matrices, unit parameters, scalars, as the cell says."""
    rnn = Recurrent(partial_gates, 3, 5, bidirectional=True, seed=0)
    assert {name: values.shape for name, values in list(rnn.parameters.items())[:7]} == {
        "weight_ih_l0": (5, 3),
        "weight_hh_l0": (5, 5),
        "bias_ih_l0": (5,),
        "bias_hh_l0": (5,),
        "gain_l0": (5,),
        "tau_l0": (5,),
        "s_l0": (),
    }
    assert list(rnn.parameters)[7:] == [f"{name}_reverse" for name in list(rnn.parameters)[:7]]
    for end in ("", "_reverse"):
        np.testing.assert_array_equal(rnn.parameters[f"gain_l0{end}"], np.ones(5, np.float32))
        assert rnn.parameters[f"s_l0{end}"] == 0.5
        assert 0 < abs(rnn.parameters[f"tau_l0{end}"]).max() <= 5**-0.5
    assert {name: v.shape for name, v in Recurrent(projected, 3, 5, num_layers=2, bias=False).parameters.items()} == {
        "weight_ih_l0": (10, 3),
        "weight_hh_l0": (10, 2),
        "weight_hr_l0": (2, 5),
        "weight_ih_l1": (10, 2),
        "weight_hh_l1": (10, 2),
        "weight_hr_l1": (2, 5),
    }


def test_scalars_are_written_to_and_seen(backend: str) -> None:
    rnn = Recurrent(partial_gates, 3, 4, backend=backend, seed=0)
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    values, frozen = rnn.parameters["s_l0"], rnn.freeze()
    before, _ = rnn(x)
    start = before

    def assign() -> None:
        rnn.parameters["s_l0"] = np.asarray(0.75, np.float32)

    for write in (lambda: values.__imul__(np.float32(2)), lambda: values.fill(0.125), assign):
        write()
        after, _ = rnn(x)
        assert not np.array_equal(after, before)
        before = after
    assert rnn.parameters["s_l0"] is values
    np.testing.assert_array_equal(frozen(x)[0], start)


def test_a_scalar_that_nobody_holds_is_written_to(backend: str) -> None:
    rnn = Recurrent(partial_gates, 3, 4, backend=backend, seed=0)
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    before, _ = rnn(x)
    rnn.parameters["s_l0"][...] = 2
    assert not np.array_equal(rnn(x)[0], before)


def test_refused_values_of_a_cell_of_ones_own() -> None:
    rnn = Recurrent(partial_gates, 3, 4)
    for name, wrong, message in (
        ("s_l0", np.ones(1, np.float32), "s_l0: expected no axes = (), got (1,)"),
        ("gain_l0", np.ones(3, np.float32), "gain_l0: expected (hidden_size,) = (4,), got (3,)"),
        ("weight_hh_l0", np.ones((8, 4), np.float32), "expected (1*hidden_size, hidden_size) = (4, 4), got (8, 4)"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            rnn.parameters[name] = wrong
    with pytest.raises(ValueError, match=re.escape("weight_hr_l0: expected (2, hidden_size) = (2, 4), got (4, 4)")):
        Recurrent(projected, 3, 4).parameters["weight_hr_l0"] = np.ones((4, 4), np.float32)
    with pytest.raises(ValueError, match=re.escape("weight_hh_l0: expected (2*hidden_size, 2) = (8, 2), got (8, 4)")):
        Recurrent(projected, 3, 4).parameters["weight_hh_l0"] = np.ones((8, 4), np.float32)


def test_names_of_parameters_that_collide_are_refused() -> None:
    @cell(states="h", gates="a", units="weight_p")
    def twice(h: Any, a: Any, weight_p: Any) -> Any:
        return tanh(a * weight_p + project("p", h))

    with pytest.raises(
        CellError, match=re.escape("twice: expected different names of parameters, got weight_p for the")
    ):
        Recurrent(twice, 3, 4)


def test_every_way_of_writing_is_seen(backend: str) -> None:
    rnn = Recurrent("gru", 3, 4, num_layers=2, backend=backend, seed=0)
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    values = rnn.parameters["weight_hh_l1"]
    raw = memoryview(cast(Any, values)).cast("B").cast("f")

    def assign() -> None:
        rnn.parameters["weight_hh_l1"] = values * 2

    def add_through_the_mapping() -> None:
        rnn.parameters["weight_hh_l1"] += 1

    def write_bytes() -> None:
        raw[0] = 3.0

    ways = (
        assign,
        add_through_the_mapping,
        write_bytes,
        lambda: values.__isub__(np.float32(0.5)),
        lambda: np.multiply(values, 3, out=values),
        lambda: values[2:].fill(0.25),
        lambda: np.asarray(values).__setitem__(..., 1),
        lambda: rnn.parameters.update({"bias_ih_l0": np.ones(12, np.float32)}),
    )
    frozen = rnn.freeze()
    before, _ = rnn(x)
    start = before
    for write in ways:
        write()
        after, _ = rnn(x)
        assert not np.array_equal(after, before)
        np.testing.assert_array_equal(rnn.forward(x)[0], after)
        np.testing.assert_array_equal(rnn.freeze()(x)[0], after)
        y, _ = rnn.step(x[0])
        np.testing.assert_allclose(y, after[0], atol=1e-6)
        before = after
    assert rnn.parameters["weight_hh_l1"] is values
    np.testing.assert_array_equal(frozen(x)[0], start)


def test_state_dict_is_a_copy_and_loads_back() -> None:
    rnn, other = Recurrent("lstm", 3, 4, seed=0), Recurrent("lstm", 3, 4, seed=1)
    saved = rnn.state_dict()
    other.load_state_dict(saved)
    saved["weight_ih_l0"][...] = 0
    for name, values in rnn.parameters.items():
        np.testing.assert_array_equal(other.parameters[name], values)
        assert not np.shares_memory(other.parameters[name], values)


def test_assigned_values_are_copied() -> None:
    rnn = Recurrent("rnn", 3, 4)
    values = np.ones((4, 3), np.float32)
    rnn.parameters["weight_ih_l0"] = values
    values[...] = 0
    assert rnn.parameters["weight_ih_l0"].all()
    rnn.parameters["weight_ih_l0"] = np.asfortranarray(np.full((4, 3), 2, np.float32))
    assert rnn.parameters["weight_ih_l0"].flags.c_contiguous


def test_refused_values_change_nothing() -> None:
    rnn = Recurrent("lstm", 3, 4, seed=0)
    before = rnn.state_dict()
    good = {name: values * 2 for name, values in before.items()}
    for nothing in (None, [1]):
        with pytest.raises(TypeError, match="state_dict: expected a mapping from names to arrays, got "):
            rnn.load_state_dict(cast(Any, nothing))
        with pytest.raises(TypeError, match="parameters: expected a mapping from names to arrays, got "):
            rnn.parameters.update(cast(Any, nothing))
    refusals: tuple[tuple[dict[str, Any], type[Exception], str], ...] = (
        (
            {"weight_ih_l0": np.ones((3, 16), np.float32)},
            ValueError,
            "expected (4*hidden_size, input_size of the layer)",
        ),
        ({"weight_hh_l0": np.ones((3, 16), np.float32)}, ValueError, "expected (4*hidden_size, hidden_size) = (16, 4)"),
        ({"bias_hh_l0": np.ones(4, np.float32)}, ValueError, "bias_hh_l0: expected (4*hidden_size,) = (16,), got (4,)"),
        ({"bias_hh_l0": np.ones(16)}, TypeError, "expected float32, got float64: convert it with .astype('float32')"),
        ({"bias_hh_l0": np.ma.ones(16, np.float32)}, TypeError, "its mask would be ignored; fill it"),
        ({"bias_hh_l0": [0.0] * 16}, TypeError, "bias_hh_l0: expected a numpy.ndarray (16,) of float32, got list [0.0"),
    )
    for wrong, error, message in refusals:
        with pytest.raises(error, match=re.escape(message)):
            rnn.parameters.update({**good, **wrong})
        with pytest.raises(error, match=re.escape(message)):
            rnn.load_state_dict({**good, **wrong})
    with pytest.raises(KeyError, match="no parameter 'weight'; there are weight_ih_l0, weight_hh_l0"):
        rnn.parameters["weight"] = np.ones(3)
    with pytest.raises(KeyError, match="no parameter 'weight'"):
        rnn.parameters.update({**good, "weight": np.ones(3)})
    missing = {name: values for name, values in good.items() if name != "bias_ih_l0"}
    with pytest.raises(KeyError, match=re.escape("state_dict: missing ['bias_ih_l0'], unknown []")):
        rnn.load_state_dict(missing)
    with pytest.raises(KeyError, match=re.escape("state_dict: missing [], unknown ['weight_ih_l1']")):
        rnn.load_state_dict({**good, "weight_ih_l1": good["weight_ih_l0"]})
    for name, values in rnn.parameters.items():
        np.testing.assert_array_equal(values, before[name])


def test_values_that_are_views_of_other_parameters() -> None:
    parameters = Recurrent("lstm", 3, 3, bidirectional=True, seed=0).parameters
    forward, reverse = parameters["weight_hh_l0"], parameters["weight_hh_l0_reverse"]
    before = forward.copy(), reverse.copy()
    parameters.update({"weight_hh_l0": reverse, "weight_hh_l0_reverse": forward})
    np.testing.assert_array_equal(forward, before[1])
    np.testing.assert_array_equal(reverse, before[0])


def test_a_parameter_that_was_made_read_only() -> None:
    rnn = Recurrent("lstm", 3, 4, seed=0)
    before = rnn.state_dict()
    rnn.parameters["bias_hh_l0"].setflags(write=False)
    with pytest.raises(ValueError, match="bias_hh_l0: the parameter is read-only"):
        rnn.load_state_dict({name: values * 2 for name, values in before.items()})
    for name, values in rnn.parameters.items():
        np.testing.assert_array_equal(values, before[name])


def test_comparison_is_by_identity() -> None:
    first, second = Recurrent("lstm", 3, 4, seed=0), Recurrent("lstm", 3, 4, seed=0)
    assert first.parameters == first.parameters
    assert first.parameters != second.parameters


def test_parameters_cannot_be_replaced_or_removed() -> None:
    rnn = Recurrent("lstm", 3, 4)
    with pytest.raises(AttributeError):
        rnn.parameters = {}  # type: ignore[assignment,misc]
    with pytest.raises((TypeError, AttributeError)):
        del rnn.parameters["weight_ih_l0"]  # type: ignore[attr-defined]
