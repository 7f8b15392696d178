"""Training on the output of each row's last step alone: `return_sequence=False` and `grad_last`."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import Array, Close
from networks import Call, make_call

from rnncore import Gradients, Recurrent
from rnncore.states import as_tuple, unwrap_state

LENGTHS = [2, 5, 0, 1]


def some(*shape: int, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(7).standard_normal(shape).astype(dtype)


def at_the_ends(call: Call, grad_last: Array) -> Array:
    """The same cotangent as one of the whole output."""
    grad = np.zeros_like(call.grad_output)
    for row, length in enumerate(call.lengths):
        if length:
            grad[length - 1, row] = grad_last[row]
    return grad


def tensors(grads: Gradients) -> Iterator[tuple[str, Array]]:
    yield "x", grads.x
    yield from ((f"state {number}", value) for number, value in enumerate(as_tuple(grads.state)))
    yield from grads.parameters.items()


def check_all(grads: Gradients, expected: Gradients, close: Close) -> None:
    for (name, value), (other, wanted) in zip(tensors(grads), tensors(expected), strict=True):
        assert name == other
        close(value, wanted, "gradient")


@pytest.mark.parametrize(
    ("name", "bidirectional", "lengths"),
    [
        ("lstm", False, None),
        ("lstm", True, LENGTHS),
        ("gru_carry_after", True, None),
        ("gru_candidate_before", False, LENGTHS),
        ("elman_relu", True, LENGTHS),
    ],
)
def test_against_the_oracle(
    backend: str, name: str, bidirectional: bool, lengths: list[int] | None, close: Close, nan_filled_empty: None
) -> None:
    call = make_call(name, 5, 4, num_layers=2, bidirectional=bidirectional, lengths=lengths, backend=backend)
    state, (last, _) = (
        unwrap_state(call.state),
        call.rnn(call.x, unwrap_state(call.state), lengths, return_sequence=False),
    )
    grad_last = some(*last.shape)
    trained, final, tape = call.rnn.forward(call.x, state, lengths, return_sequence=False)
    np.testing.assert_array_equal(trained, last)
    expected = replace(call, grad_output=at_the_ends(call, grad_last)).expected()
    for value, wanted in zip(as_tuple(final), expected.state, strict=True):
        close(value, wanted, "state")
    if lengths is not None:
        grad_last[lengths.index(0)] = np.nan
    trained[...] = 0
    grads = call.rnn.backward(tape, grad_state=unwrap_state(call.grad_state), grad_last=grad_last)
    close(grads.x, expected.grad_x, "gradient")
    for value, wanted in zip(as_tuple(grads.state), expected.grad_state, strict=True):
        close(value, wanted, "gradient")
    for key, value in grads.parameters.items():
        close(value, expected.grad_parameters[key], "gradient")


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("batch_first", [False, True])
def test_cotangents_add_up(
    backend: str, bidirectional: bool, lengths: list[int] | None, batch_first: bool, close: Close
) -> None:
    call = make_call("lstm", 5, 4, bidirectional=bidirectional, lengths=lengths, backend=backend)
    rnn = Recurrent("lstm", 3, 4, bidirectional=bidirectional, batch_first=batch_first, backend=backend, seed=0)

    def given(array: Array) -> Array:
        return np.ascontiguousarray(array.swapaxes(0, 1)) if batch_first else array

    _, _, tape = rnn.forward(given(call.x), call.state, lengths)
    grad_last = some(4, call.grad_output.shape[2])
    at_the_ends_alone = at_the_ends(call, grad_last)
    for array in (call.grad_output, grad_last, *call.grad_state):
        array.setflags(write=False)
    alone = rnn.backward(tape, grad_last=grad_last)
    check_all(alone, rnn.backward(tape, given(at_the_ends_alone)), close)
    both = rnn.backward(tape, given(call.grad_output), call.grad_state, np.asfortranarray(grad_last))
    check_all(both, rnn.backward(tape, given(call.grad_output + at_the_ends_alone), call.grad_state), close)


@pytest.mark.parametrize("lengths", [None, [3]])
def test_one_sequence_without_a_batch(backend: str, lengths: list[int] | None, close: Close) -> None:
    rnn = Recurrent("gru", 3, 4, num_layers=2, bidirectional=True, backend=backend, seed=0)
    x, grad_last = some(5, 3), some(8)
    last, _, tape = rnn.forward(x, lengths=lengths, return_sequence=False)
    of_batch, _, tape_of_batch = rnn.forward(x[:, None], lengths=lengths, return_sequence=False)
    np.testing.assert_array_equal(last, of_batch[0])
    assert last.shape == (8,)
    grads = rnn.backward(tape, grad_last=grad_last)
    expected = rnn.backward(tape_of_batch, grad_last=grad_last[None])
    close(grads.x, expected.x[:, 0], "gradient")
    close(grads.state, expected.state[:, 0], "gradient")
    for name, value in grads.parameters.items():
        close(value, expected.parameters[name], "gradient")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_finite_differences(bidirectional: bool) -> None:
    rnn = Recurrent("lstm", 2, 3, num_layers=2, bidirectional=bidirectional, dtype="float64", seed=0, backend="numpy")
    lengths, directions = [4, 0, 2], 2 if bidirectional else 1
    x, grad_last = some(4, 3, 2, dtype=float), some(3, 3 * directions, dtype=float)
    h, c = some(2 * directions, 3, 3, dtype=float), some(2 * directions, 3, 3, dtype=float)
    _, _, tape = rnn.forward(x, (h, c), lengths, return_sequence=False)
    grads = rnn.backward(tape, grad_last=grad_last)
    step, rng = 1e-6, np.random.default_rng(0)
    for values, grad in (
        (x, grads.x),
        (h, grads.state[0]),
        *((rnn.parameters[k], grads.parameters[k]) for k in grads.parameters),
    ):
        here, losses, direction = values.copy(), [], rng.standard_normal(values.shape)
        for side in (step, -step):
            values[...] = here + side * direction
            losses.append(float((rnn(x, (h, c), lengths, return_sequence=False)[0] * grad_last).sum()))
        values[...] = here
        assert (grad * direction).sum() == pytest.approx((losses[0] - losses[1]) / (2 * step), abs=1e-8)


def test_no_steps_and_no_rows(backend: str) -> None:
    rnn = Recurrent("lstm", 3, 4, bidirectional=True, backend=backend, seed=0)
    for shape in ((0, 2, 3), (5, 0, 3)):
        last, _, tape = rnn.forward(np.zeros(shape, np.float32), return_sequence=False)
        assert last.shape == (shape[1], 8)
        assert not last.any()
        grads = rnn.backward(tape, grad_last=np.ones_like(last))
        assert grads.x.shape == shape
        assert not any(value.any() for _, value in tensors(grads))


def test_dropout(backend: str, close: Close) -> None:
    whole, alone = (Recurrent("gru", 3, 4, num_layers=2, dropout=0.5, backend=backend, seed=0) for _ in range(2))
    x, grad_last = some(5, 2, 3), some(2, 4)
    output, _, tape = whole.forward(x)
    last, _, tape_of_last = alone.forward(x, return_sequence=False)
    np.testing.assert_array_equal(last, output[-1])
    grad_output = np.zeros_like(output)
    grad_output[-1] = grad_last
    check_all(alone.backward(tape_of_last, grad_last=grad_last), whole.backward(tape, grad_output), close)


def test_there_is_no_array_of_all_outputs(backend: str) -> None:
    steps = 100 if backend == "ptx" else 400
    # One thread, as several take memory of their own, and how many there are changes with the load of the machine.
    rnn = Recurrent("rnn", 1, 64, backend=backend, seed=0, num_threads=1)
    x, grad_last = some(steps, 8, 1), some(8, 64)
    bytes_of_output = steps * 8 * 64 * 4

    def peak(call: Any) -> int:
        call()
        tracemalloc.start()
        call()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    whole = peak(lambda: rnn.forward(x))
    assert peak(lambda: rnn.forward(x, return_sequence=False)) < whole - 0.9 * bytes_of_output
    _, state, tape = rnn.forward(x, return_sequence=False)
    of_state = peak(lambda: rnn.backward(tape, grad_state=state))
    assert peak(lambda: rnn.backward(tape, grad_last=grad_last)) < of_state + 0.1 * bytes_of_output


def test_refusals(backend: str) -> None:
    rnn = Recurrent("lstm", 3, 4, bidirectional=True, backend=backend, seed=0)
    _, _, tape = rnn.forward(some(5, 2, 3), return_sequence=False)
    _, _, whole = rnn.forward(some(5, 2, 3))
    _, _, unbatched = rnn.forward(some(5, 3), return_sequence=False)
    last, output = some(2, 8), some(5, 2, 8)
    for cotangents, error, message in (
        (
            {"tape": tape, "grad_output": output},
            ValueError,
            "grad_output: expected None, as forward with return_sequence=False has no such output, got numpy.ndarray "
            "(5, 2, 8) of float32: pass the cotangent of its first result, (B=2, 2*hidden_size=8), as grad_last",
        ),
        ({"tape": tape, "grad_output": last}, ValueError, "as grad_last"),
        (
            {"tape": whole, "grad_output": last},
            ValueError,
            "grad_output: expected (T=5, B=2, 2*hidden_size=8), got (2, 8): the cotangent of each row's last output is "
            "grad_last",
        ),
        (
            {"tape": tape, "grad_last": output},
            ValueError,
            "grad_last: expected (B=2, 2*hidden_size=8), got (5, 2, 8): the cotangent of the whole output is grad_output",
        ),
        (
            {"tape": tape, "grad_last": last[:, :4]},
            ValueError,
            "grad_last: expected (B=2, 2*hidden_size=8), got (2, 4)",
        ),
        ({"tape": unbatched, "grad_last": last}, ValueError, "grad_last: expected (2*hidden_size=8,), got (2, 8)"),
        ({"tape": tape, "grad_last": last.astype(float)}, TypeError, "grad_last: expected float32, got float64"),
        (
            {"tape": tape, "grad_last": last.tolist()},
            TypeError,
            "grad_last: expected a numpy.ndarray (B=2, 2*hidden_size=8) of float32, got list",
        ),
    ):
        arguments: dict[str, Any] = dict(cotangents)
        with pytest.raises(error, match=re.escape(message)):
            rnn.backward(arguments.pop("tape"), **arguments)
