"""ONNX Runtime as an outside reference: its RNN, LSTM and GRU operators, both directions, ragged, GRU's both resets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Close, require_peer
from networks import CELLS, Call, make_call
from numpy.typing import NDArray

from rnncore.states import as_given, as_tuple

Array = NDArray[Any]

# Operator, its order of our gates, its attributes. ONNX's GRU is the "carry" one.
OPERATORS: dict[str, tuple[str, list[int], dict[str, Any]]] = {
    "elman_tanh": ("RNN", [0], {"activations": ["Tanh"]}),
    "elman_relu": ("RNN", [0], {"activations": ["Relu"]}),
    "elman_sigmoid": ("RNN", [0], {"activations": ["Sigmoid"]}),
    "lstm": ("LSTM", [0, 3, 1, 2], {}),
    "gru_carry_after": ("GRU", [1, 0, 2], {"linear_before_reset": 1}),
    "gru_carry_before": ("GRU", [1, 0, 2], {"linear_before_reset": 0}),
}


def by_onnxruntime(name: str, call: Call, request: pytest.FixtureRequest) -> tuple[Array, list[Array]]:
    """Output (T, B, D*H) and final states (D, B, H) of a network of one layer."""
    onnx, onnxruntime = require_peer(request, "onnx"), require_peer(request, "onnxruntime")
    helper, proto = onnx.helper, onnx.TensorProto
    operator, order, attributes = OPERATORS[name]
    hidden, directions = call.rnn.hidden_size, 2 if call.rnn.bidirectional else 1
    weights = call.rnn.parameters.layers()

    def reorder(values: Array | None) -> Array:
        assert values is not None
        return values.reshape(len(order), hidden, -1)[order].reshape(values.shape)

    feeds = {
        "X": call.x,
        "W": np.stack([reorder(w.weight_ih) for w in weights]),
        "R": np.stack([reorder(w.weight_hh) for w in weights]),
        "B": np.stack([np.concatenate([reorder(b) for b in (w.bias_ih, w.bias_hh) if b is not None]) for w in weights]),
        "lengths": np.array(call.lengths, np.int32),
        **{f"{state}0": value for state, value in zip(call.rnn.cell.states, call.state, strict=True)},
    }
    if directions == 2 and "activations" in attributes:
        attributes = {"activations": attributes["activations"] * 2}
    outputs = ["Y", *(f"{state}n" for state in call.rnn.cell.states)]
    node = helper.make_node(
        operator,
        list(feeds),
        outputs,
        hidden_size=hidden,
        direction="bidirectional" if directions == 2 else "forward",
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        "layer",
        [
            helper.make_tensor_value_info(key, proto.INT32 if key == "lengths" else proto.FLOAT, value.shape)
            for key, value in feeds.items()
        ],
        [helper.make_tensor_value_info(key, proto.FLOAT, None) for key in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    output, *states = session.run(None, feeds)
    steps, _, batch, _ = output.shape
    return output.transpose(0, 2, 1, 3).reshape(steps, batch, directions * hidden), states


@pytest.mark.parametrize("lengths", [None, [3, 6, 1, 4, 6]])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", OPERATORS)
def test_agrees(
    backend: str,
    name: str,
    bidirectional: bool,
    lengths: list[int] | None,
    close: Close,
    request: pytest.FixtureRequest,
) -> None:
    call = make_call(
        name, 6, 5, lengths=lengths, bidirectional=bidirectional, hidden_size=17, input_size=9, backend=backend
    )
    expected, expected_states = by_onnxruntime(name, call, request)
    output, state = call.rnn(call.x, as_given(call.state), lengths)
    close(output, expected, "output")
    for value, value_expected in zip(as_tuple(state), expected_states, strict=True):
        close(value, value_expected, "state")


def test_every_cell_that_onnx_has_is_here() -> None:
    assert set(OPERATORS) == {name for name in CELLS if "candidate" not in name} - {
        "elman_identity",
        "minimal_gated_unit",
    }
