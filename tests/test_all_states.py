"""Every state of the last layer at each step, its cotangent, and how large cotangents of states are."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from conftest import Close
from own_cells import irregular, projected
from test_against_oracle import check
from test_cells_on_engines import skip_unless_executed

from rnncore import Recurrent
from rnncore.cells import Cell
from rnncore.states import as_tuple
from rnncore.verification.networks import VARIANTS, make_call

T, B, WIDE, H = 6, 3, 4, 5
EXECUTED = ("lstm_all",)
x = np.random.default_rng(0).standard_normal((T, B, WIDE)).astype(np.float32)


def network(backend: str, name: str = "lstm", **options: Any) -> Recurrent:
    return Recurrent(name, WIDE, H, backend=backend, seed=0, **options)


@pytest.mark.parametrize("name", ["lstm_all", "slstm", "cornn"])
@pytest.mark.parametrize("resets", [None, pytest.param("given", marks=[pytest.mark.slow])])
def test_outputs_and_gradients(
    backend: str, name: str, resets: str | None, close: Close, nan_filled_empty: None
) -> None:
    skip_unless_executed(backend, name, EXECUTED)
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "backend": backend}
    options["dtype"] = "float32" if backend == "ptx" else "float64"
    lengths = [2, 4, 0, 3]
    check(
        make_call(VARIANTS[name], 4, 4, lengths=lengths, resets=resets, states=True, **options), close, lengths=lengths
    )


@pytest.mark.parametrize("one", [irregular, projected], ids=repr)
def test_a_cell_of_ones_own(backend: str, one: Cell, close: Close, nan_filled_empty: None) -> None:
    skip_unless_executed(backend, "one's own")
    check(make_call(one, 4, 3, states=True, backend=backend, dtype="float64"), close)


def test_they_end_in_the_final_state(backend: str) -> None:
    rnn, lengths = network(backend), [4, 6, 1]
    (h, c), state = rnn(x, lengths=lengths, states="all")
    output, _ = rnn(x, lengths=lengths)
    np.testing.assert_allclose(h, output, atol=1e-6)
    for every, final in zip((h, c), state, strict=True):
        assert every.shape == (T, B, H)
        np.testing.assert_array_equal([every[n - 1, row] for row, n in enumerate(lengths)], final[0])


def test_layouts(backend: str) -> None:
    skip_unless_executed(backend, "lstm")
    (_, c), _ = network(backend)(x, states="all")
    (_, first), _ = network(backend, batch_first=True)(x.swapaxes(0, 1), states="all")
    np.testing.assert_array_equal(first.swapaxes(0, 1), c)
    rnn, alone = network(backend), np.ascontiguousarray(x[:, 1])
    for call in (rnn, rnn.freeze(), rnn.forward):
        (_, one), *_ = call(alone, states="all")
        np.testing.assert_allclose(one, c[:, 1], atol=1e-6)
    every, _ = network(backend, "gru")(x, states="all")
    np.testing.assert_allclose(every, network(backend, "gru")(x)[0], atol=1e-6)


def test_a_cotangent_may_be_none(backend: str) -> None:
    rnn = network(backend)
    (h, c), _, tape = rnn.forward(x, states="all")
    for grads in ((h, None), (None, c)):
        full = tuple(np.zeros_like(h) if g is None else g for g in grads)
        expected, got = rnn.backward(tape, full), rnn.backward(tape, grads)
        np.testing.assert_array_equal(got.x, expected.x)


def test_flow(backend: str) -> None:
    """A sequence cut in two behind each step: the state between is the initial one of the second part."""
    skip_unless_executed(backend, "lstm")
    rnn, long = network(backend, dtype="float64"), x.astype(np.float64)
    output, _, tape = rnn.forward(long, flow=True)
    flow_h, flow_c = rnn.backward(tape, output).flow
    (h, c), _ = rnn(long, states="all")
    for t in range(T):
        rest = rnn.backward(rnn.forward(long[t + 1 :], (h[t][None], c[t][None]))[2], output[t + 1 :])
        of_h, of_c = (grad[0] for grad in rest.state)
        of_h = of_h + output[t]
        of_c = of_c + of_h * (h[t] / np.tanh(c[t])) * (1 - np.tanh(c[t]) ** 2)
        np.testing.assert_allclose([flow_h[0, t], flow_c[0, t]], [np.linalg.norm(g) for g in (of_h, of_c)], rtol=1e-9)


def test_flow_of_every_layer_and_direction(backend: str) -> None:
    skip_unless_executed(backend, "gru")
    rnn = network(backend, "gru", num_layers=2, bidirectional=True)
    output, _, tape = rnn.forward(x, lengths=[6, 2, 4], flow=True)
    flow = rnn.backward(tape, output).flow
    assert flow.shape == (4, T)
    assert (flow > 0).all()
    assert rnn.backward(rnn.forward(x)[2], output).flow is None


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another word": ({"states": "last"}, "states: expected None or 'all', got str 'last'"),
    "an array": ({"states": x}, "states: expected None or 'all', got numpy.ndarray (6, 3, 4) of float32"),
    "no sequence": ({"states": "all", "return_sequence": False}, "states: expected None with return_sequence=False"),
}


@pytest.mark.parametrize("name", ["flow", "return_sequence"])
def test_what_is_no_flag_is_refused(name: str) -> None:
    rnn = network("numpy")
    calls: list[Any] = [rnn.forward] if name == "flow" else [rnn, rnn.forward, rnn.freeze()]
    for call in calls:
        with pytest.raises(TypeError, match=f"{name}: expected True or False, got str 'yes'"):
            call(x, **{name: "yes"})
        call(x, **{name: np.False_})


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(name: str) -> None:
    options, message = WRONG[name]
    rnn = network("numpy")
    for call in (rnn, rnn.forward, rnn.freeze()):
        with pytest.raises(ValueError, match=re.escape(message)):
            call(x, **options)


def test_cotangents_that_are_refused() -> None:
    rnn = network("numpy")
    (h, _), _, tape = rnn.forward(x, states="all")
    with pytest.raises(TypeError, match=re.escape("grad_output: expected a tuple (h, c) of arrays or None")):
        rnn.backward(tape, h)
    with pytest.raises(ValueError, match=re.escape("grad_output[1] (c): expected (T=6, B=3, hidden_size=5), got")):
        rnn.backward(tape, (h, h[:1]))


def test_as_tuple_of_one_state() -> None:
    assert len(as_tuple(network("numpy", "gru")(x, states="all")[0])) == 1
