"""Zoneout and dropout on every engine: against the oracle, which draws its own numbers, and finite differences."""

from __future__ import annotations

import copy
import itertools
import pickle
import re
import tracemalloc
from typing import Any

import drawn
import numpy as np
import pytest
from conftest import Array, Close
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_cells import irregular, partial_gates
from test_against_oracle import check
from test_cells_on_engines import skip_unless_executed

from rnncore import Recurrent
from rnncore.cells import LSTM, SLSTM, Cell, IndRNN, cell
from rnncore.verification.networks import VARIANTS, make_call
from rnncore.verification.reference import derivative_errors
from rnncore.verification.regularisation import random_words
from rnncore.verification.tolerances import DIFFERENCES
from rnncore_kernels.codegen.philox import Dropout, drop, philox
from rnncore_kernels.cpu import buffer_pool
from rnncore_kernels.numpy import NumpyEngine

EXECUTED = ("lstm", "gru_candidate_before")
ALL: dict[str, Any] = {"zoneout": 0.3, "recurrent_dropout": 0.4, "input_dropout": 0.2, "dropout": 0.5}

KNOWN = {
    ((0,) * 4, (0, 0)): (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2): (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)): (
        *(0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
}
"""The known answers of philox4x32-10 that come with Random123."""


@pytest.mark.parametrize(("counter", "key"), KNOWN)
def test_known_answers(counter: Any, key: Any) -> None:
    expected = KNOWN[counter, key]
    assert tuple(philox(counter, key)) == expected
    assert random_words(counter, key) == expected
    arrays = philox(*([np.full(3, word, np.uint64) for word in words] for words in (counter, key)))
    np.testing.assert_array_equal(arrays, np.array(expected, np.uint64)[:, None].repeat(3, 1))


@pytest.mark.parametrize(
    ("name", "one"),
    [
        *itertools.product(EXECUTED, ["zoneout", "recurrent_dropout"]),
        ("elman_relu", "zoneout"),
        ("lstm_projection", "recurrent_dropout"),
    ],
)
def test_each(backend: str, name: str, one: str, close: Close, nan_filled_empty: None) -> None:
    skip_unless_executed(backend, name, EXECUTED)
    check(make_call(VARIANTS[name], 3, 3, hidden_size=19, backend=backend, **{one: ALL[one]}), close)


@pytest.mark.parametrize(
    ("dtype", "states"), [("float32", True), pytest.param("float64", False, marks=pytest.mark.slow)]
)
def test_all_in_a_deep_ragged_network(backend: str, dtype: str, states: bool, close: Close) -> None:
    skip_unless_executed(backend, "lstm", EXECUTED[:1] if dtype == "float32" else ())
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "backend": backend, "dtype": dtype, **ALL}
    lengths = [2, 4, 0, 3]
    call = make_call(VARIANTS["lstm"], 4, 4, lengths=lengths, resets="given", states=states, **options)
    check(call, close, lengths=lengths)


def test_what_is_computed_again(close: Close) -> None:
    check(make_call(VARIANTS["lstm"], 18, 2, states=True, backend="numpy", dtype="float64", **ALL), close)


RATES = st.sampled_from([0.0, 0.2, 0.7, 1.0])
CALLS = drawn.calls(
    cell=st.sampled_from([VARIANTS[name] for name in ("lstm", "lstm_projection", "gru_candidate_before", "slstm_exp")]),
    resets=drawn.resets(),
    states=st.booleans(),
    zoneout=RATES | st.fixed_dictionaries({"h": RATES}),
    variational=st.booleans(),
    recurrent_dropout=RATES,
    input_dropout=RATES,
    dropout=RATES,
)


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=CALLS)
def test_any_call(options: dict[str, Any], close: Close, small_blocks: None) -> None:
    check(make_call(**options, dtype="float64", backend="numpy"), close, lengths=options["lengths"])


@pytest.mark.parametrize("one", [partial_gates, irregular], ids=repr)
def test_a_cell_of_ones_own(backend: str, one: Cell, close: Close) -> None:
    skip_unless_executed(backend, "one's own")
    check(make_call(one, 4, 3, backend=backend, dtype="float64", num_layers=2, **ALL), close)


def test_finite_differences() -> None:
    call = make_call(SLSTM(), 4, 3, step=None, num_layers=2, bidirectional=True, lengths=[4, 0, 2], **ALL)
    for name, error in derivative_errors(call):
        assert error <= DIFFERENCES, name


@cell(states="h", gates="a")
def counting(h: Any, a: Any) -> Any:
    """The states tell how often they were kept."""
    return h + a.x


def test_the_same_bits_on_every_engine(backend: str) -> None:
    skip_unless_executed(backend, "one's own")
    outputs = []
    for each in (backend, "numpy"):
        rnn = Recurrent(counting, 1, 67, zoneout=0.4, input_dropout=0.5, seed=0, backend=each, bidirectional=True)
        for values in rnn.parameters.values():
            values[...] = 1
        rnn.parameters["bias_ih_l0"][...] = 0
        outputs.append(rnn.forward(np.ones((9, 6, 1), np.float32), lengths=[9, 3, 5, 0, 9, 1])[0])
    np.testing.assert_array_equal(*outputs)
    assert 0.5 < (outputs[0][0, :3] > 0).mean() < 0.9


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 4, 1), (2, 3, 5), (5, 7, 67), (60, 16, 257), (0, 2, 3), (2, 0, 3), (2, 2, 0)])
def test_dropped_elements_are_numpys(backend: str, dtype: str, shape: tuple[int, ...]) -> None:
    engine = Recurrent("rnn", 1, 1, backend=backend)._engine
    for together, rate in ((False, 0.3), (True, 0.3), (False, 1.0)):
        dropout = Dropout(rate, (0xDEADBEEF, 0xFFFFFFFF), 5, together)
        values = np.random.default_rng(0).standard_normal((shape[1], shape[0], shape[2])).astype(dtype)
        values = values.swapaxes(0, 1)
        expected = values.copy()
        drop(np, expected, dropout)
        engine.drop(values, dropout)
        np.testing.assert_array_equal(values, expected)
        assert values.size < 10000 or abs((values == 0).mean() - rate) < 0.01
        assert not together or not shape[0] or ((values == 0) == (values[:1] == 0)).all()


def test_seeds(backend: str) -> None:
    def make(seed: int) -> Recurrent:
        return Recurrent("lstm", 4, 5, seed=seed, backend=backend, zoneout=0.4)

    skip_unless_executed(backend, "lstm", ("lstm",))
    x, rnn = np.ones((6, 3, 4), np.float32), make(1)
    first, second = rnn.forward(x)[0], rnn.forward(x)[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(make(1).forward(x)[0], first)
    rnn.reseed(1)
    copied = copy.deepcopy(rnn)
    for each in (rnn, copied):
        np.testing.assert_array_equal(each.forward(x)[0], first)
        np.testing.assert_array_equal(each.forward(x)[0], second)
    np.testing.assert_array_equal(rnn(x)[0], rnn(x)[0])


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads(threads: int) -> None:
    def make(threads: int) -> Recurrent:
        return Recurrent("gru", 40, 96, num_layers=2, seed=0, num_threads=threads, **ALL)

    x = np.random.default_rng(0).standard_normal((40, 48, 40)).astype(np.float32)
    results = []
    for rnn in (make(2), make(threads)):
        output, _, tape = rnn.forward(x)
        results.append((output, *rnn.backward(tape, output).parameters.values()))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_draw_alone(backend: str, close: Close) -> None:
    """A row and step have the same numbers whatever other rows there are, and after a call that failed."""
    skip_unless_executed(backend, "lstm", ("lstm",))
    x = np.random.default_rng(0).standard_normal((6, 5, 4)).astype(np.float32)
    outputs = []
    for rows, steps in ((5, 6), (2, 4)):
        rnn = Recurrent("lstm", 4, 5, num_layers=2, seed=0, backend=backend, **ALL)
        outputs.append(rnn.forward(x[:steps, :rows].copy())[0])
    close(outputs[0][:4, :2], outputs[1], "output")


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [None, [30, 7, 0]])
def test_segments_draw_what_the_whole_does(bidirectional: bool, lengths: list[int] | None, small_blocks: None) -> None:
    x, found = np.random.default_rng(0).standard_normal((30, 3, 4)).astype(np.float32), []
    before = x.copy()
    ways: list[dict[str, Any]] = [{}, {"recompute": True}, {} if bidirectional else {"truncate": 7}]
    for options in ways:
        rnn = Recurrent("gru", 4, 5, num_layers=2, bidirectional=bidirectional, seed=0, backend="numpy", **ALL)
        output, _, tape = rnn.forward(x, lengths=lengths, **options)
        found.append((output, rnn.backward(tape, np.ones_like(output))))
        np.testing.assert_array_equal(x, before)
    (whole, grads), (again, others), (cut, _) = found
    np.testing.assert_allclose(again, whole, atol=1e-6)
    np.testing.assert_allclose(cut, whole, atol=1e-6)
    np.testing.assert_allclose(others.x, grads.x, atol=1e-5)
    for name, gradient in others.parameters.items():
        np.testing.assert_allclose(gradient, grads.parameters[name], atol=1e-4)


def test_a_call_that_failed_draws_the_same_when_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rnn, other = (Recurrent("gru", 4, 5, zoneout=0.5, seed=3, backend="numpy") for _ in range(2))
    x = np.ones((3, 2, 4), np.float32)

    def fail(*_: Any) -> Any:
        raise MemoryError("no memory left")

    with monkeypatch.context() as failing:
        failing.setattr(NumpyEngine, "forward", fail)
        with pytest.raises(MemoryError):
            rnn.forward(x)
    np.testing.assert_array_equal(rnn.forward(x)[0], other.forward(x)[0])


def test_nothing_that_was_dropped_matters(backend: str) -> None:
    """Infinity and NaN are selected away, not multiplied by 0."""
    skip_unless_executed(backend, "lstm", ("lstm",))
    x = np.full((3, 2, 4), np.nan, np.float32)
    rnn = Recurrent("lstm", 4, 5, input_dropout=1.0, backend=backend)
    output, _, tape = rnn.forward(x)
    assert np.isfinite(output).all()
    assert not rnn.backward(tape, np.ones_like(output)).x.any()


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask of all elements is neither kept nor drawn."""
    pytest.importorskip("numba")

    def peak(**options: Any) -> int:
        # Memory of earlier calls would not be counted. One thread, as several take more, and how many there are changes
        # with the load of the machine.
        monkeypatch.setattr(buffer_pool, "_listed", {})
        rnn = Recurrent("lstm", 32, 32, num_layers=2, seed=0, backend="numba", num_threads=1, **options)
        x = np.ones((400, 32, 32), np.float32)
        most = 0
        for _ in range(2):
            tracemalloc.start()
            _, _, tape = rnn.forward(x)
            rnn.backward(tape, x)
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return most

    kept = peak()
    for options in ({"zoneout": 0.1}, {"input_dropout": 0.2, "dropout": 0.2}):
        assert peak(**options) < kept + 400 * 32 * 32


def test_options_are_saved(tmp_path: Any) -> None:
    options: dict[str, Any] = {**ALL, "zoneout": {"h": 0.1, "c": 0.2}, "variational": True, "num_layers": 2}
    rnn = Recurrent("lstm", 3, 4, seed=0, **options)
    rnn.save(tmp_path / "rnn.safetensors")
    read = Recurrent.load(tmp_path / "rnn.safetensors")
    assert repr(read) == repr(rnn)
    assert "zoneout={'h': 0.1, 'c': 0.2}" in repr(rnn)
    for name, value in options.items():
        assert getattr(read, name) == value
    x = np.ones((3, 2, 3), np.float32)
    for other in (read, Recurrent.from_state_dict(pickle.loads(pickle.dumps(rnn.state_dict())))):
        assert other.zoneout == rnn.zoneout
        np.testing.assert_array_equal(other(x)[0], rnn(x)[0])
    assert not np.array_equal(Recurrent("lstm", 3, 4, seed=0, num_layers=2)(x)[0], rnn(x)[0])


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    ("lstm", {"zoneout": 1.5}, "zoneout: expected a probability from 0 to 1, got 1.5"),
    ("lstm", {"zoneout": {"c": -0.1}}, "zoneout['c']: expected a probability from 0 to 1, got -0.1"),
    ("lstm", {"zoneout": {"m": 0.1}}, "zoneout: expected states of LSTM(), 'h', 'c', got the unknown 'm'"),
    ("lstm", {"recurrent_dropout": "0.1"}, "recurrent_dropout: expected a probability from 0 to 1, got '0.1'"),
    ("lstm", {"input_dropout": True}, "input_dropout: expected a probability from 0 to 1, got True"),
    ("lstm", {"variational": 1}, "variational: expected True or False, got int 1"),
    (IndRNN(), {"recurrent_dropout": 0.1}, "recurrent_dropout: expected 0 with IndRNN(), no gate of which multiplies"),
]


@pytest.mark.parametrize(("one", "options", "message"), WRONG)
def test_what_is_refused(one: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        Recurrent(one, 3, 4, **options)


@pytest.mark.parametrize("option", [{"zoneout": 0.1}, {"recurrent_dropout": 0.2}, {"variational": True}])
def test_what_pytorch_lacks(option: dict[str, Any]) -> None:
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=f"to_torch: {name}={value} has no counterpart in PyTorch: make a network"):
        Recurrent("lstm", 3, 4, **option).to_torch()


def test_what_onnx_lacks(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=r"to_onnx: zoneout=0\.1 has no counterpart in ONNX"):
        Recurrent("lstm", 3, 4, zoneout=0.1).to_onnx(tmp_path / "rnn.onnx")


def test_zoneout_of_some_states() -> None:
    rnn = Recurrent(LSTM(), 3, 4, zoneout={"c": 0.2})
    for network in (rnn, Recurrent.from_state_dict(rnn.state_dict()), Recurrent.from_state_dict(rnn.parameters)):
        assert network.zoneout == {"c": 0.2}
    x: Array = np.ones((3, 2, 3), np.float32)
    none, zero = (Recurrent("lstm", 3, 4, seed=0, zoneout=rate) for rate in (0.0, {"h": 0.0}))
    np.testing.assert_array_equal(none(x)[0], zero.forward(x)[0])
