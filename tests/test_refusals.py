"""Bad input: each refusal names the argument, what was expected and what came, and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from own_cells import projected

from rnncore import GRU, LSTM, Recurrent
from rnncore.cells import Cell


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.zeros(shape, dtype)


def lstm(**options: Any) -> Recurrent:
    return Recurrent("lstm", 8, 4, **{"seed": 0, **options})


CONSTRUCTION: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: Recurrent("lstn", 8, 4), ValueError, "cell: expected one of 'rnn', 'elman', 'lstm', 'gru', "),
    (lambda: Recurrent(LSTM, 8, 4), TypeError, "cell: expected an instance of Cell, got the class LSTM: write LSTM()"),  # type: ignore[arg-type]
    (lambda: Recurrent(3, 8, 4), TypeError, "cell: expected the name of a cell or an instance of Cell, got int"),  # type: ignore[arg-type]
    (
        lambda: Recurrent(projected, 8, 1),
        ValueError,
        "cell: projected: expected projections of at most hidden_size=1 units, got 'hr' of 2: make it narrower",
    ),
    (
        lambda: Recurrent("lstm", 8, 4, dropot=0.1),  # type: ignore[call-arg]
        TypeError,
        "dropot: expected options of Recurrent, which are cell, input_size, hidden_size, num_layers, ",
    ),
    (
        lambda: Recurrent("lstm", 8, 4, num_layer=2),  # type: ignore[call-arg]
        TypeError,
        "variational, got another: did you mean 'num_layers'?",
    ),
    (lambda: Recurrent("lstm", -1, 4), ValueError, "input_size: expected an integer of at least 0, got -1"),
    (lambda: Recurrent("lstm", 8, 0), ValueError, "hidden_size: expected an integer of at least 1, got 0"),
    (lambda: Recurrent("lstm", 8, -4), ValueError, "hidden_size: expected an integer of at least 1, got -4"),
    (lambda: Recurrent("lstm", 8, 4.0), TypeError, "hidden_size: expected an integer, got float 4.0"),  # type: ignore[arg-type]
    (lambda: Recurrent("lstm", 8, True), ValueError, "hidden_size: expected an integer of at least 1, got True"),
    (lambda: lstm(num_layers=0), ValueError, "num_layers: expected an integer of at least 1, got 0"),
    (lambda: lstm(bidirectional="yes"), TypeError, "bidirectional: expected True or False, got str 'yes'"),
    (lambda: lstm(bias=None), TypeError, "bias: expected True or False, got NoneType None"),
    (lambda: lstm(dropout=1.5), ValueError, "dropout: expected a probability from 0 to 1, got 1.5"),
    (lambda: lstm(dropout=float("nan")), ValueError, "dropout: expected a probability from 0 to 1, got nan"),
    (lambda: lstm(dropout=True), ValueError, "dropout: expected a probability from 0 to 1, got True"),
    (lambda: lstm(dropout=None), ValueError, "dropout: expected a probability from 0 to 1, got None"),
    (lambda: lstm(dropout=np.complex64(0.5)), ValueError, "dropout: expected a probability from 0 to 1, got"),
    (lambda: lstm(backend=["numpy"]), ValueError, "backend: expected 'auto', 'cuda', 'numba', 'numpy', got ['numpy']"),
    (lambda: lstm(dtype="float16"), ValueError, "dtype: expected 'float32' or 'float64', got 'float16'"),
    (lambda: lstm(dtype="floaty"), ValueError, "dtype: expected 'float32' or 'float64', got 'floaty'"),
    (lambda: lstm(dtype=None), ValueError, "dtype: expected 'float32' or 'float64', got None"),
    (lambda: lstm(seed=-1), ValueError, "seed: expected an integer of at least 0, got -1"),
    (lambda: lstm(num_threads=0), ValueError, "num_threads: expected an integer of at least 1, got 0"),
    (lambda: lstm(backend="tpu"), ValueError, "backend: expected 'auto', 'cuda', 'numba', 'numpy', got 'tpu'"),
]

x = zeros(5, 2, 8)
pair = (zeros(1, 2, 4), zeros(1, 2, 4))


class _OnGpu:
    shape = (5, 2, 8)
    __cuda_array_interface__: ClassVar[dict[str, Any]] = {}


CALLS: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    ({}, {"x": zeros(5, 2, 7)}, ValueError, "x: expected (T, B, input_size=8), got (5, 2, 7)"),
    ({"batch_first": True}, {"x": zeros(5, 2, 7)}, ValueError, "x: expected (B, T, input_size=8), got (5, 2, 7)"),
    ({}, {"x": zeros(5, 7)}, ValueError, "x: expected (T, input_size=8), got (5, 7)"),
    (
        {},
        {"x": zeros(8)},
        ValueError,
        "x: expected (T, B, input_size=8), or (T, input_size=8) for one sequence without a batch, got (8,)",
    ),
    ({}, {"x": zeros(1, 5, 2, 8)}, ValueError, "got (1, 5, 2, 8)"),
    (
        {},
        {"x": zeros(5, 2, 8, dtype=np.float64)},
        TypeError,
        "x: expected float32, got float64: convert it with .astype('float32') or make the network with dtype='float64'",
    ),
    (
        {"dtype": "float64"},
        {"x": x},
        TypeError,
        "convert it with .astype('float64') or make the network with dtype='floa",
    ),
    (
        {},
        {"x": zeros(5, 2, 8, dtype=np.int64)},
        TypeError,
        "x: expected float32, got int64: convert it with .astype('flo",
    ),
    (
        {},
        {"x": zeros(5, 2, 8, dtype=">f4")},
        TypeError,
        "x: expected float32, got >f4: convert it with .astype('float32'",
    ),
    (
        {},
        {"x": [[1.0]]},
        TypeError,
        "x: expected a numpy.ndarray (T, B, input_size=8) of float32, got list [[1.0]]: conv",
    ),
    ({}, {"x": _OnGpu()}, TypeError, "which is on a GPU: nothing moves between devices by itself; copy it to the host"),
    (
        {},
        {"x": x, "state": pair[0]},
        TypeError,
        "state: expected a tuple (h, c) of arrays, got numpy.ndarray (1, 2, 4)",
    ),
    ({}, {"x": x, "state": pair[:1]}, TypeError, "state: expected a tuple (h, c) of arrays, got 1 values"),
    (
        {},
        {"x": x, "state": (pair[0], zeros(1, 2, 5))},
        ValueError,
        "state[1] (c): expected (num_layers=1, B=2, hidden_size=4), got (1, 2, 5)",
    ),
    (
        {"bidirectional": True, "num_layers": 2},
        {"x": x, "state": pair},
        ValueError,
        "state[0] (h): expected (num_layers*2=4, B=2, hidden_size=4), got (1, 2, 4)",
    ),
    (
        {},
        {"x": zeros(5, 8), "state": pair},
        ValueError,
        "state[0] (h): expected (num_layers=1, hidden_size=4), got (1, 2, 4)",
    ),
    (
        {},
        {"x": x, "state": tuple(s.astype(float) for s in pair)},
        TypeError,
        "state[0] (h): expected float32, got float64: convert it with .astype('float32')",
    ),
    (
        {},
        {"x": x, "state": (zeros(1, 5, 4), zeros(1, 5, 4))},
        ValueError,
        "state[0] (h): expected (num_layers=1, B=2, hidden_size=4), got (1, 5, 4): x was read as (T=5, B=2, ...); if these "
        "axes are swapped, write batch_first=True or swap them",
    ),
    (
        {"batch_first": True},
        {"x": x, "state": pair},
        ValueError,
        "got (1, 2, 4): x was read as (B=5, T=2, ...); if these axes are swapped, write batch_first=False",
    ),
    ({}, {"x": x, "lengths": [5, -1]}, ValueError, "lengths: expected 0 to T=5, got -1 at index 1"),
    ({}, {"x": x, "lengths": [6, 1]}, ValueError, "lengths: expected 0 to T=5, got 6 at index 0"),
    (
        {},
        {"x": x, "lengths": np.ma.array([5, 1])},
        TypeError,
        "lengths: expected (B=2,) integers, got numpy.MaskedArray",
    ),
    ({}, {"x": x, "lengths": [5]}, ValueError, "lengths: expected (B=2,) integers, one for each row, got (1,)"),
    ({}, {"x": x, "lengths": 5}, ValueError, "lengths: expected (B=2,) integers, one for each row, got ()"),
    ({}, {"x": x, "lengths": [5.0, 1.0]}, TypeError, "lengths: expected (B=2,) integers, got float64"),
    ({}, {"x": x, "lengths": [True, False]}, TypeError, "lengths: expected (B=2,) integers, got bool"),
    ({}, {"x": x, "lengths": [[1], [1, 2]]}, TypeError, "lengths: expected (B=2,) integers, got list"),
    ({}, {"x": x, "lengths": _OnGpu()}, TypeError, "lengths: expected (B=2,) integers in the host's memory, got"),
    ({}, {"x": np.ndarray}, TypeError, "x: expected a numpy.ndarray (T, B, input_size=8) of float32, got type <class"),
    ({}, {"x": np.ma.array(x)}, TypeError, "its mask would be ignored; fill it, and give the steps of each row in le"),
    (
        {},
        {"x": x, "lengths": [2, 2, 1, 2, 1]},
        ValueError,
        "lengths: expected (B=2,) integers, one for each row, got (5,): x was read as (T=5, B=2, ...); if these axes are "
        "swapped, write batch_first=True or swap them",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), CONSTRUCTION, ids=[m for *_, m in CONSTRUCTION])
def test_construction(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        make()


@pytest.mark.parametrize(("options", "arguments", "error", "message"), CALLS, ids=[m for *_, m in CALLS])
def test_calls(
    backend: str, options: dict[str, Any], arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    rnn = lstm(backend=backend, **options)
    before = rnn.state_dict()
    for call in (rnn, rnn.forward, rnn.freeze()):
        assert callable(call)
        with pytest.raises(error, match=re.escape(message)):
            call(**arguments)
    for name, values in rnn.parameters.items():
        np.testing.assert_array_equal(values, before[name])


@pytest.mark.parametrize(
    ("arguments", "got"),
    [
        ({"x": None}, "NoneType None"),
        ({"x": (x, x)}, "a tuple of 2 arrays"),
        ({"x": x, "state": (1.0, pair[1])}, "float 1.0"),
        ({"x": x, "resets": True}, "bool True"),
    ],
)
def test_what_is_no_array_is_not_to_be_converted(arguments: dict[str, Any], got: str) -> None:
    with pytest.raises(TypeError, match=f", got {re.escape(got)}$"):
        lstm()(**arguments)


def test_step_and_generate(backend: str) -> None:
    rnn = lstm(backend=backend)
    cases: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (
            lambda: rnn.step(zeros(2, 7)),
            ValueError,
            "x_t: expected (B, input_size=8), or (input_size=8,) without a batch",
        ),
        (lambda: rnn.step(x), ValueError, "got (5, 2, 8)"),
        (lambda: rnn.step(x[0].astype(float)), TypeError, "x_t: expected float32, got float64"),
        (lambda: Recurrent("gru", 8, 4).step(x[0], (pair[0],)), TypeError, "state: expected a"),
        (lambda: rnn.step(x[0], pair[0]), TypeError, "state: expected a tuple (h, c) of arrays"),
        (
            lambda: lstm(bidirectional=True).step(x[0]),
            ValueError,
            "x_t: expected a network in one direction, got bidirectional=True",
        ),
        (
            lambda: lstm(bidirectional=True).generate(x[0], 2, None, np.copy),
            ValueError,
            "x_0: expected a network in one direct",
        ),
        (lambda: rnn.generate(zeros(2, 7), 3, feedback=np.copy), ValueError, "x_0: expected (B, input_size=8)"),
        (lambda: rnn.generate(x[0], 3), ValueError, "feedback: expected a function from an output (B, hidden_size=4)"),
        (lambda: rnn.generate(x[0], 0, feedback=5), TypeError, "feedback: expected a function from an output to"),  # type: ignore[arg-type]
        (lambda: rnn.impl(0, 1), ValueError, "steps: expected an integer of at least 1, got 0"),
        (lambda: rnn.impl(1, "2"), TypeError, "batch: expected an integer, got str '2'"),  # type: ignore[arg-type]
        (
            lambda: rnn.generate(x[0], -1, feedback=np.copy),
            ValueError,
            "steps: expected an integer of at least 0, got -1",
        ),
        (lambda: rnn.generate(x[0], 2.0, feedback=np.copy), TypeError, "steps: expected an integer, got float 2.0"),  # type: ignore[arg-type]
        (
            lambda: rnn.generate(x[0], 3, feedback=np.copy),
            ValueError,
            "feedback: expected to return numpy.ndarray (2, 8) of float32, like x_0, got numpy.ndarray (2, 4) of float32",
        ),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=re.escape(message)):
            call()


def test_backward(backend: str) -> None:
    rnn = lstm(backend=backend)
    output, state, tape = rnn.forward(x)
    batch_first = lstm(backend=backend, batch_first=True)
    _, _, other = batch_first.forward(x)
    _, _, one = rnn.forward(x[:, 0])
    _, _, every = rnn.forward(x, states="all")
    _, _, last = rnn.forward(x, return_sequence=False)
    _, _, twin = lstm(backend=backend).forward(x)
    nothing: Any = None
    wrong: Any = [1.0]
    cases: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (
            lambda: rnn.backward(tape),
            ValueError,
            "grad_output: expected a cotangent, got none, nor any other, so that all gradients would be 0",
        ),
        (lambda: rnn.backward(every, (None, None)), ValueError, "grad_output: expected a cotangent, got none"),
        (lambda: rnn.backward(last), ValueError, "grad_last: expected a cotangent, got none"),
        (
            lambda: rnn.backward(nothing, output),
            TypeError,
            "tape: expected the third result of forward, got NoneType None",
        ),
        (
            lambda: rnn.backward(other, output),
            ValueError,
            "tape: expected one of this network, got one of Recurrent(LSTM(",
        ),
        (lambda: rnn.backward(twin, output), ValueError, "tape: expected one of this network"),
        (
            lambda: rnn.backward(tape, zeros(5, 2, 8)),
            ValueError,
            "grad_output: expected (T=5, B=2, hidden_size=4), got (5, 2, 8)",
        ),
        (
            lambda: rnn.backward(tape, zeros(2, 5, 4)),
            ValueError,
            "got (2, 5, 4): time and batch look swapped; batch_first=False here",
        ),
        (
            lambda: batch_first.backward(other, zeros(2, 5, 4)),
            ValueError,
            "grad_output: expected (B=5, T=2, hidden_size=4), got (2, 5, 4): time and batch look swapped",
        ),
        (
            lambda: rnn.backward(one, zeros(5, 1, 4)),
            ValueError,
            "grad_output: expected (T=5, hidden_size=4), got (5, 1, 4)",
        ),
        (lambda: rnn.backward(tape, output.astype(float)), TypeError, "grad_output: expected float32, got float64"),
        (
            lambda: rnn.backward(tape, wrong),
            TypeError,
            "grad_output: expected a numpy.ndarray (T=5, B=2, hidden_size=4)",
        ),
        (lambda: rnn.backward(tape, output, state[0]), TypeError, "grad_state: expected a tuple (h, c) of arrays"),
        (
            lambda: rnn.backward(tape, output, (state[0], state[1][:, :1])),
            ValueError,
            "grad_state[1] (c): expected (num_layers=1, B=2, hidden_size=4), got (1, 1, 4)",
        ),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=re.escape(message)):
            call()


def test_attributes_are_fixed() -> None:
    rnn = Recurrent(GRU("carry"), 8, 4, num_layers=2, bias=False, dropout=0.5, batch_first=True, num_threads=2)
    assert repr(rnn) == (
        "Recurrent(GRU(update='carry', reset='after'), input_size=8, hidden_size=4, num_layers=2, bias=False, "
        f"batch_first=True, dropout=0.5, dtype='float32', backend='{rnn.backend}')"
    )
    assert isinstance(rnn.cell, Cell)
    assert (rnn.dtype, rnn.num_threads, rnn.bidirectional) == (np.dtype("float32"), 2, False)
    for name in ("cell", "input_size", "hidden_size", "num_layers", "backend", "dtype", "dropout"):
        with pytest.raises(AttributeError):
            setattr(rnn, name, 1)
