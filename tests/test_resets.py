"""Rows that begin anew within a sequence, on every engine: against the oracle, and against sequences apart."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import drawn
import numpy as np
import pytest
from conftest import Array, Close
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_cells import irregular, partial_gates
from test_against_oracle import check
from test_cells_on_engines import RICH, skip_unless_executed

from rnncore import Recurrent
from rnncore.cells import Cell, cell
from rnncore.states import as_tuple
from rnncore.verification.networks import VARIANTS, make_call
from rnncore.verification.results import streamed

T, B, WIDE, H = 7, 3, 4, 5
EXECUTED = ("lstm_all", "gru_candidate_after")
EVERYDAY = (*EXECUTED, "layernorm_gru", "slstm")
"""Cells that are compiled for every day's tests; those that have everything else are slow."""

rng = np.random.default_rng(0)
x = rng.standard_normal((T, B, WIDE)).astype(np.float32)
resets = np.zeros((T, B), bool)
resets[[0, 3], 0] = resets[[1, 5], 1] = True
PIECES = [[0, 3, 7], [0, 1, 5, 7], [0, 7]]
"""Where sequences begin and end in each row."""


@cell(states="s h", gates="a")
def unread(s: Any, h: Any, a: Any) -> Any:
    """The output is not read in the next step."""
    return h * a.x, 0.5 * h + a.x


def network(backend: str, name: str = "lstm", **options: Any) -> Recurrent:
    return Recurrent(name, WIDE, H, backend=backend, seed=0, **options)


def some_state(rnn: Recurrent, batch: int = B) -> tuple[Array, ...]:
    depth = rnn.num_layers * (2 if rnn.bidirectional else 1)
    shape, some = (depth, batch, H), np.random.default_rng(1)
    return tuple(some.standard_normal(shape).astype(rnn.dtype) for _ in rnn.cell.states)


@pytest.mark.parametrize("name", ["lstm", "gru_carry_before", "lstm_all", "cornn"])
def test_zeros(backend: str, name: str, close: Close, nan_filled_empty: None) -> None:
    skip_unless_executed(backend, name, EXECUTED)
    call = make_call(VARIANTS[name], 5, 3, hidden_size=7, resets="zeros", backend=backend)
    check(call, close)
    for one in streamed(call, call.expected()):
        close(one.actual, one.expected, one.quantity, call.rnn.dtype)


@pytest.mark.parametrize(
    "name", [*EVERYDAY, *(pytest.param(name, marks=pytest.mark.slow) for name in RICH if name not in EVERYDAY)]
)
def test_a_state_in_a_deep_ragged_network(backend: str, name: str, close: Close, nan_filled_empty: None) -> None:
    skip_unless_executed(backend, name, EXECUTED)
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "backend": backend}
    options["dtype"] = "float32" if backend == "ptx" else "float64"
    lengths = [2, 4, 0, 3]
    check(make_call(VARIANTS[name], 4, 4, lengths=lengths, resets="given", **options), close, lengths=lengths)


CALLS = drawn.calls(
    cell=st.sampled_from([VARIANTS[name] for name in ("lstm", "lstm_projection", "gru_candidate_before", "lem")]),
    resets=drawn.resets(),
)


@pytest.mark.parametrize("states", [False, True])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=CALLS, unbatched=st.booleans())
def test_any_call(options: dict[str, Any], unbatched: bool, states: bool, close: Close, small_blocks: None) -> None:
    """With cotangents of all states, too; what a layer computes in one call is a few steps."""
    unbatched = unbatched and options["batch"] == 1
    call = make_call(**options, states=states, dtype="float64", backend="numpy")
    check(call, close, lengths=options["lengths"], unbatched=unbatched)


@pytest.mark.parametrize("begin", ["zeros", "given"])
@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (1, 1), (3, 0)])
def test_little(backend: str, begin: str, steps: int, batch: int, close: Close) -> None:
    skip_unless_executed(backend, "lstm", ("lstm",))
    check(make_call(VARIANTS["lstm"], steps, batch, resets=begin, backend=backend), close)


@pytest.mark.parametrize("begin", ["zeros", "given"])
@pytest.mark.parametrize("one", [partial_gates, irregular, unread], ids=repr)
def test_a_cell_of_ones_own(backend: str, one: Cell, begin: str, close: Close, nan_filled_empty: None) -> None:
    skip_unless_executed(backend, "one's own")
    check(make_call(one, 4, 3, resets=begin, backend=backend, dtype="float64"), close)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_it_is_as_if_sequences_were_apart(backend: str, bidirectional: bool, close: Close) -> None:
    """One layer, as the next one's reverse direction would begin from the state of the call in each piece."""
    rnn = network(backend, bidirectional=bidirectional)
    begun = some_state(rnn)
    output, _ = rnn(x, begun, resets=resets, reset_state=begun)
    for row, edges in enumerate(PIECES):
        state = tuple(np.ascontiguousarray(s[:, row : row + 1]) for s in begun)
        parts = [rnn(x[a:b, row : row + 1], state)[0] for a, b in pairwise(edges)]
        close(output[:, row], np.concatenate(parts)[:, 0], "output")


def test_every_entry_computes_with_them(backend: str) -> None:
    rnn = network(backend, num_layers=2)
    begun = some_state(rnn)
    options: dict[str, Any] = {"resets": resets, "reset_state": begun}
    output, state = rnn(x, **options)
    frozen = rnn.freeze()
    for name in rnn.parameters:
        rnn.parameters[name][...] *= 1.5
    np.testing.assert_array_equal(frozen(x, **options)[0], output)
    assert np.abs(rnn(x, **options)[0] - output).max() > 0.01
    np.testing.assert_allclose(frozen(x, **options, return_sequence=False)[0], output[-1], atol=1e-6)
    carried: Any = None
    for t in range(T):
        y, carried = frozen.step(x[t], carried, resets=resets[t], reset_state=begun)
        np.testing.assert_allclose(y, output[t], atol=1e-6)
    for one, other in zip(carried, state, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_generate(backend: str) -> None:
    rnn = Recurrent("gru", H, H, backend=backend, seed=0)
    x_0, begun = x[0, :, :1].repeat(H, axis=1), some_state(rnn)[0]
    outputs, _ = rnn.generate(x_0, T, resets=resets, reset_state=begun)
    expected, _ = rnn(np.concatenate([x_0[None], outputs[:-1]]), resets=resets, reset_state=begun)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)


def test_generate_with_feedback_that_writes_to_the_resets() -> None:
    rnn, x_0, written = network("numpy"), x[0], resets.copy()

    def feedback(y: Array) -> Array:
        written[...] = True
        return np.ascontiguousarray(y[:, :WIDE])

    outputs, _ = rnn.generate(x_0, T, None, feedback, resets=written)
    expected, _ = rnn.generate(x_0, T, None, lambda y: np.ascontiguousarray(y[:, :WIDE]), resets=resets)
    np.testing.assert_array_equal(outputs, expected)


def test_batch_first_and_a_sequence_alone(backend: str) -> None:
    output, _ = network(backend)(x, resets=resets)
    first, _ = network(backend, batch_first=True)(x.swapaxes(0, 1), resets=resets.T)
    np.testing.assert_array_equal(first, output.swapaxes(0, 1))
    rnn = network(backend)
    one, state = rnn(x[:, 1], resets=resets[:, 1].astype(np.uint8))
    np.testing.assert_allclose(one, output[:, 1], atol=1e-6)
    flags: list[Any] = [True, np.bool_(1), np.array(True)]
    for flag in flags:
        begun, _ = rnn.step(x[0, 1], state, resets=flag)
        np.testing.assert_array_equal(begun, rnn.step(x[0, 1])[0])


def test_what_is_padding_affects_nothing(backend: str) -> None:
    """Nor does the reverse direction begin anew where it enters a row."""
    rnn, lengths = network(backend, bidirectional=True), [3, 7, 5]
    padded, state = resets.copy(), some_state(rnn)
    padded[3:, 0] = padded[5:, 2] = True
    np.testing.assert_array_equal(
        rnn(x, state, lengths=lengths, resets=padded)[0],
        rnn(x, state, lengths=lengths, resets=resets & (np.arange(T)[:, None] < lengths))[0],
    )


def test_no_row_begins_anew(backend: str) -> None:
    """The same as without resets; how products are summed may differ."""
    rnn, none = network(backend), np.zeros((T, B), bool)
    np.testing.assert_allclose(rnn(x, resets=none)[0], rnn(x)[0], atol=1e-6)


def test_what_was_before_is_selected_away(backend: str) -> None:
    """Infinite states and cotangents on one side of a reset do not reach the other."""
    rnn = network(backend, "gru")
    flags = np.zeros((T, B), bool)
    flags[2] = True
    output, _ = rnn(x, np.full((1, B, H), np.nan, np.float32), resets=flags)
    assert np.isnan(output[:2]).all()
    assert np.isfinite(output[2:]).all()
    output, _, tape = rnn.forward(x, resets=flags)
    cotangent = np.zeros_like(output)
    cotangent[2:] = np.inf
    grads = rnn.backward(tape, cotangent)
    assert not grads.state.any()
    assert not grads.x[:2].any()


def test_a_tape_keeps_its_own(backend: str) -> None:
    rnn = network(backend)
    flags, begun = resets.copy(), some_state(rnn)
    output, _, tape = rnn.forward(x, resets=flags, reset_state=begun)
    expected = rnn.backward(tape, output)
    flags[...] = True
    for array in begun:
        array[...] = np.nan
    for one, other in zip(rnn.backward(tape, output).reset_state, expected.reset_state, strict=True):
        np.testing.assert_array_equal(one, other)


def test_gradients_without_a_reset_state_have_none(backend: str) -> None:
    rnn = network(backend)
    for flags in (None, resets):
        output, _, tape = rnn.forward(x, resets=flags)
        assert rnn.backward(tape, output).reset_state is None


def test_an_unpickled_network_computes_what_was_recorded(backend: str) -> None:
    rnn = Recurrent(irregular, WIDE, H, backend=backend, seed=0)
    options: dict[str, Any] = {"inputs": {"dt": np.ones((T, B), np.float32)}, "resets": resets}
    expected, _ = rnn(x, **options)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rnn))(x, **options)[0], expected)


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a list": (
        {"resets": resets.tolist()},
        TypeError,
        "resets: expected a numpy.ndarray (T=7, B=3) of bool, got list",
    ),
    "numbers": (
        {"resets": resets.astype(np.float32)},
        TypeError,
        "got numpy.ndarray (7, 3) of float32: True where a row begins anew before a step, as resets != 0 has it",
    ),
    "swapped": (
        {"resets": resets.T},
        ValueError,
        "resets: expected (T=7, B=3), got (3, 7): time and batch look swapped; batch_first=False here",
    ),
    "rows alone": ({"resets": resets[0]}, ValueError, "resets: expected (T=7, B=3), got (3,)"),
    "a state alone": (
        {"reset_state": np.zeros((1, B, H), np.float32)},
        ValueError,
        "reset_state: expected None without resets, got numpy.ndarray (1, 3, 5) of float32: resets say which rows",
    ),
    "another state": (
        {"resets": resets, "reset_state": np.zeros((1, B, H), np.float32)},
        TypeError,
        "reset_state: expected a tuple (h, c) of arrays, got numpy.ndarray (1, 3, 5) of float32",
    ),
    "a wide state": (
        {"resets": resets, "reset_state": (np.zeros((1, B, H), np.float32), np.zeros((1, B, 1), np.float32))},
        ValueError,
        "reset_state[1] (c): expected (num_layers=1, B=3, hidden_size=5), got (1, 3, 1)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(name: str) -> None:
    options, error, message = WRONG[name]
    rnn = network("numpy")
    for call in (rnn, rnn.forward, rnn.freeze()):
        with pytest.raises(error, match=re.escape(message)):
            call(x, **options)


def test_a_step_refuses_a_time_axis() -> None:
    with pytest.raises(ValueError, match=re.escape("resets: expected (B=3,), got (7, 3)")):
        network("numpy").step(x[0], resets=resets)


def test_states_of_a_step_are_not_changed(backend: str) -> None:
    rnn = network(backend)
    state = some_state(rnn)
    before = [s.copy() for s in state]
    rnn.step(x[0], state, resets=resets[0])
    for one, other in zip(as_tuple(state), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"num_layers": 2, "bidirectional": True}])
def test_a_networks_own_state(options: dict[str, Any], backend: str, close: Close) -> None:
    """Rows begin anew as calls begin, unless a state says otherwise."""
    rnn = network(backend, **options)
    own = some_state(rnn, 1)
    rnn._begin_with({f"{name}_0": part[:, 0] for name, part in zip(rnn.cell.states, own, strict=True)})
    state = tuple(np.repeat(part, B, 1) for part in own)
    zeros = tuple(map(np.zeros_like, state))
    given, flags = (x.swapaxes(0, 1), resets.T) if rnn.batch_first else (x, resets)
    silent: dict[str, Any] = {"resets": flags}
    said: dict[str, Any] = {"resets": flags, "reset_state": state}

    def same(compute: Callable[[dict[str, Any]], Any]) -> None:
        for one, other in zip(compute(silent), compute(said), strict=True):
            np.testing.assert_array_equal(one, other)

    output = rnn(given, **silent)[0]
    assert not np.array_equal(output, rnn(given, **silent, reset_state=zeros)[0])
    frozen = rnn.freeze()
    same(lambda how: [rnn(given, **how)[0], *rnn(given, **how)[1]])
    same(lambda how: [frozen(given, **how)[0], *frozen(given, **how)[1]])
    same(lambda how: rnn.backward(rnn.forward(given, **how)[2], output).reset_state)
    same(lambda how: [values for layer in rnn.observe(given, **how) for values in layer.values()])
    alone = rnn(x[:, 0], resets=resets[:, 0])[0]
    close(alone, output[0] if rnn.batch_first else output[:, 0], "output")
    if not rnn.bidirectional:
        same(lambda how: rnn.step(x[0], zeros, **{**how, "resets": resets[3]})[1])
        same(lambda how: rnn.generate(x[0], T, feedback=lambda y: y[..., :WIDE].copy(), **how)[1])


def test_a_networks_own_state_for_another_batch() -> None:
    rnn = network("numpy")
    rnn._begin_with(dict(zip(("h_0", "c_0"), some_state(rnn, B + 1), strict=True)))
    with pytest.raises(ValueError, match=f"reset_state: expected one for B={B}, got None: the network's own"):
        rnn(x, some_state(rnn), resets=resets)
