"""Whose convention parameters from outside have: said, or refused where it matters."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import own_cells
import pytest
import safetensors.numpy
import stand_in_gpu as gpu
from minimal_gated_unit import MinimalGatedUnit

from rnncore import GRU, LSTM, Elman, Recurrent, registry
from rnncore.cells import IndRNN, MinGRU

X = np.linspace(-1, 1, 30, dtype=np.float32).reshape(5, 2, 3)
OPTIONS: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "backend": "numpy"}


def network(cell: Any, seed: int = 0, **options: Any) -> Recurrent:
    return Recurrent(cell, 3, 4, seed=seed, **{**OPTIONS, **options})


def assert_same_parameters(rnn: Recurrent, other: Recurrent) -> None:
    for name, values in rnn.parameters.items():
        np.testing.assert_array_equal(values, other.parameters[name])


def in_a_file(rnn: Recurrent, folder: Path) -> dict[str, Any]:
    rnn.save(folder / "rnn")
    return dict(safetensors.numpy.load_file(folder / "rnn"))


PLAIN: dict[str, Callable[[Recurrent, Path], dict[str, Any]]] = {
    "a dict": lambda rnn, folder: dict(rnn.state_dict()),
    "a comprehension": lambda rnn, folder: {name: values * 1 for name, values in rnn.state_dict().items()},
    "a file without its metadata": in_a_file,
}


@pytest.mark.parametrize("plain", PLAIN)
@pytest.mark.parametrize("cell", [GRU(), GRU("candidate", "before"), GRU("carry", "before")])
def test_a_gru_that_is_not_pytorchs_takes_parameters_that_say_whose_they_are(
    cell: GRU, plain: str, tmp_path: Path
) -> None:
    rnn, other = network(cell), network(cell, seed=1)
    before = other.state_dict()
    values = PLAIN[plain](rnn, tmp_path)
    with pytest.raises(ValueError, match=re.escape(f"that say whose GRU they are for, as {cell!r} is not PyTorch's")):
        other.load_state_dict(values)
    for name, array in other.parameters.items():
        np.testing.assert_array_equal(array, before[name])
    other.load_state_dict(values, convention="rnncore")
    assert_same_parameters(other, rnn)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"dtype": "float64"}])
def test_pytorchs_gru_computes_the_same_as_a_candidate_to_the_bit(options: dict[str, Any]) -> None:
    pytorchs, ours = network(GRU("carry"), **options), network("gru", seed=1, **options)
    values = dict(pytorchs.state_dict())
    ours.load_state_dict(values, convention="torch")
    x = X.astype(ours.dtype)
    np.testing.assert_array_equal(ours(x)[0], pytorchs(x)[0])
    for name, array in pytorchs.parameters.items():
        np.testing.assert_array_equal(ours.parameters[name][4:8], -array[4:8])
        np.testing.assert_array_equal(values[name], array)
    for convention in (None, "torch", "rnncore"):
        same = network(GRU("carry"), seed=2, **options)
        same.load_state_dict(values, convention)
        assert_same_parameters(same, pytorchs)


@pytest.mark.parametrize("cell", [LSTM(), Elman(), Elman("relu"), GRU("carry"), MinimalGatedUnit()])
def test_cells_that_both_conventions_fit_need_no_word(cell: Any) -> None:
    rnn = network(cell)
    for convention in (None, "rnncore"):
        other = network(cell, seed=1)
        other.load_state_dict(dict(rnn.state_dict()), convention)
        assert_same_parameters(other, rnn)


DUPLICATES: dict[str, Callable[[Recurrent], Any]] = {
    "as it is": lambda rnn: rnn.state_dict(),
    "parameters": lambda rnn: rnn.parameters,
    "copy": lambda rnn: rnn.state_dict().copy(),
    "copy.copy": lambda rnn: copy.copy(rnn.state_dict()),
    "deepcopy": lambda rnn: copy.deepcopy(rnn.state_dict()),
    "pickle": lambda rnn: pickle.loads(pickle.dumps(rnn.state_dict())),
}


@pytest.mark.parametrize("duplicate", DUPLICATES)
@pytest.mark.parametrize("cell", [GRU(), GRU("carry", "before"), LSTM(), MinimalGatedUnit()])
def test_parameters_of_a_network_say_whose_they_are(cell: Any, duplicate: str) -> None:
    rnn, other = network(cell), network(cell, seed=1)
    values = DUPLICATES[duplicate](rnn)
    other.load_state_dict(values)
    assert_same_parameters(other, rnn)
    own: dict[str, Any] = {"cell": cell} if isinstance(cell, MinimalGatedUnit) else {}
    assert_same_parameters(Recurrent.from_state_dict(values, backend="numpy", **own), rnn)
    with pytest.raises(ValueError, match="expected None or 'rnncore' for the parameters of a Recurrent, which are of"):
        other.load_state_dict(values, convention="torch")


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_parameters_of_another_gru_are_refused(duplicate: str) -> None:
    for cell, other in ((GRU(), GRU("carry")), (GRU("carry"), GRU()), (GRU("carry", "before"), GRU("carry"))):
        values = DUPLICATES[duplicate](network(cell))
        message = f"state_dict: expected the parameters of {other!r}, got those of the cell 'gru' with {cell.options}: "
        for convention in (None, "rnncore"):
            with pytest.raises(ValueError, match=re.escape(message)):
                network(other).load_state_dict(values, convention)
    rnn = network(GRU("carry"), seed=1)
    rnn.load_state_dict(dict(network(GRU()).state_dict()), convention="rnncore")
    assert_same_parameters(rnn, network(GRU()))


def test_a_file_needs_no_word(tmp_path: Path) -> None:
    rnn = network("gru")
    rnn.save(tmp_path / "rnn")
    assert_same_parameters(Recurrent.load(tmp_path / "rnn", backend="numpy"), rnn)


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        (GRU("carry"), {}),
        (LSTM(), {"num_layers": 3, "bidirectional": False, "bias": False}),
        (LSTM(), {"num_layers": 1, "dtype": "float64"}),
        (LSTM(projection=2), {}),
    ],
)
def test_a_network_of_pytorchs_parameters(cell: Any, options: dict[str, Any]) -> None:
    pytorchs = network(cell, **options)
    made = Recurrent.from_state_dict(
        dict(pytorchs.state_dict()), convention="torch", batch_first=True, dropout=0.5, backend="numpy", num_threads=1
    )
    assert made.cell == cell
    assert_same_parameters(made, pytorchs)
    for name in ("input_size", "hidden_size", "num_layers", "bidirectional", "bias", "dtype"):
        assert getattr(made, name) == getattr(pytorchs, name)
    assert (made.batch_first, made.dropout, made.num_threads) == (True, 0.5, 1)


def test_a_network_of_parameters_and_a_cell() -> None:
    pytorchs = network(GRU("carry"))
    values = dict(pytorchs.state_dict())
    ours = Recurrent.from_state_dict(values, convention="torch", cell="gru", backend="numpy")
    assert ours.cell == GRU()
    np.testing.assert_array_equal(ours(X)[0], pytorchs(X)[0])
    relu = network(Elman("relu"))
    assert_same_parameters(
        Recurrent.from_state_dict(dict(relu.state_dict()), "torch", cell=Elman("relu"), backend="numpy"), relu
    )


@pytest.mark.parametrize(
    "cell", [own_cells.partial_gates, own_cells.irregular, MinGRU(), LSTM(projection=2, peephole=True)]
)
def test_a_network_of_parameters_of_any_cell(cell: Any) -> None:
    """Sizes follow from what parameters the cell has."""
    for options in ({}, {"bias": False, "num_layers": 1}, {"dtype": "float64", "bidirectional": False}):
        rnn = network(cell, **options)
        for values in (rnn.state_dict(), dict(rnn.state_dict())):
            made = Recurrent.from_state_dict(values, convention="rnncore", cell=cell, backend="numpy")
            assert_same_parameters(made, rnn)
            for name in ("input_size", "hidden_size", "num_layers", "bidirectional", "bias", "dtype"):
                assert getattr(made, name) == getattr(rnn, name)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_biases_of_a_first_layer_that_has_no_place_for_them(num_layers: int) -> None:
    rnn = Recurrent(IndRNN(), None, 4, num_layers, bias=False, backend="numpy", seed=0)
    assert rnn.bias is False
    assert not [name for name in rnn.state_dict() if name.startswith("bias")]
    made = Recurrent.from_state_dict(rnn.state_dict(), backend="numpy")
    assert made.bias is (num_layers == 1)
    x = np.random.default_rng(0).standard_normal((3, 2, 4), np.float32)
    np.testing.assert_array_equal(made(x)[0], rnn(x)[0])


GRUS = dict(network("gru").state_dict())
ONE_GATE = dict(network("rnn").state_dict())
make: Callable[..., Recurrent] = Recurrent.from_state_dict

REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "an unknown convention": (
        lambda: network("gru").load_state_dict(GRUS, convention="keras"),
        ValueError,
        "convention: expected None, 'rnncore' or 'torch', got 'keras'",
    ),
    "an unknown convention where none is needed": (
        lambda: network("lstm").load_state_dict(network("lstm").state_dict(), convention=cast(Any, True)),
        ValueError,
        "convention: expected None, 'rnncore' or 'torch', got True",
    ),
    "a cell that PyTorch lacks": (
        lambda: network(GRU("carry", "before")).load_state_dict(GRUS, convention="torch"),
        ValueError,
        "convention='torch': GRU(update='carry', reset='before') has no counterpart in PyTorch, which has RNN",
    ),
    "a list of values": (
        lambda: network("gru").load_state_dict({**GRUS, "bias_ih_l1": [1.0]}, convention="torch"),
        TypeError,
        "bias_ih_l1: expected a numpy.ndarray, got list [1.0]",
    ),
    "no axis": (
        lambda: network("gru").load_state_dict({**GRUS, "bias_ih_l1": np.array(1, "f")}, convention="torch"),
        ValueError,
        "bias_ih_l1: expected (3*hidden_size,) = (12,), got ()",
    ),
    "truth values": (
        lambda: network("gru").load_state_dict({**GRUS, "bias_ih_l1": np.ones(12, bool)}, convention="torch"),
        TypeError,
        "bias_ih_l1: expected float32, got bool",
    ),
    "a name is missing": (
        lambda: network("gru", num_layers=3).load_state_dict(GRUS, convention="torch"),
        KeyError,
        "state_dict: missing ['weight_ih_l2'",
    ),
    "make: nothing said": (lambda: make(GRUS), ValueError, "cell: expected the name of a cell or an instance"),
    "make: one gate": (lambda: make(ONE_GATE, "torch"), ValueError, "one gate is an Elman cell, whose activation they"),
    "make: another number of gates": (
        lambda: make(dict(network("lstm").state_dict()), "torch", cell="gru"),
        ValueError,
        "weight_hh_l0: expected (3*hidden_size, hidden_size) for the cell GRU(update='candidate', reset='after'), got "
        "(16, 4), of 4 gates, as an LSTM has",
    ),
    "names that begin with a module's": (
        lambda: network("lstm").load_state_dict({f"rnn.{n}": v for n, v in network("lstm").state_dict().items()}),
        KeyError,
        "n.startswith('rnn.')}, or make the network with from_state_dict(values, prefix='rnn.')",
    ),
    "make: whose GRU": (lambda: make(GRUS, cell="gru"), ValueError, "parameters that say whose GRU they are for"),
    "make: another GRU": (
        lambda: make(network("gru").state_dict(), cell=GRU("carry")),
        ValueError,
        "expected the parameters of GRU(update='carry', reset='after'), got those of the cell 'gru' with {'update': 'c",
    ),
    "make: one's own cell": (
        lambda: make(network(MinimalGatedUnit()).state_dict()),
        ValueError,
        "state_dict: holds a network of the cell 'minimal_gated_unit', which is not the library's: pass it as cell=",
    ),
    "make: no mapping": (lambda: make([1]), TypeError, "state_dict: expected a mapping from names to arrays, got list"),
    "make: nothing": (lambda: make({}), ValueError, "hidden_size) among its arrays, got none"),
    "make: other arrays": (lambda: make({"weight": X}), ValueError, "hidden_size) among its arrays, got weight"),
    "make: a layer lacks a bias": (
        lambda: make({name: v for name, v in GRUS.items() if name != "bias_hh_l1"}, "torch"),
        KeyError,
        "state_dict: missing ['bias_hh_l1'], unknown []",
    ),
    "make: another's layer": (
        lambda: make(GRUS | {"linear_l9": X}, "torch"),
        KeyError,
        "state_dict: missing [], unknown ['linear_l9']",
    ),
    "make: another format": (
        lambda: make({name: v.astype(np.float16) for name, v in GRUS.items()}, "torch"),
        ValueError,
        "dtype: expected 'float32' or 'float64', got 'float16'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=re.escape(message)):
        call()


def test_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of the host and of the GPU, converted there."""
    monkeypatch.setitem(registry.MODULES, "cuda", "stand_in_gpu")
    registry._probe.cache_clear()
    pytorchs = network(GRU("carry"))
    for move in (np.asarray, gpu.asarray):
        rnn = network("gru", seed=1, backend="cuda")
        rnn.load_state_dict({name: move(v) for name, v in pytorchs.state_dict().items()}, convention="torch")
        for name, values in rnn.parameters.items():
            host = cast(Any, values).get()
            np.testing.assert_array_equal(host[4:8], -pytorchs.parameters[name][4:8])
            np.testing.assert_array_equal(host[8:], pytorchs.parameters[name][8:])
    registry._probe.cache_clear()


def dropped(rnn: Recurrent) -> Any:
    return rnn.forward(X)[0]


def test_dropout_of_a_network_that_was_loaded_is_seeded(tmp_path: Path) -> None:
    rnn = network("lstm", seed=5, dropout=0.5)
    rnn.save(tmp_path / "rnn")
    makers: tuple[Callable[[Any], Recurrent], ...] = (
        lambda seed: Recurrent.load(tmp_path / "rnn", backend="numpy", seed=seed),
        lambda seed: Recurrent.from_state_dict(rnn.state_dict(), dropout=0.5, backend="numpy", seed=seed),
    )
    expected = [dropped(rnn), dropped(rnn)]
    assert not np.array_equal(*expected)
    for load in makers:
        same = load(5)
        np.testing.assert_array_equal([dropped(same), dropped(same)], expected)
        assert not np.array_equal(dropped(load(6)), expected[0])
        assert not np.array_equal(dropped(load(None)), dropped(load(None)))
        with pytest.raises(ValueError, match=re.escape("seed: expected an integer of at least 0, got -1")):
            load(-1)
        with pytest.raises(TypeError, match=r"^seed: expected an integer, got float 1\.5"):
            load(1.5)


def test_reseed(tmp_path: Path) -> None:
    rnn, other = network("lstm", seed=5, dropout=0.5), network("lstm", seed=5, dropout=0.5)
    first = dropped(rnn)
    rnn.reseed(5)
    np.testing.assert_array_equal(dropped(rnn), first)
    assert_same_parameters(rnn, other)
    with pytest.raises(ValueError, match="seed: expected an integer of at least 0, got -1"):
        rnn.reseed(-1)
    np.testing.assert_array_equal(dropped(rnn), [dropped(other), dropped(other)][1])
    rnn.reseed(None)
    fresh = dropped(rnn)
    rnn.reseed(None)
    assert not np.array_equal(dropped(rnn), fresh)
