"""Inference: layouts, what is returned, streaming, generation, frozen networks."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
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
    rnn = Recurrent("lstm", 8, 8, num_layers=2, backend=backend, seed=0)
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
    peak(3 * steps)
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


@pytest.mark.parametrize("name", CELLS)
def test_steps_are_the_sequence(backend: str, name: str, close: Close) -> None:
    call = make_call(name, 6, 3, num_layers=2, backend=backend)
    expected, expected_state = call.rnn(call.x, unwrap_state(call.state))
    state = unwrap_state(call.state)
    for t in range(6):
        y, state = call.rnn.step(call.x[t], state)
        close(y, expected[t], "output")
    for value, value_expected in zip(as_tuple(state), as_tuple(expected_state), strict=True):
        close(value, value_expected, "state")


def test_step_without_batch_or_state(backend: str, close: Close) -> None:
    rnn = Recurrent("lstm", 4, 6, backend=backend, seed=0)
    x = sequence(2, 4)
    y, state = rnn.step(x[0])
    y, (h, c) = rnn.step(x[1], state)
    expected, (h_expected, c_expected) = rnn(x)
    close(y, expected[1], "output")
    close(h, h_expected, "state")
    close(c, c_expected, "state")


@pytest.mark.parametrize("batch_first", [False, True])
def test_generate_feeds_the_output_back(backend: str, batch_first: bool, close: Close) -> None:
    rnn = Recurrent("gru", 4, 4, num_layers=2, batch_first=batch_first, backend=backend, seed=0)
    x, state = sequence(3, 4), sequence(2, 3, 4, seed=1)
    outputs, final = rnn.generate(x, 4, state)
    assert outputs.shape == ((3, 4, 4) if batch_first else (4, 3, 4))
    y = x
    for t in range(4):
        y, state = rnn.step(y, state)
        close(outputs[:, t] if batch_first else outputs[t], y, "output")
    close(final, state, "state")


def test_generate_with_feedback(backend: str, close: Close) -> None:
    rnn = Recurrent("lstm", 2, 5, backend=backend, seed=0)
    seen = []

    def feedback(output: Any) -> Any:
        seen.append(output.copy())
        output[...] = np.nan  # what it is given is its own
        return sequence(2, seed=len(seen))

    outputs, (h, _) = rnn.generate(sequence(2), 3, feedback=feedback)
    expected, _ = rnn(np.array([sequence(2), sequence(2, seed=1), sequence(2, seed=2)]))
    close(outputs, expected, "output")
    close(h[0], expected[2], "state")
    assert len(seen) == 2


def test_generate_with_feedback_that_trains(backend: str) -> None:
    """A generation computes with the parameters that it began with."""
    rnn = Recurrent("lstm", 4, 4, backend=backend, seed=0)
    frozen = rnn.freeze()

    def feedback(output: Any) -> Any:
        for values in rnn.parameters.values():
            values += 1
        return output

    outputs, _ = rnn.generate(sequence(2, 4), 4, feedback=feedback)
    np.testing.assert_array_equal(outputs, frozen.generate(sequence(2, 4), 4)[0])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda rnn: pickle.loads(pickle.dumps(rnn))])
def test_copies_compute_steps_the_short_way(backend: str, duplicate: Any) -> None:
    rnn = duplicate(Recurrent("lstm", 3, 4, backend=backend))
    frozen, x = rnn.freeze(), np.ones((5, 2, 3), np.float32)
    frozen(x)
    frozen.step(x[0])
    if frozen._engine.xp is np:
        assert frozen._known["sequence"].layout.fits(x)
        assert frozen._known["step"].layout.fits(x[0])
        assert not frozen._known["step"].layout.fits(x[0].astype(float))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sizes", [(2, 1, 8), (20, 16, 64)])
def test_the_same_call_again(backend: str, threads: int, sizes: tuple[int, int, int]) -> None:
    """A function prepared for a layout computes what the first call did, in arrays of its own, among other layouts."""
    steps, batch, hidden = sizes
    rnn = Recurrent("lstm", hidden, hidden, backend=backend, seed=0, num_threads=threads)
    frozen, x, other = rnn.freeze(), sequence(*sizes), sequence(steps, batch, hidden, seed=1)
    state = (sequence(1, batch, hidden, seed=2), sequence(1, batch, hidden, seed=3))
    expected = [(*rnn.forward(x)[:2],), (*rnn.forward(other, state)[:2],)]
    results = []
    for _ in range(3):
        results += [frozen(x), frozen(other, state)]
        frozen(x[:1])
    strided = np.zeros((steps, batch, 2 * hidden), np.float32)
    strided[..., ::2] = x
    results += [frozen(strided[..., ::2]), frozen(other, state, inputs={})]
    for index, (output, final) in enumerate(results):
        np.testing.assert_array_equal(output, expected[index % 2][0])
        for value, value_expected in zip(final, expected[index % 2][1], strict=True):
            np.testing.assert_array_equal(value, value_expected)
    with pytest.raises(TypeError, match="inputs: expected a mapping"):
        frozen(x, inputs=[])  # type: ignore[arg-type]


def test_generate_nothing(backend: str) -> None:
    outputs, state = Recurrent("gru", 4, 4, backend=backend).generate(sequence(3, 4), 0)
    assert outputs.shape == (0, 3, 4)
    np.testing.assert_array_equal(state, np.zeros((1, 3, 4)))


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


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_frozen_computes_the_same_and_does_not_follow_updates(backend: str, cell: str) -> None:
    rnn = Recurrent(cell, 4, 6, num_layers=2, backend=backend, seed=0)
    frozen = rnn.freeze()
    x, lengths = sequence(5, 3, 4), [5, 2, 3]
    output, state = rnn(x, lengths=lengths)
    last, _ = rnn(x, return_sequence=False)
    y, _ = rnn.step(x[0], state)
    for values in rnn.parameters.values():
        values *= 2
    assert not np.array_equal(rnn(x, lengths=lengths)[0], output)
    np.testing.assert_array_equal(frozen(x, lengths=lengths)[0], output)
    np.testing.assert_array_equal(frozen(x, return_sequence=False)[0], last)
    np.testing.assert_array_equal(frozen.step(x[0], state)[0], y)
    with pytest.raises(AttributeError):
        frozen.parameters = None  # type: ignore[attr-defined]
    assert repr(frozen).startswith(f"Frozen({rnn.cell!r}, input_size=4")
    with pytest.raises(TypeError, match="pickle the Recurrent, and freeze the copy"):
        pickle.dumps(frozen)
    assert copy.deepcopy([frozen])[0] is frozen is copy.copy(frozen)


def test_calls_from_several_threads(backend: str) -> None:
    rnn = Recurrent("gru", 16, 128, backend=backend, seed=0)
    frozen = rnn.freeze()
    inputs = [sequence(10, batch, 16, seed=batch) for batch in (1, 3, 70, 90)] * 4
    expected = [frozen(x)[0] for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for output, value in zip(pool.map(lambda x: frozen(x)[0], inputs), expected, strict=True):
            np.testing.assert_array_equal(output, value)
