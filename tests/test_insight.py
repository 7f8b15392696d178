"""`rnncore.insight`: its arrays by their definitions, its pictures by what they hold, and its refusals."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from rnncore import Elman, Recurrent, insight
from rnncore.bench.plots.theme import DARK, LIGHT
from rnncore.cells import LSTM

T, B, WIDE, H = 6, 3, 4, 5
x = np.random.default_rng(0).standard_normal((T, B, WIDE)).astype(np.float32)
LENGTHS = [6, 4, 0]


def axes() -> Any:
    return Figure().subplots()


def lstm(**options: Any) -> Recurrent:
    return Recurrent("lstm", WIDE, H, seed=0, backend="numpy", **options)


def last_of(row: int, value: float = 1.0) -> Any:
    grad = np.zeros((B, H), np.float32)
    grad[row] = value
    return grad


def test_gates_are_those_observed(backend: str) -> None:
    rnn = Recurrent("lstm", WIDE, H, num_layers=2, backend=backend, seed=0)
    ax = axes()
    found = insight.gates(rnn, x, lengths=LENGTHS, row=1, labels="abcdef", signal=x[:, 1, 0], ax=ax)
    (_, top) = rnn.observe(x, lengths=LENGTHS)
    assert list(found) == ["i", "f", "g", "o"]
    for name, value in found.items():
        np.testing.assert_array_equal(value, top[name][:4, 1])
    (image,) = ax.images
    drawn = np.ma.filled(image.get_array(), np.nan)
    # Four bands of five units, with a line between.
    assert drawn.shape == (4 * H + 3, 4)
    np.testing.assert_array_equal(drawn[:H], found["i"].T)
    np.testing.assert_array_equal(drawn[-H:], found["o"].T)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == list("abcd")
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(found)
    np.testing.assert_array_equal(ax.child_axes[0].lines[0].get_ydata(), x[:4, 1, 0])
    chosen = insight.gates(rnn, x, layer=0, names=["c"], units=[4, 0])
    np.testing.assert_array_equal(chosen["c"], rnn.observe(x)[0]["c"][:, 0, [4, 0]])


@pytest.mark.parametrize("batch_first", [False, True])
def test_gates_however_x_lies(batch_first: bool) -> None:
    rnn, one = lstm(batch_first=batch_first, bidirectional=True), x[:, 2]
    found = insight.gates(rnn, x.swapaxes(0, 1) if batch_first else x, row=2)
    alone = insight.gates(rnn, one)
    for name, value in found.items():
        assert value.shape == (T, 2 * H)
        np.testing.assert_allclose(value, alone[name], atol=1e-6)


def test_flow_is_the_norm_of_the_gradient_of_the_state(backend: str) -> None:
    """By differences of the state between two calls; of an LSTM, over both states."""
    grad_last, values = last_of(0).astype(float), x.astype(float)
    rnn = Recurrent("gru", WIDE, H, backend=backend, dtype="float64", seed=0)
    norms = insight.gradient_flow(rnn, values, grad_last=grad_last)
    assert norms.shape == (1, T)
    _, before = rnn(values[:3])
    step, grad = 1e-6, np.zeros(H)
    for unit in range(H):
        moved = np.zeros_like(before)
        moved[0, 0, unit] = step
        above, below = (
            rnn(values[3:], state, return_sequence=False)[0][0] for state in (before + moved, before - moved)
        )
        grad[unit] = (above - below).sum() / (2 * step)
    np.testing.assert_allclose(norms[0, 2], np.linalg.norm(grad), rtol=1e-6)

    both = Recurrent("lstm", WIDE, H, backend=backend, dtype="float64", seed=0)
    norms = insight.gradient_flow(both, values, grad_last=grad_last, ax=(ax := axes()), label="LSTM")
    _, _, tape = both.forward(values, return_sequence=False, flow=True)
    np.testing.assert_allclose(norms, np.hypot(*both.backward(tape, grad_last=grad_last).flow), rtol=1e-12)
    assert [line.get_label() for line in ax.lines] == ["LSTM"]
    assert ax.get_yscale() == "log"


def test_flow_without_a_cotangent_begins_at_one() -> None:
    """In an Elman network; each layer has its line, and dropout is left out."""
    rnn = Recurrent("rnn", WIDE, H, num_layers=2, dropout=0.9, backend="numpy", seed=0)
    norms = insight.gradient_flow(rnn, x, ax=(ax := axes()))
    assert norms[1, -1] == pytest.approx(1, rel=1e-6)
    np.testing.assert_array_equal(norms, insight.gradient_flow(rnn, x))
    assert [line.get_label() for line in ax.lines] == ["l0", "l1"]
    assert rnn.dropout == 0.9


def test_saliency_is_the_gradient(backend: str) -> None:
    rnn = Recurrent("gru", WIDE, H, backend=backend, dtype="float64", seed=0)
    poisoned = x.astype(float)
    poisoned[4:, 1] = np.nan
    grad_last = last_of(1).astype(float)
    plain, signed = (
        insight.saliency(rnn, poisoned, grad_last=grad_last, lengths=LENGTHS, times_input=way, row=1, ax=(ax := axes()))
        for way in (False, True)
    )
    _, _, tape = rnn.forward(poisoned, lengths=LENGTHS, return_sequence=False)
    grad = rnn.backward(tape, grad_last=grad_last).x
    np.testing.assert_array_equal(plain, np.linalg.norm(grad, axis=-1))
    np.testing.assert_allclose(signed[:4, 1], (grad[:4, 1] * poisoned[:4, 1]).sum(-1), rtol=1e-12)
    for values in (plain, signed):
        assert values.shape == (T, B)
        assert not values[4:].any()
        assert not values[:, [0, 2]].any()
    assert len(ax.patches) == 4


def test_saliency_of_a_linear_network_is_its_result() -> None:
    """Gradient times input adds up to the number itself where all is linear."""
    rnn = Recurrent(Elman("identity"), WIDE, H, bias=False, batch_first=True, backend="numpy", dtype="float64", seed=0)
    rows = x.astype(float).swapaxes(0, 1)
    parts = insight.saliency(rnn, rows, grad_last=np.ones((B, H)), times_input=True)
    np.testing.assert_allclose(parts.sum(1), rnn(rows, return_sequence=False)[0].sum(1), rtol=1e-10)
    one = insight.saliency(rnn, rows[0], grad_last=np.ones(H), times_input=True)
    np.testing.assert_allclose(one, parts[0], rtol=1e-10)


def test_integrated_gradients_add_up_to_the_result() -> None:
    rnn = Recurrent("gru", WIDE, H, backend="numpy", dtype="float64", seed=0)
    values, grad_last = x.astype(float), last_of(1).astype(float)
    parts = insight.saliency(rnn, values, grad_last=grad_last, times_input=True, points=300)
    (full, _), (none, _) = (rnn(each, return_sequence=False) for each in (values, 0 * values))
    np.testing.assert_allclose(parts[:, 1].sum(), (full - none)[1].sum(), rtol=1e-4)


def test_eigenvalues_of_a_known_matrix() -> None:
    rnn = lstm(num_layers=2, bidirectional=True)
    turn = np.zeros((H, H), np.float32)
    turn[:2, :2] = 0.5 * np.array([[0, -1], [1, 0]])
    turn[2, 2] = -2
    rnn.parameters["weight_hh_l1_reverse"][H : 2 * H] = turn
    found = insight.eigenvalues(rnn, layer=1, direction=1, ax=(ax := axes()))
    assert list(found) == ["i", "f", "g", "o"]
    np.testing.assert_allclose(found["f"][0], -2, atol=1e-6)
    np.testing.assert_allclose(sorted(np.imag(found["f"][1:3])), [-0.5, 0.5], atol=1e-6)
    circle, *points = ax.lines
    np.testing.assert_allclose(np.hypot(*circle.get_data()), 1)
    assert [line.get_label() for line in points] == list(found)


def test_eigenvalues_of_heads() -> None:
    rnn = Recurrent("gru", 3, 4, heads=2, backend="numpy", seed=0)
    weights = rnn.parameters["weight_hh_l0"][:4].astype(float)
    whole = np.zeros((4, 4))
    whole[:2, :2], whole[2:, 2:] = weights[:2], weights[2:]
    found = insight.eigenvalues(rnn)["r"]
    np.testing.assert_allclose(np.sort(np.abs(found)), np.sort(np.abs(np.linalg.eigvals(whole))), rtol=1e-6)


def test_trajectory_has_the_principal_components() -> None:
    rnn = lstm()
    found = insight.trajectory(
        rnn, x, name="c", components=H, lengths=LENGTHS, groups=["a", "b", "a"], ax=(ax := axes())
    )
    states = rnn.observe(x, lengths=LENGTHS)[0]["c"]
    assert found.points.shape == (T, B, H)
    assert np.isnan(found.points[4:, 1]).all()
    assert np.isnan(found.points[:, 2]).all()
    np.testing.assert_allclose(found.points[:4, 1] @ found.axes + found.mean, states[:4, 1], atol=1e-6)
    inside = np.concatenate([states[:, 0], states[:4, 1]])
    values, _ = np.linalg.eigh(np.cov(inside.T.astype(float)))
    np.testing.assert_allclose(found.shares, values[::-1] / values.sum(), atol=1e-6)
    # A line and a dot for each of two rows, and two names.
    assert len(ax.lines) == 6
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_what_is_refused() -> None:
    rnn = lstm()
    last = last_of(0)
    for call, message in (
        (lambda: insight.gates(rnn, x, names=["i", "q"]), "names: expected some of h, c, i, f, g, o, got 'q'"),
        (lambda: insight.gates(rnn, x, layer=1), "layer: expected one from 0 to 0, got 1"),
        (lambda: insight.gates(rnn, x, row=1.0), "row: expected an integer, got float 1.0"),  # type: ignore[arg-type]
        (lambda: insight.gates(rnn, x, labels="ab"), "labels: expected one for each of the row's 6 steps, got 2"),
        (
            lambda: insight.gates(rnn, x, signal=[1, 2]),
            "signal: expected (6,) or (6, K), numbers of each step, got (2,)",
        ),
        (lambda: insight.gates(rnn, x[..., :3]), "x: expected (T, B, input_size=4)"),
        (lambda: insight.saliency(rnn, x), "grad_last: expected a cotangent, got none"),
        (lambda: insight.saliency(rnn, x, grad_last=last, row=3), "row: expected one from 0 to 2, got 3"),
        (lambda: insight.trajectory(rnn, x, name="z"), "name: expected 'h' or 'c', got 'z'"),
        (
            lambda: insight.trajectory(rnn, x, components=9),
            "components: expected 1 to 5, of 18 states of 5 units, got 9",
        ),
        (lambda: insight.trajectory(rnn, x, groups=[1]), "groups: expected (3,), one for each row"),
        (lambda: insight.trajectory(rnn, x, components=1, ax=axes()), "components: expected at least 2 to draw, got 1"),
        (lambda: insight.eigenvalues(rnn, direction=1), "direction: expected one from 0 to 0, got 1"),
        (
            lambda: insight.eigenvalues(Recurrent("indrnn", 3, 4, backend="numpy")),
            "rnn: expected a cell with recurrent",
        ),
        (
            lambda: insight.eigenvalues(Recurrent(LSTM(projection=2), 3, 4, backend="numpy")),
            "rnn: expected a square W_hh for each gate, got (4, 2)",
        ),
    ):
        with pytest.raises((ValueError, TypeError), match=re.escape(message)):
            call()


@pytest.mark.parametrize("look", [insight.gates, insight.gradient_flow, insight.saliency, insight.trajectory])
def test_other_things_than_a_network_are_refused(look: Any) -> None:
    cases: list[tuple[Any, str]] = [
        (lstm().freeze(), "dtype='float32'): pass the network that was frozen"),
        ("lstm", "rnn: expected a Recurrent, got str 'lstm'"),
    ]
    for network, message in cases:
        for call in (lambda rnn: look(rnn, x), insight.eigenvalues):
            with pytest.raises(TypeError, match=re.escape(message)):
                call(network)


@pytest.mark.parametrize(("theme", "suffix"), [("auto", "svg"), ("dark", "svg"), ("dark", "png")])
def test_figure(theme: Any, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    with insight.figure(path, columns=2, theme=theme) as (left, right):
        insight.gradient_flow(lstm(), x, label="LSTM", ax=left)
        insight.gates(lstm(), x, ax=right)
    if suffix == "png":
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        return
    svg = path.read_text()
    assert ET.fromstring(svg).tag.endswith("svg")
    colours = {*re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", re.sub(r"<style>.*?</style>", "", svg))}
    assert colours <= {*(DARK if theme == "dark" else LIGHT).colours()}
    assert ("prefers-color-scheme: dark" in svg) == (theme == "auto")


def test_figure_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), insight.figure(tmp_path / "a.svg"):
        _ = 1 / 0
    for path, theme, message in (
        ("a.pdf", "auto", "ends in .svg or .png"),
        ("a.svg", "pink", "theme: expected one of"),
    ):
        with pytest.raises(ValueError, match=message), insight.figure(tmp_path / path, theme=theme):  # type: ignore[arg-type]
            pass
    assert not [*tmp_path.iterdir()]


def test_matplotlib_is_loaded_to_draw_alone() -> None:
    code = (
        "import sys, numpy as np; from rnncore import Recurrent, insight; rnn = Recurrent('lstm', 3, 4, backend='numpy');"
        "insight.gates(rnn, np.zeros((2, 1, 3), 'float32')); insight.eigenvalues(rnn); assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
