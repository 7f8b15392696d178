"""Every engine against the oracle: outputs, states and all gradients, over cells, shapes and options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Array, Close
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import CELLS, Call, make_call

from rnncore.states import as_given, as_tuple


def check(call: Call, close: Close, *, dense: bool = False) -> None:
    lengths = None if dense else call.lengths
    expected = call.expected()
    output, state = call.rnn(call.x, as_given(call.state), lengths=lengths)
    close(output, expected.output, "output")
    for value, value_expected in zip(as_tuple(state), expected.state, strict=True):
        close(value, value_expected, "state")

    output, state, tape = call.rnn.forward(call.x, as_given(call.state), lengths=lengths)
    close(output, expected.output, "output")
    for value, value_expected in zip(as_tuple(state), expected.state, strict=True):
        close(value, value_expected, "state")

    grads = call.rnn.backward(tape, call.grad_output, as_given(call.grad_state))
    close(grads.x, expected.grad_x, "gradient")
    for value, value_expected in zip(as_tuple(grads.state), expected.grad_state, strict=True):
        close(value, value_expected, "gradient")
    assert grads.parameters.keys() == call.rnn.parameters.keys()
    for name, value in grads.parameters.items():
        close(value, expected.grad_parameters[name], "gradient")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CELLS)
def test_dense(backend: str, name: str, dtype: str, close: Close, nan_filled_empty: None) -> None:
    check(make_call(name, 5, 3, dtype=dtype, backend=backend), close, dense=True)


@pytest.mark.parametrize("name", CELLS)
def test_deep_bidirectional_ragged(backend: str, name: str, close: Close, nan_filled_empty: None) -> None:
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "backend": backend, "dtype": "float64"}
    check(make_call(name, 5, 4, lengths=[2, 5, 0, 3], **options), close)


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    steps, batch = draw(st.integers(0, 6)), draw(st.integers(0, 5))
    return {
        "name": draw(st.sampled_from(sorted(CELLS))),
        "steps": steps,
        "batch": batch,
        "lengths": draw(st.none() | st.lists(st.integers(0, steps), min_size=batch, max_size=batch)),
        "input_size": draw(st.integers(0, 4)),
        "hidden_size": draw(st.integers(1, 5)),
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "seed": draw(st.integers(0, 1000)),
    }


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=calls())
def test_any_shape(backend: str, options: dict[str, Any], close: Close, nan_filled_empty: None) -> None:
    check(make_call(**options, backend=backend), close, dense=options["lengths"] is None)


@pytest.mark.parametrize("name", ["lstm", "gru_carry_after", "gru_candidate_before", "elman_relu"])
@pytest.mark.parametrize("batch", [70, 37])
def test_more_rows_than_a_tile(backend: str, name: str, batch: int, close: Close) -> None:
    """Large enough that engines split the batch; the oracle runs some of the rows."""
    lengths = np.random.default_rng(0).integers(0, 4, batch)
    lengths[::7] = 3
    large = make_call(
        name, 3, batch, hidden_size=256, input_size=8, backend=backend, dtype="float64", lengths=lengths.tolist()
    )
    grad_output = np.zeros_like(large.grad_output)
    chosen = [0, 5, batch - 1]
    grad_output[:, chosen] = large.grad_output[:, chosen]
    _, _, tape = large.rnn.forward(large.x, as_given(large.state), lengths=lengths)
    grads = large.rnn.backward(tape, grad_output)

    def part(array: Array) -> Array:
        return np.ascontiguousarray(array[:, chosen])

    few = Call(
        large.rnn,
        large.step,
        part(large.x),
        tuple(part(s) for s in large.state),
        lengths[chosen].tolist(),
        part(grad_output),
        tuple(np.zeros_like(part(s)) for s in large.grad_state),
    )
    expected = few.expected()
    output, _ = large.rnn(large.x, as_given(large.state), lengths=lengths)
    close(part(output), expected.output, "output")
    close(part(grads.x), expected.grad_x, "gradient")
    assert not np.delete(grads.x, chosen, axis=1).any()
    for name, value in grads.parameters.items():
        close(value, expected.grad_parameters[name], "gradient")
