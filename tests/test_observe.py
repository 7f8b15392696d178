"""What a network's steps compute, by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from own_cells import projected

from rnncore import GRU, Recurrent
from rnncore.cells import Cell, CellError, cell, mean, observe, tanh

T, B, WIDE, H = 5, 3, 4, 6
x = np.random.default_rng(0).standard_normal((T, B, WIDE)).astype(np.float32)


def sigmoid(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


@cell(states="h", gates="a b")
def watched(h: Any, a: Any, b: Any) -> Any:
    """A value of one number a row, and a gate that is used in parts."""
    middle = observe("middle", mean(h))
    return tanh(a + b.x * b.h) + 0 * middle


def test_lstm(backend: str) -> None:
    """By the equations, from what is returned."""
    rnn = Recurrent("lstm", WIDE, H, num_layers=2, backend=backend, seed=0)
    lengths = [5, 2, 0]
    below, top = rnn.observe(x, lengths=lengths)
    (h, c), _ = rnn(x, lengths=lengths, states="all")
    assert list(top) == ["h", "c", "i", "f", "g", "o"]
    np.testing.assert_allclose(top["h"], h, atol=1e-6)
    np.testing.assert_allclose(top["c"], c, atol=1e-6)
    before = np.concatenate([np.zeros((1, B, H)), below["c"][:-1]])
    np.testing.assert_allclose(below["c"], below["f"] * before + below["i"] * below["g"], atol=1e-6)
    np.testing.assert_allclose(below["h"], below["o"] * np.tanh(below["c"]), atol=1e-6)
    a = x[0] @ rnn.parameters["weight_ih_l0"].T + rnn.parameters["bias_ih_l0"] + rnn.parameters["bias_hh_l0"]
    np.testing.assert_allclose(below["i"][0, :2], sigmoid(a[:2, :H]), atol=1e-6)
    assert not any(values[:, 2].any() for values in top.values())


@pytest.mark.parametrize("update", ["candidate", "carry"])
def test_gru(backend: str, update: str) -> None:
    rnn = Recurrent(GRU(update=update), WIDE, H, bidirectional=True, backend=backend, seed=0)
    resets = np.zeros((T, B), bool)
    resets[2] = True
    (layer,) = rnn.observe(x, resets=resets)
    h, z, n = (layer[name][..., :H] for name in ("h", "z", "n"))
    before = np.concatenate([np.zeros((1, B, H)), h[:-1]]) * ~resets[..., None]
    keep = 1 - z if update == "candidate" else z
    np.testing.assert_allclose(h, keep * before + (1 - keep) * n, atol=1e-6)


def test_a_cell_of_ones_own(backend: str) -> None:
    rnn = Recurrent(watched, WIDE, H, bidirectional=True, batch_first=True, backend=backend, seed=0)
    (layer,) = rnn.observe(x.swapaxes(0, 1))
    assert list(layer) == ["h", "a", "middle"]
    assert layer["a"].shape == (B, T, 2 * H)
    assert layer["middle"].shape == (B, T, 2)
    np.testing.assert_allclose(layer["middle"][:, 1:, 0], layer["h"][:, :-1, :H].mean(axis=2), atol=1e-6)


def test_widths(backend: str) -> None:
    (layer,) = Recurrent(projected, WIDE, H, backend=backend, seed=0).observe(x[:, 0])
    assert {name: values.shape for name, values in layer.items()} == {
        "h": (T, 2), "c": (T, H), "i": (T, H), "g": (T, H),
    }  # fmt: skip


def test_what_only_an_observed_value_uses_is_refused() -> None:
    @cell(states="h", gates="a b")
    def wrong(h: Any, a: Any, b: Any) -> Any:
        observe("seen", b.x)
        return tanh(a) + 0 * b.h

    cells: list[Cell] = [wrong]
    with pytest.raises(CellError, match=r"observe: expected parts of gates that step returns something of, got b\.x"):
        Recurrent(cells[0], WIDE, H)
