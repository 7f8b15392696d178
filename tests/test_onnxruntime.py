"""ONNX Runtime as an outside reference: its RNN, LSTM and GRU operators, both directions, ragged, GRU's both resets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Close, require_peer
from networks import CELLS, Call, make_call
from numpy.typing import NDArray

from rnncore.states import as_tuple, unwrap_state

Array = NDArray[Any]

NAMES = ("elman_tanh", "elman_relu", "elman_sigmoid", "elman_identity", "lstm", "gru_carry_after", "gru_carry_before")
"""Cells that ONNX has; its GRU is the "carry" one."""


def by_onnxruntime(call: Call, request: pytest.FixtureRequest) -> list[Array]:
    """Output and final states of a network."""
    require_peer(request, "onnx")
    onnxruntime = require_peer(request, "onnxruntime")
    feeds = {"x": call.x, "lengths": np.array(call.lengths, np.int32)}
    feeds |= {f"{name}_0": values for name, values in zip(call.rnn.cell.states, call.state, strict=True)}
    model = call.rnn.to_onnx(state=True, lengths=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    results: list[Array] = session.run(None, feeds)
    return results


@pytest.mark.parametrize("lengths", [None, [3, 6, 1, 4, 6]])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", NAMES)
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
    expected, *expected_states = by_onnxruntime(call, request)
    output, state = call.rnn(call.x, unwrap_state(call.state), lengths)
    close(output, expected, "output")
    for value, value_expected in zip(as_tuple(state), expected_states, strict=True):
        close(value, value_expected, "state")


def test_every_cell_that_onnx_has_is_here() -> None:
    assert {*NAMES} == {name for name in CELLS if "candidate" not in name} - {"minimal_gated_unit"}
