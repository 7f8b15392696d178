"""ONNX models of networks, against ONNX Runtime, and the cells that they have."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Close, require_peer
from onnx_models import WIDTH, B, H, T, run, some

from rnncore import GRU, LSTM, Elman, Recurrent
from rnncore.cells import MGU
from rnncore.interchange.cells import ActivatedElman, ActivatedGRU, ActivatedLSTM
from rnncore.states import as_tuple, unwrap_state


@pytest.fixture(scope="module")
def onnx(request: pytest.FixtureRequest) -> Any:
    return require_peer(request, "onnx")


EXPORTED: list[tuple[Any, dict[str, Any]]] = [
    ("lstm", {"num_layers": 2, "bidirectional": True}),
    ("gru", {"num_layers": 2, "batch_first": True, "direction": "reverse"}),
    (GRU("carry", "before"), {"bias": False, "bidirectional": True}),
    (Elman("relu"), {"bidirectional": True}),
    (Elman("identity"), {"direction": "reverse"}),
    (LSTM(coupled=True, peephole=True), {"num_layers": 2}),
    (ActivatedElman(activation="elu(0.5)", clip=0.5), {"bidirectional": True}),
    (ActivatedGRU(reset="before", gate="hard_sigmoid(0.25, 0.5)", candidate="softsign", clip=0.5), {}),
    (ActivatedLSTM(gate="hard_sigmoid(0.25, 0.5)", candidate="affine(0.5, 0.25)", output="softplus"), {}),
]


@pytest.mark.parametrize(("cell", "options"), EXPORTED, ids=[repr(cell) for cell, _ in EXPORTED])
def test_a_model_computes_as_the_network_does(
    cell: Any, options: dict[str, Any], onnx: Any, request: pytest.FixtureRequest, close: Close, tmp_path: Path
) -> None:
    rnn = Recurrent(cell, WIDTH, H, backend="numpy", seed=0, **options)
    x = some(B, T, WIDTH) if rnn.batch_first else some(T, B, WIDTH)
    output, final = rnn(x)
    rnn.to_onnx(tmp_path / "model.onnx")
    whole = onnx.load(tmp_path / "model.onnx")
    for actual, expected in zip(run(whole, {"x": x}, request), (output, *as_tuple(final)), strict=True):
        close(actual, expected, "output")
    # The same graph for other lengths, states and batches.
    depth = rnn.num_layers * (2 if rnn.bidirectional else 1)
    model = rnn.to_onnx(state=True, lengths=True)
    lengths, state = [3, 6], tuple(some(depth, 2, H, seed=i) for i in range(len(rnn.cell.states)))
    x = x[:2] if rnn.batch_first else x[:, :2]
    feeds = {"x": x, "lengths": np.array(lengths, np.int32)}
    feeds |= {f"{name}_0": values for name, values in zip(rnn.cell.states, state, strict=True)}
    output, final = rnn(x, unwrap_state(state), lengths)
    for actual, expected in zip(run(model, feeds, request), (output, *as_tuple(final)), strict=True):
        close(actual, expected, "output")
    back = Recurrent.from_onnx(model, [*range(rnn.num_layers)], batch_first=rnn.batch_first, backend="numpy")
    assert (back.bidirectional, back.bias, back.direction) == (rnn.bidirectional, rnn.bias, rnn.direction)
    if rnn.cell != GRU():
        assert back.cell == rnn.cell
    close(back(x, unwrap_state(state), lengths)[0], output, "output")


def test_float64_is_checked(onnx: Any) -> None:
    model = Recurrent("gru", WIDTH, H, dtype="float64", backend="numpy").to_onnx()
    assert {tensor.data_type for tensor in model.graph.initializer} == {
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.INT64,
    }


class MyLSTM(LSTM):
    """Its step may be another."""


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (MGU(), "to_onnx: MGU() has no counterpart in ONNX, which has RNN, GRU, and LSTM without a projection"),
        (LSTM(projection=2), "to_onnx: LSTM(projection=2) has no counterpart in ONNX"),
        (MyLSTM(), "to_onnx: MyLSTM() has no counterpart in ONNX"),
        (ActivatedElman(activation="silu"), "has no counterpart in ONNX, which has no activation silu"),
    ],
)
def test_cells_that_onnx_lacks(cell: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Recurrent(cell, WIDTH, H, backend="numpy").to_onnx()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ActivatedGRU(gate="sigmid"), "ActivatedGRU: gate: expected one of tanh, sigmoid, relu, identity, aff"),
        (lambda: ActivatedLSTM(output="elu"), "ActivatedLSTM: output: expected one of tanh, sigmoid"),
        (lambda: ActivatedElman(activation="elu(x)"), "got 'elu(x)'"),
        (lambda: ActivatedElman(clip=0.0), "ActivatedElman: clip: expected a finite number greater than 0, got 0.0"),
    ],
)
def test_options_of_cells(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_a_network_of_other_activations_is_saved_with_its_cell(tmp_path: Path) -> None:
    rnn = Recurrent(ActivatedGRU(candidate="selu"), WIDTH, H, backend="numpy", seed=0)
    rnn.save(tmp_path / "rnn")
    loaded = Recurrent.load(tmp_path / "rnn", backend="numpy")
    np.testing.assert_array_equal(loaded(some(T, B, WIDTH))[0], rnn(some(T, B, WIDTH))[0])
