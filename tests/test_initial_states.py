"""Initial states that are learnt: parameters, used where nobody gives a state, with gradients summed over rows."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Array, Close
from finite_differences import compare
from test_cells_on_engines import skip_unless_executed

from rnncore import Recurrent
from rnncore.cells import LSTM
from rnncore.states import as_tuple, unwrap_state

T, B, WIDE, H = 5, 3, 4, 5
rng = np.random.default_rng(0)
x = rng.standard_normal((T, B, WIDE))
resets = np.zeros((T, B), bool)
resets[[2, 4], [0, 1]] = True
LENGTHS = [5, 3, 0]


def network(backend: str = "numpy", cell: Any = "lstm", **options: Any) -> Recurrent:
    """A network that has learnt something."""
    options = {"dtype": "float64", "learn_initial_state": True, **options}
    rnn = Recurrent(cell, WIDE, H, backend=backend, seed=0, **options)
    for name in ("h_0", "c_0")[: len(rnn.cell.states)]:
        assert not rnn.parameters[name].any()
        rnn.parameters[name][...] = np.random.default_rng(1).standard_normal(rnn.parameters[name].shape)
    return rnn


@pytest.mark.parametrize("cell", ["lstm", "gru", LSTM(projection=3)], ids=repr)
def test_a_call_begins_with_them(cell: Any, backend: str, close: Close) -> None:
    """As if they were given, and the gradients of what was given summed over rows."""
    skip_unless_executed(backend, str(cell))
    dtype = "float32" if backend == "ptx" else "float64"
    rnn = network(backend, cell, num_layers=2, bidirectional=True, dtype=dtype)
    given = x.astype(dtype)
    names = ("h_0", "c_0")[: len(rnn.cell.states)]
    state = unwrap_state(tuple(np.repeat(rnn.parameters[name][:, None], B, 1) for name in names))
    assert [rnn.parameters[name].shape[0] for name in names] == [4] * len(names)
    for own, same in zip(as_tuple(rnn.initial_state), as_tuple(state), strict=True):
        np.testing.assert_array_equal(own, same[:, :1])
    options: dict[str, Any] = {"lengths": LENGTHS, "resets": resets}
    output, final, tape = rnn.forward(given, **options)
    expected, expected_final, other = rnn.forward(given, state, **options, reset_state=state)
    for one, two in zip((output, *as_tuple(final)), (expected, *as_tuple(expected_final)), strict=True):
        np.testing.assert_array_equal(one, two)
    grads, reference = (rnn.backward(each, expected, final) for each in (tape, other))
    for name, of_state, of_resets in zip(
        names, as_tuple(reference.state), as_tuple(reference.reset_state), strict=True
    ):
        close(grads.parameters[name], (of_state + of_resets).sum(1), "gradient")
        assert not reference.parameters[name].any()
    assert list(grads.parameters) == list(rnn.parameters)


def test_finite_differences() -> None:
    rnn = network(num_layers=2)
    output, _, tape = rnn.forward(x, lengths=LENGTHS, resets=resets)
    grads = rnn.backward(tape, output)
    for name in ("h_0", "c_0"):
        compare(
            name,
            rnn.parameters[name],
            grads.parameters[name],
            lambda: float((rnn(x, lengths=LENGTHS, resets=resets)[0] * output).sum()),
        )


def test_either_may_be_given() -> None:
    """Who gives a state has the learnt one for resets alone, and the other way round."""
    rnn = network()
    zeros = tuple(np.zeros((1, B, H)) for _ in range(2))
    ways: list[tuple[str, dict[str, Any]]] = [("reset_state", {"state": zeros}), ("state", {"reset_state": zeros})]
    for own, given in ways:
        output, _, tape = rnn.forward(x, resets=resets, **given)
        grads = rnn.backward(tape, output)
        np.testing.assert_allclose(grads.parameters["h_0"], getattr(grads, own)[0].sum(1), rtol=1e-12)


def test_every_call_reads_them_as_they_are(backend: str) -> None:
    skip_unless_executed(backend, "lstm")
    rnn = network(backend)
    frozen, h = rnn.freeze(), rnn.parameters["h_0"]

    def results() -> list[Array]:
        generated, _ = rnn.generate(x[0], 2, feedback=lambda y: y[..., :WIDE].copy())
        return [rnn(x)[0][0], rnn(x[:, 0])[0][0][None], rnn.step(x[0])[0], generated[0], rnn.forward(x)[0][0]]

    before = results()
    h += 0.5
    for one, other in zip(before, results(), strict=True):
        assert not np.array_equal(one, other)
    np.testing.assert_array_equal(frozen(x)[0][0], before[0])
    assert frozen.step(x[0])[0].shape == (B, H)


def test_they_are_kept(tmp_path: Path) -> None:
    rnn = network()
    assert "learn_initial_state=True" in repr(rnn)
    rnn.save(tmp_path / "rnn")
    plain = Recurrent("lstm", WIDE, H, backend="numpy", dtype="float64")
    for other in (
        Recurrent.load(tmp_path / "rnn", backend="numpy"),
        Recurrent.from_state_dict(rnn.state_dict(), backend="numpy"),
        pickle.loads(pickle.dumps(rnn)),
    ):
        assert other.learn_initial_state
        np.testing.assert_array_equal(other(x)[0], rnn(x)[0])
    with pytest.raises(
        KeyError, match=re.escape("unknown ['h_0', 'c_0']: make the network with learn_initial_state=True")
    ):
        plain.load_state_dict(rnn.state_dict())
    with pytest.raises(KeyError, match=re.escape("missing ['h_0', 'c_0'], unknown []: make the network without")):
        rnn.load_state_dict(plain.state_dict())


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match="learn_initial_state: expected True or False, got str 'yes'"):
        network(learn_initial_state="yes")
    rnn = network(bidirectional=True)
    with pytest.raises(ValueError, match=re.escape("h_0: expected (2*num_layers, hidden_size) = (2, 5), got (1, 5)")):
        rnn.parameters.update({"h_0": np.zeros((1, H))})
    with pytest.raises(ValueError, match="to_torch: a network with an initial_state of its own"):
        rnn.to_torch()
