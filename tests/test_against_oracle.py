"""Every engine against the oracle: outputs, states and all gradients, over cells, shapes and options."""

from __future__ import annotations

from functools import partial
from typing import Any

import drawn
import numpy as np
import pytest
from conftest import NOT_EXECUTED, Array, Close
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import CELLS, Call, make_call

from rnncore.states import unwrap_state
from rnncore.verification.results import results


def check(
    call: Call,
    close: Close,
    *,
    lengths: list[int] | None = None,
    state: bool = True,
    unbatched: bool = False,
    layout: str = "",
) -> None:
    """Compare all results with the oracle; `layout` is how x, states and cotangents lie in memory."""
    if not state:
        for values in call.state:
            values[...] = 0
    how = partial(lay_out, layout=layout)
    asked: dict[str, Any] = {"ragged": lengths is not None, "state": state, "unbatched": unbatched, "layout": how}
    for one in results(call, call.expected(), **asked):
        close(one.actual, one.expected, one.quantity, call.rnn.dtype, call.rnn.compute)


def lay_out(values: Array, layout: str) -> Array:
    """The same values in another memory layout."""
    if layout == "strided":
        wide = np.full((*values.shape[:-1], 2 * values.shape[-1] + 1), np.nan, values.dtype)[::-1]
        wide[..., 1::2] = values
        return wide[..., 1::2]
    if layout == "fortran":
        return np.asfortranarray(values)
    if layout == "read-only":
        values.setflags(write=False)
    return values


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CELLS)
def test_dense(backend: str, name: str, dtype: str, close: Close, nan_filled_empty: None) -> None:
    check(make_call(name, 5, 3, dtype=dtype, backend=backend), close)


@pytest.mark.parametrize("name", CELLS)
def test_deep_bidirectional_ragged(backend: str, name: str, close: Close, nan_filled_empty: None) -> None:
    dtype = "float32" if backend == "ptx" else "float64"
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "backend": backend, "dtype": dtype}
    check(make_call(name, 5, 4, lengths=[2, 5, 0, 3], **options), close, lengths=[2, 5, 0, 3])


CALLS = drawn.calls(
    name=st.sampled_from(sorted(CELLS)),
    input_size=st.integers(0, 4),
    hidden_size=st.integers(1, 5),
    bias=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
)


def check_any(backend: str, options: dict[str, Any], how: dict[str, Any], close: Close) -> None:
    if backend == "ptx":
        # Each dtype is a kernel of its own, which takes seconds to compile; test_dense has both.
        name = "lstm" if options["name"] in NOT_EXECUTED else options["name"]
        options = {**options, "name": name, "dtype": "float32"}
    unbatched = how.pop("unbatched") and options["batch"] == 1
    check(make_call(**options, backend=backend), close, lengths=options["lengths"], unbatched=unbatched, **how)


anything = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
how = st.fixed_dictionaries(
    {
        "state": st.booleans(),
        "unbatched": st.booleans(),
        "layout": st.sampled_from(["", "strided", "fortran", "read-only"]),
    }
)


@anything
@given(options=CALLS, how=how)
def test_any_call(
    backend: str, options: dict[str, Any], how: dict[str, Any], close: Close, nan_filled_empty: None
) -> None:
    check_any(backend, options, how, close)


@anything
@given(options=CALLS, how=how)
def test_any_call_in_small_blocks(
    backend: str, options: dict[str, Any], how: dict[str, Any], close: Close, small_blocks: None
) -> None:
    check_any(backend, options, how, close)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batch"), [("lstm", 70), ("gru_carry_after", 37), ("gru_candidate_before", 70), ("elman_relu", 37)]
)
def test_more_rows_than_a_tile(backend: str, name: str, batch: int, close: Close) -> None:
    """Large enough that engines split the batch; the oracle runs some of the rows."""
    hidden = 24 if backend == "ptx" else 128
    lengths = np.random.default_rng(0).integers(0, 4, batch)
    lengths[::7] = 3
    large = make_call(
        name, 3, batch, hidden_size=hidden, input_size=8, backend=backend, dtype="float64", lengths=lengths.tolist()
    )
    grad_output = np.zeros_like(large.grad_output)
    chosen = [5, batch - 1]
    grad_output[:, chosen] = large.grad_output[:, chosen]
    _, _, tape = large.rnn.forward(large.x, unwrap_state(large.state), lengths=lengths)
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
    output, _ = large.rnn(large.x, unwrap_state(large.state), lengths=lengths)
    close(part(output), expected.output, "output")
    close(part(grads.x), expected.grad_x, "gradient")
    assert not np.delete(grads.x, chosen, axis=1).any()
    for name, value in grads.parameters.items():
        close(value, expected.grad_parameters[name], "gradient")
