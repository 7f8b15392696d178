"""Inference: layouts, what is returned, padding, values that are not finite."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from conftest import Close
from networks import CELLS, make_call

from rnncore import Recurrent
from rnncore.states import as_tuple, unwrap_state
from rnncore_kernels.numpy import NumpyEngine


def sequence(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("lengths", [None, [3, 0, 5]])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_batch_first_is_the_transpose(backend: str, bidirectional: bool, lengths: list[int] | None) -> None:
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": bidirectional, "seed": 0, "backend": backend}
    x = sequence(5, 3, 4)
    output, state = Recurrent("gru", 4, 6, **options)(x, lengths=lengths)
    swapped, swapped_state = Recurrent("gru", 4, 6, batch_first=True, **options)(
        np.ascontiguousarray(x.swapaxes(0, 1)), lengths=lengths
    )
    assert swapped.shape == (3, 5, 12 if bidirectional else 6)
    np.testing.assert_array_equal(swapped.swapaxes(0, 1), output)
    np.testing.assert_array_equal(swapped_state, state)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [3]])
def test_one_sequence_without_a_batch(backend: str, batch_first: bool, lengths: list[int] | None) -> None:
    rnn = Recurrent("lstm", 4, 6, num_layers=2, bidirectional=True, batch_first=batch_first, seed=0, backend=backend)
    x, h, c = sequence(5, 4), sequence(4, 6, seed=1), sequence(4, 6, seed=2)
    batch = x[None] if batch_first else x[:, None]
    expected, expected_state = rnn(batch, (h[:, None], c[:, None]), lengths)
    output, state = rnn(x, (h, c), lengths)
    np.testing.assert_array_equal(output, expected[0] if batch_first else expected[:, 0])
    for value, value_expected in zip(state, expected_state, strict=True):
        np.testing.assert_array_equal(value, value_expected[:, 0])
    last, _ = rnn(x, (h, c), lengths, return_sequence=False)
    assert last.shape == (12,)

    output, _, tape = rnn.forward(x, (h, c), lengths)
    grads = rnn.backward(tape, output, (h, c))
    assert grads.x.shape == x.shape
    assert [g.shape for g in grads.state] == [h.shape, c.shape]


@pytest.mark.parametrize("name", ["lstm", "gru_carry_before"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [None, [2, 5, 0, 1]])
def test_last_output_alone(
    backend: str, name: str, bidirectional: bool, lengths: list[int] | None, close: Close, nan_filled_empty: None
) -> None:
    call = make_call(name, 5, 4, num_layers=2, bidirectional=bidirectional, backend=backend)
    output, state = call.rnn(call.x, unwrap_state(call.state), lengths)
    last, last_state = call.rnn(call.x, unwrap_state(call.state), lengths, return_sequence=False)
    ends = [5] * 4 if lengths is None else lengths
    expected = [output[end - 1, row] if end else np.zeros_like(output[0, row]) for row, end in enumerate(ends)]
    close(last, np.array(expected), "output")
    for value, value_expected in zip(as_tuple(last_state), as_tuple(state), strict=True):
        close(value, value_expected, "state")


def test_last_output_allocates_no_sequence(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # One thread, as several take memory of their own, and how many there are changes with the load of the machine.
    rnn = Recurrent("lstm", 8, 8, num_layers=2, backend=backend, seed=0, num_threads=1)
    monkeypatch.setattr("rnncore_kernels.cuda.forward.PROJECTION_BYTES", 1 << 14)
    # As few as fill what has a bound.
    steps, batch = {"ptx": (500, 16), "numpy": (1000, 64)}.get(backend, (4000, 16))

    def peak(steps: int) -> int:
        x = sequence(steps, batch, 8)
        tracemalloc.start()
        rnn(x, return_sequence=False)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    # The executor of PTX keeps memory of its own as large as the largest call.
    peak(3 * steps if backend == "ptx" else 10)
    assert peak(3 * steps) - peak(steps) < 0.2 * 2 * steps * batch * 8 * 4


def test_subclasses_and_misaligned_arrays(backend: str) -> None:
    """A matrix of records has strides that are no multiple of the element; a subclass is taken as the array it is."""
    rnn = Recurrent("gru", 4, 4, backend=backend, seed=0)
    x = sequence(5, 3, 4)
    records: Any = np.zeros((5, 3), np.dtype([("flag", "i1"), ("x", "f4", 4)]))
    records["x"] = x

    class Named(np.ndarray[Any, Any]):
        pass

    expected, _ = rnn(x)
    assert not records["x"].flags.aligned
    for same in (records["x"], x.view(Named)):
        output, _, tape = rnn.forward(same)
        np.testing.assert_array_equal(output, expected)
        np.testing.assert_array_equal(rnn(same)[0], expected)
        assert type(output) is np.ndarray
        np.testing.assert_array_equal(rnn.backward(tape, same).x, rnn.backward(tape, x).x)


def test_no_steps_leave_the_state(backend: str) -> None:
    rnn = Recurrent("lstm", 4, 6, num_layers=2, bidirectional=True, backend=backend)
    h, c = sequence(4, 3, 6), sequence(4, 3, 6, seed=1)
    for return_sequence, shape in ((True, (0, 3, 12)), (False, (3, 12))):
        output, state = rnn(sequence(0, 3, 4), (h, c), return_sequence=return_sequence)
        assert output.shape == shape
        assert not output.any()
        np.testing.assert_array_equal(state[0], h)
        np.testing.assert_array_equal(state[1], c)


@pytest.mark.parametrize(("batch", "steps"), [(2, 0), (0, 2)])
def test_batch_first_without_steps_or_rows(backend: str, batch: int, steps: int) -> None:
    rnn = Recurrent("lstm", 4, 6, batch_first=True, backend=backend)
    for network in (rnn, rnn.freeze()):
        output, (h, c) = network(sequence(batch, steps, 4))
        assert output.shape == (batch, steps, 6)
        assert h.shape == c.shape == (1, batch, 6)


def test_arguments_are_not_written_and_results_are_new(backend: str) -> None:
    rnn = Recurrent("lstm", 4, 4, backend=backend, seed=0)
    x, h, c = sequence(5, 3, 4), sequence(1, 3, 4), sequence(1, 3, 4)
    before = x.copy(), h.copy(), c.copy()
    for array in (x, h, c):
        array.setflags(write=False)
    output, state = rnn(x, (h, c))
    output[...] = 0
    state[0][...] = 0
    for array, expected in zip((x, h, c), before, strict=True):
        np.testing.assert_array_equal(array, expected)
    empty_output, (empty_h, _) = rnn(x[:0], (h, c))
    assert not np.shares_memory(empty_h, h)
    assert empty_output.flags.writeable


@pytest.mark.parametrize("lengths", [None, [4, 2, 5]])
def test_strided_input(backend: str, lengths: list[int] | None) -> None:
    rnn = Recurrent("gru", 4, 4, num_layers=2, bidirectional=True, backend=backend, seed=0)
    x, state = sequence(5, 3, 4), sequence(4, 3, 4)
    expected, expected_state = rnn(x, state, lengths)
    wide: Any = np.zeros((10, 3, 9), np.float32)
    wide[::-2, :, ::2][:, :, :4] = x
    fortran_state = np.asfortranarray(state)
    for strided in (wide[::-2, :, ::2][:, :, :4], np.asfortranarray(x)):
        assert not strided.flags.c_contiguous
        output, final = rnn(strided, fortran_state, lengths)
        np.testing.assert_array_equal(output, expected)
        np.testing.assert_array_equal(final, expected_state)
        output, _, tape = rnn.forward(strided, fortran_state, lengths)
        grads = rnn.backward(tape, np.asfortranarray(output), fortran_state)
        plain = rnn.backward(rnn.forward(x, state, lengths)[2], output, state)
        np.testing.assert_array_equal(grads.x, plain.x)


def test_padding_affects_nothing(backend: str) -> None:
    rnn = Recurrent("lstm", 4, 6, num_layers=2, bidirectional=True, backend=backend, seed=0)
    x, lengths = sequence(5, 3, 4), [2, 5, 0]
    poisoned = x.copy()
    for row, length in enumerate(lengths):
        poisoned[length:, row] = np.nan
    grad = sequence(5, 3, 12)
    grad_poisoned = grad.copy()
    grad_poisoned[np.isnan(poisoned[:, :, 0])] = np.nan
    results = []
    for x_here, grad_here in ((x, grad), (poisoned, grad_poisoned)):
        output, state, tape = rnn.forward(x_here, lengths=lengths)
        grads = rnn.backward(tape, grad_here)
        last, _ = rnn(x_here, lengths=lengths, return_sequence=False)
        results.append([output, *state, last, grads.x, *grads.parameters.values(), rnn(x_here, lengths=lengths)[0]])
    for clean, with_nan in zip(*results, strict=True):
        np.testing.assert_array_equal(clean, with_nan)
    assert not results[0][0][2:, 0].any()
    assert not results[0][4][2:, 0].any()


def test_engines_get_zeros_past_a_rows_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """In training, as the contract promises them."""
    seen = []

    def spy(self: NumpyEngine, runs: Any) -> Any:
        seen.append(runs[0].x.copy())
        return forward(self, runs)

    forward = NumpyEngine.forward
    monkeypatch.setattr(NumpyEngine, "forward", spy)
    x = np.full((5, 3, 4), np.nan, np.float32)
    x[:2, 0] = x[:, 1] = 1
    Recurrent("gru", 4, 6, backend="numpy").forward(x, lengths=[2, 5, 0])
    np.testing.assert_array_equal(seen[0], np.nan_to_num(x))


@pytest.mark.parametrize("length", [3, 5])
def test_equal_lengths_are_the_shorter_sequence(backend: str, length: int) -> None:
    rnn = Recurrent("gru", 4, 6, bidirectional=True, backend=backend, seed=0)
    x = sequence(5, 3, 4)
    output, state = rnn(x, lengths=np.full(3, length))
    expected, expected_state = rnn(x[:length])
    np.testing.assert_array_equal(output[:length], expected)
    assert not output[length:].any()
    np.testing.assert_array_equal(state, expected_state)


def test_nan_propagates_in_its_row_alone(backend: str) -> None:
    rnn = Recurrent("elman", 4, 6, backend=backend, seed=0)
    x = sequence(5, 3, 4)
    clean, _ = rnn(x)
    x[2, 1, 0] = np.nan
    output, _ = rnn(x)
    assert np.isnan(output[2:, 1]).all()
    np.testing.assert_array_equal(output[:2], clean[:2])
    np.testing.assert_array_equal(output[:, [0, 2]], clean[:, [0, 2]])


@pytest.mark.parametrize("name", CELLS)
def test_huge_values_stay_finite_and_silent(backend: str, name: str) -> None:
    call = make_call(name, 4, 2, backend=backend)
    if name in ("elman_relu", "elman_identity"):
        return
    output, _, tape = call.rnn.forward(call.x * np.float32(1e30))
    assert np.isfinite(output).all()
    grads = call.rnn.backward(tape, call.grad_output)
    assert np.isfinite(grads.x).all()
