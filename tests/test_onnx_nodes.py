"""The ONNX project's own tests of its RNN, GRU and LSTM operators, which come with its package."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from conftest import Close, require_peer
from numpy.typing import NDArray

from rnncore import Recurrent
from rnncore.cells import GRU, LSTM, Elman

Array = NDArray[Any]

GATES = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 2, 3, 1]}
"""Places of our gates among the operator's."""

PEEPHOLES = {"peephole_i": 0, "peephole_o": 1, "peephole_f": 2}

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
        attributes = {a.name: a.s.decode() if a.s else a.i for a in node.attribute}
        outputs = computed(node.op_type, attributes, inputs, backend)
        for output, value in zip([n for n in node.output if n], expected, strict=True):
            close(outputs[output], value, "output")


def computed(operator: str, attributes: dict[str, Any], inputs: dict[str, Array], backend: str) -> dict[str, Array]:
    """The operator's outputs Y (T, D, B, H), Y_h and Y_c (D, B, H), batch first where its layout is 1."""
    direction, batch_first = attributes.get("direction", "forward"), attributes.get("layout", 0) == 1
    x = inputs["X"].swapaxes(0, 1) if batch_first else inputs["X"]
    backwards = direction == "reverse"
    if backwards:
        # Where all rows have T steps, the reverse direction alone is the forward one of the sequence turned round.
        assert "sequence_lens" not in inputs
        x = x[::-1].copy()
    hidden, peepholes = attributes["hidden_size"], inputs.get("P")
    cell = {"RNN": Elman(), "GRU": GRU("carry", "before"), "LSTM": LSTM(peephole=peepholes is not None)}[operator]
    rnn = Recurrent(
        cell, x.shape[-1], hidden, bidirectional=direction == "bidirectional", bias="B" in inputs, backend=backend
    )
    for d, suffix in enumerate(("l0", "l0_reverse")[: len(inputs["W"])]):
        arrays = {"weight_ih": inputs["W"][d], "weight_hh": inputs["R"][d]}
        if "B" in inputs:
            arrays["bias_ih"], arrays["bias_hh"] = np.split(inputs["B"][d], 2)
        for kind, array in arrays.items():
            gates = array.reshape(len(GATES[operator]), hidden, -1)[GATES[operator]]
            rnn.parameters[f"{kind}_{suffix}"] = gates.reshape(array.shape)
        for kind, place in PEEPHOLES.items():
            if peepholes is None:
                continue
            rnn.parameters[f"{kind}_{suffix}"] = peepholes[d, place * hidden :][:hidden].copy()
    states = [inputs[name] for name in ("initial_h", "initial_c") if name in inputs]
    lengths = inputs.get("sequence_lens")
    output, state = rnn(x, tuple(states) if len(states) > 1 else None, None if lengths is None else lengths)
    if backwards:
        output = output[::-1]
    y = output.reshape(*output.shape[:2], -1, hidden).swapaxes(1, 2)
    h, c = state if operator == "LSTM" else (state, state)
    if batch_first:
        y, h, c = y.transpose(2, 0, 1, 3), h.swapaxes(0, 1), c.swapaxes(0, 1)
    return {"Y": y, "Y_h": h, "Y_c": c}
