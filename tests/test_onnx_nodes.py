"""The ONNX project's own tests of its RNN, GRU and LSTM operators, which come with its package."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from conftest import Close, require_peer
from numpy.typing import NDArray

from rnncore import Recurrent
from rnncore.states import as_tuple, unwrap_state

Array = NDArray[Any]

CALLERS = ("X", "sequence_lens", "initial_h", "initial_c")
"""What a call gives; the rest of what the cases give are weights, which are put into the model."""

NAMES = [
    *(
        f"gru_{kind}"
        for kind in ("defaults", "with_initial_bias", "seq_length", "batchwise", "reverse", "bidirectional")
    ),
    *("lstm_defaults", "lstm_with_initial_bias", "lstm_with_peepholes", "lstm_batchwise", "lstm_reverse"),
    *("lstm_bidirectional", "simple_rnn_defaults", "simple_rnn_with_initial_bias", "rnn_seq_length"),
    *("simple_rnn_batchwise", "simple_rnn_reverse", "simple_rnn_bidirectional"),
]


def cases(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The project's cases by name."""
    require_peer(request, "onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case import node
        from onnx.backend.test.case.node import gru, lstm, rnn

        assert all(module.__name__.startswith(node.__name__) for module in (gru, lstm, rnn))
    return {case.name.removeprefix("test_"): case for case in node._NodeTestCases}


def test_all_cases_are_known(request: pytest.FixtureRequest) -> None:
    assert {name for name in cases(request) if name.split("_")[0] in ("gru", "lstm", "simple", "rnn")} <= {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_node_computes_as_its_project_says(
    name: str, backend: str, request: pytest.FixtureRequest, close: Close
) -> None:
    case = cases(request)[name]
    (node,) = case.model.graph.node
    for given, expected in case.data_sets:
        inputs = dict(zip([n for n in node.input if n], given, strict=True))
        outputs = computed(case.model, inputs, backend)
        for output, value in zip([n for n in node.output if n], expected, strict=True):
            close(outputs[output], value, "output")


def computed(model: Any, inputs: dict[str, Array], backend: str) -> dict[str, Array]:
    """The node's outputs Y (T, D, B, H), Y_h and Y_c (D, B, H), batch first where its layout is 1."""
    import onnx

    filled = onnx.ModelProto()
    filled.CopyFrom(model)
    for name in [name for name in inputs if name not in CALLERS]:
        filled.graph.initializer.append(onnx.numpy_helper.from_array(inputs[name], name))
    rnn = Recurrent.from_onnx(filled, backend=backend)
    states = tuple(
        inputs[name].swapaxes(0, 1) if rnn.batch_first else inputs[name]
        for name in ("initial_h", "initial_c")
        if name in inputs
    )
    output, state = rnn(inputs["X"], unwrap_state(states) if states else None, inputs.get("sequence_lens"))
    y = output.reshape(*output.shape[:2], -1, rnn.hidden_size)
    finals = [s.swapaxes(0, 1) if rnn.batch_first else s for s in as_tuple(state)]
    return {"Y": y if rnn.batch_first else y.swapaxes(1, 2), **dict(zip(("Y_h", "Y_c"), finals, strict=False))}
