"""ONNX models of one node, and what ONNX Runtime computes with a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Array, require_peer

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
T, B, WIDTH, H = 6, 3, 2, 4


def run(model: Any, feeds: dict[str, Array], request: pytest.FixtureRequest) -> list[Array]:
    runtime = require_peer(request, "onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, feeds)
    return outputs


def some(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def weights(operator: str, directions: int = 1, width: int = WIDTH, hidden: int = H) -> dict[str, Array]:
    rows = GATES[operator] * hidden
    shapes = {"W": (rows, width), "R": (rows, hidden), "B": (2 * rows,)}
    return {name: some(directions, *shape, seed=len(name + operator)) for name, shape in shapes.items()}


def node_model(
    operator: str,
    constants: dict[str, Array],
    *,
    given: tuple[str, ...] = (),
    name: str = "",
    as_nodes: bool = False,
    **attributes: Any,
) -> Any:
    """A model of one node, whose inputs are X, the constants, and what is given in a call."""
    from onnx import TensorProto, helper, numpy_helper

    order = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
    reads = [each if each in ("X", *constants, *given) else "" for each in order[: 8 if operator == "LSTM" else 6]]
    outputs = ["Y", "Y_h", *(["Y_c"] if operator == "LSTM" else [])]
    node = helper.make_node(operator, reads, outputs, name=name, hidden_size=H, **attributes)
    kinds = {each: TensorProto.INT32 if each == "sequence_lens" else TensorProto.FLOAT for each in order}
    tensors = [numpy_helper.from_array(values, each) for each, values in constants.items()]
    nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in tensors] if as_nodes else []
    graph = helper.make_graph(
        [*nodes, node],
        "graph",
        [helper.make_tensor_value_info(each, kinds[each], None) for each in ("X", *given)],
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in outputs],
        [] if as_nodes else tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=7)
