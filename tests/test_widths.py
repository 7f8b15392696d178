"""Cells whose output is a projection: shapes, values, gradients."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from finite_differences import check_gradients
from own_cells import partial_gates, projected

from rnncore import Recurrent

T, B, WIDE, H, P = 5, 3, 4, 6, 2
x = np.random.default_rng(0).standard_normal((T, B, WIDE)).astype(np.float32)


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def test_values_and_shapes(backend: str) -> None:
    rnn = Recurrent(projected, WIDE, H, backend=backend, seed=0)
    w_x, w_h, b_x, b_h, w_r = rnn.parameters.values()
    h, c = np.zeros((B, P)), np.zeros((B, H))
    output, (last_h, last_c) = rnn(x)
    for t in range(T):
        a = x[t] @ w_x.T + b_x + h @ w_h.T + b_h
        i, g = sigmoid(a[:, :H]), np.tanh(a[:, H:])
        c = (1 - i) * c + i * g
        h = np.tanh(c) @ w_r.T
        np.testing.assert_allclose(output[t], h, atol=1e-6)
    np.testing.assert_allclose(last_h[0], h, atol=1e-6)
    np.testing.assert_allclose(last_c[0], c, atol=1e-6)
    state: Any = None
    for t in range(T):
        y, state = rnn.step(x[t], state)
        np.testing.assert_allclose(y, output[t], atol=1e-6)
    assert [s.shape for s in state] == [(1, B, P), (1, B, H)]
    assert rnn(x[:, 0])[0].shape == (T, P)
    assert rnn(x, return_sequence=False)[0].shape == (B, P)


@pytest.mark.parametrize("ends", [None, [5, 2, 0]])
def test_layers_and_directions(backend: str, ends: Any) -> None:
    rnn = Recurrent(projected, WIDE, H, num_layers=2, bidirectional=True, backend=backend, seed=0)
    output, state, tape = rnn.forward(x, lengths=ends)
    assert output.shape == (T, B, 2 * P)
    assert [s.shape for s in state] == [(4, B, P), (4, B, H)]
    np.testing.assert_allclose(rnn(x, lengths=ends)[0], output, atol=1e-6)
    last, _, last_tape = rnn.forward(x, lengths=ends, return_sequence=False)
    grad = np.zeros_like(output)
    for row, end in enumerate(ends or [T] * B):
        if end:
            grad[end - 1, row] = 1
            np.testing.assert_array_equal(last[row], output[end - 1, row])
    whole = rnn.backward(tape, grad)
    by_last = rnn.backward(last_tape, grad_last=np.ones_like(last))
    for name, values in whole.parameters.items():
        np.testing.assert_allclose(by_last.parameters[name], values, atol=1e-5)


def test_generate_feeds_back_the_output(backend: str) -> None:
    rnn = Recurrent(projected, P, H, backend=backend, seed=0)
    outputs, _ = rnn.generate(x[0, :, :P], 4)
    assert outputs.shape == (4, B, P)
    with pytest.raises(
        ValueError, match=re.escape("expected a function from an output (B, width=2) to the next input")
    ):
        Recurrent(projected, WIDE, H, backend=backend).generate(x[0], 4)


def test_gradients_by_finite_differences(backend: str) -> None:
    check_gradients(projected, backend, num_layers=2, bidirectional=True)
    check_gradients(partial_gates, backend, bidirectional=True)


def test_refusals(backend: str) -> None:
    rnn = Recurrent(projected, WIDE, H, backend=backend, bidirectional=True)
    h, c = np.zeros((2, B, P), np.float32), np.zeros((2, B, H), np.float32)
    _, _, tape = rnn.forward(x, (h, c))
    for call, message in (
        (lambda: rnn(x, (c, c)), "state[0] (h): expected (num_layers*2=2, B=3, width=2), got (2, 3, 6)"),
        (lambda: rnn(x, (h, h)), "state[1] (c): expected (num_layers*2=2, B=3, hidden_size=6), got (2, 3, 2)"),
        (lambda: rnn.backward(tape, np.zeros((T, B, H), np.float32)), "expected (T=5, B=3, 2*width=4), got (5, 3, 6)"),
        (lambda: rnn.backward(tape, grad_last=c[0]), "grad_last: expected (B=3, 2*width=4), got (3, 6)"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            call()
