"""Networks whose layers run from the end of each row to its start."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Array, Close
from networks import make_call
from test_against_oracle import check

from rnncore import Recurrent

LENGTHS = [5, 0, 2, 4]


def reverse(cell: Any = "lstm", seed: int = 0, **options: Any) -> Recurrent:
    return Recurrent(cell, 3, 4, **{"direction": "reverse", "backend": "numpy", "seed": seed, **options})


def sequence(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("lengths", "resets"), [(None, None), (LENGTHS, None), (LENGTHS, "given")])
@pytest.mark.parametrize("name", ["lstm", "gru_candidate_before"])
def test_agrees_with_the_oracle(
    backend: str, name: str, lengths: list[int] | None, resets: str | None, close: Close, nan_filled_empty: None
) -> None:
    options: dict[str, Any] = {"num_layers": 2, "direction": "reverse", "lengths": lengths, "resets": resets}
    call = make_call(name, 5, 4, backend=backend, **options)
    check(call, close, lengths=lengths)


@pytest.mark.parametrize("batch_first", [False, True])
def test_many_to_one_is_the_first_that_is_computed(backend: str, batch_first: bool) -> None:
    rnn = reverse(backend=backend, num_layers=2, batch_first=batch_first)
    x = sequence(4, 5, 3) if batch_first else sequence(5, 4, 3)
    output, _, whole = rnn.forward(x, lengths=LENGTHS)
    last, _, tape = rnn.forward(x, lengths=LENGTHS, return_sequence=False)
    ends, rows = np.array([4, 1, 3]), np.array([0, 2, 3])
    places = (rows, ends) if batch_first else (ends, rows)
    np.testing.assert_array_equal(last[rows], output[places])
    assert not last[1].any()
    np.testing.assert_array_equal(rnn(x, lengths=LENGTHS, return_sequence=False)[0], last)
    grad_last, grad_output = sequence(4, 4), np.zeros_like(output)
    grad_output[places] = grad_last[rows]
    of_last, of_output = rnn.backward(tape, grad_last=grad_last), rnn.backward(whole, grad_output)
    np.testing.assert_allclose(of_last.x, of_output.x, rtol=1e-5, atol=1e-6)
    for name, values in of_output.parameters.items():
        np.testing.assert_allclose(of_last.parameters[name], values, rtol=1e-5, atol=1e-6)


def test_a_long_sequence_is_one_block(backend: str, small_blocks: None) -> None:
    rnn, x = reverse(backend=backend, num_layers=2), sequence(40, 2, 3)
    forward = Recurrent.from_state_dict(rnn.state_dict(), backend=backend, direction="forward")
    expected, (h, c) = forward(x[::-1].copy())
    output, state = rnn(x)
    for value, reference in zip((output, *state), (expected[::-1], h, c), strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-5, atol=1e-6)


def saved(rnn: Recurrent, folder: Path) -> Recurrent:
    rnn.save(folder / "rnn")
    return Recurrent.load(folder / "rnn", backend="numpy")


KEPT: dict[str, Callable[[Recurrent, Path], Recurrent]] = {
    "pickle": lambda rnn, folder: pickle.loads(pickle.dumps(rnn)),
    "state_dict": lambda rnn, folder: Recurrent.from_state_dict(rnn.state_dict(), backend="numpy"),
    "a copy of it": lambda rnn, folder: Recurrent.from_state_dict(rnn.state_dict().copy(), backend="numpy"),
    "a pickle of it": lambda rnn, folder: Recurrent.from_state_dict(
        pickle.loads(pickle.dumps(rnn.state_dict())), backend="numpy"
    ),
    "parameters": lambda rnn, folder: Recurrent.from_state_dict(rnn.parameters, backend="numpy"),
    "a dict": lambda rnn, folder: Recurrent.from_state_dict(
        dict(rnn.state_dict()), cell=rnn.cell, direction="reverse", backend="numpy"
    ),
    "a file": saved,
}


@pytest.mark.parametrize("way", KEPT)
def test_the_direction_is_kept(way: str, tmp_path: Path) -> None:
    rnn, x = reverse(num_layers=2), sequence(5, 4, 3)
    assert list(rnn.parameters)[:2] == ["weight_ih_l0", "weight_hh_l0"]
    assert "direction='reverse'" in repr(rnn)
    other = KEPT[way](rnn, tmp_path)
    assert other.direction == "reverse"
    np.testing.assert_array_equal(other(x, lengths=LENGTHS)[0], rnn(x, lengths=LENGTHS)[0])


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "another word": (lambda: reverse(direction="backward"), "direction: expected 'forward' or 'reverse', got 'backw"),
    "both": (
        lambda: reverse(bidirectional=True),
        "direction: expected 'forward' with bidirectional=True, which is both, got 'reverse'",
    ),
    "a step": (
        lambda: reverse().step(sequence(2, 3)),
        "x_t: expected a network that runs forward, got direction='reverse', which needs whole sequences",
    ),
    "to PyTorch": (lambda: reverse().to_torch(), "to_torch: direction='reverse' has no counterpart in PyTorch: make"),
    "to PyTorch, with time first": (
        lambda: reverse().to_torch(),
        "turned round along T, x.flip(0), and each row within",
    ),
    "to PyTorch, with batch first": (
        lambda: reverse(batch_first=True).to_torch(),
        "turned round along T, x.flip(1), and",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what: str) -> None:
    call, message = REFUSED[what]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
