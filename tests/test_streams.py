"""Streams: steps, generation, and frozen networks, which are called again and again."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from conftest import Close
from networks import CELLS, make_call
from test_inference import sequence

from rnncore import Recurrent
from rnncore.states import as_tuple, unwrap_state


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
