"""A workload as ONNX Runtime and OpenVINO compute it, both from one ONNX model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rnncore_kernels.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.cells.cell import names
from rnncore_kernels.contract import Array, LayerWeights
from rnncore_kernels.cores import usable_cores

from ..cells_by_name import parse_cell
from .peers import NotOfferedError
from .workload import Task, Workload

ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid"}


def operator_of(cell: Cell) -> tuple[str, list[int], dict[str, Any]]:
    """The operator of a cell, its order of our gates, its attributes, without activations."""
    if cell == LSTM():
        return "LSTM", [0, 3, 1, 2], {}
    if isinstance(cell, GRU):
        return "GRU", [1, 0, 2], {"linear_before_reset": int(cell.reset == "after")}
    if isinstance(cell, Elman) and cell.activation in ACTIVATIONS:
        return "RNN", [0], {}
    raise NotOfferedError(f"has no operator for {cell!r}, or is not measured for it")


def make_task(peer: str, workload: Workload, lasting: contextlib.ExitStack) -> Task:
    """See `peers.make_task`."""
    if workload.mode != "inference":
        raise NotOfferedError("measured for inference of whole sequences alone")
    if workload.dtype != "float32":
        raise NotOfferedError(f"its recurrent operators are float32, not {workload.dtype}")
    operator_of(parse_cell(workload.cell))
    feeds: dict[str, Array] = {"x": workload.inputs()[0]}
    lengths = workload.lengths()
    if lengths is not None:
        feeds["lengths"] = lengths.astype(np.int32)
    start = _onnxruntime if peer == "onnxruntime" else _openvino
    return start(model_of(workload), feeds, workload.threads or usable_cores())


def _onnxruntime(model: bytes, feeds: dict[str, Array], num_threads: int) -> Task:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: _in_our_order(session.run(None, feeds))


def _openvino(model: bytes, feeds: dict[str, Array], num_threads: int) -> Task:
    import openvino  # pyright: ignore[reportMissingImports]

    core = openvino.Core()
    options = {
        "INFERENCE_NUM_THREADS": num_threads,
        "PERFORMANCE_HINT": "LATENCY",
        # Where the processor has bfloat16, that would be the default.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(core.read_model(model), "CPU", options).create_infer_request()
    return lambda: _in_our_order(request.infer(feeds, share_inputs=True, share_outputs=True).values())


def _in_our_order(results: Iterable[Array]) -> list[Array]:
    """ONNX's output (T, D, B, H) seen as (T, B, D, H), without a copy; and the states."""
    output, *states = results
    return [output.transpose(0, 2, 1, 3), *states]


def model_of(workload: Workload) -> bytes:
    """An ONNX model from x (T, B, I), and lengths (B,) if ragged, to the output (T, D, B, H) and the final states."""
    import onnx

    helper, float32, int32 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT32
    rnn = workload.network("numpy")
    operator, order, attributes = operator_of(rnn.cell)
    directions = 2 if workload.bidirectional else 1
    layers, states = rnn.parameters.layers(), names(rnn.cell.states)
    if isinstance(rnn.cell, Elman):
        attributes = {"activations": [ACTIVATIONS[rnn.cell.activation]] * directions}
    if isinstance(rnn.cell, GRU) and rnn.cell.update == "candidate":
        # ONNX's update gate is the other way round: 1 - sigmoid(a) is sigmoid(-a).
        for values in rnn.parameters.values():
            values[rnn.hidden_size : 2 * rnn.hidden_size] *= -1
    constants: dict[str, Array] = {}
    nodes = []
    for layer in range(workload.num_layers):
        if layer > 0:
            # (T, D, B, H) to (T, B, D*H).
            constants["side by side"] = np.array([0, 0, -1], np.int64)
            above = [f"Y{layer - 1}"], [f"transposed{layer}"]
            nodes.append(helper.make_node("Transpose", *above, perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"transposed{layer}", "side by side"], [f"x{layer}"]))
        weights = layers[layer * directions : (layer + 1) * directions]
        constants |= {f"{name}{layer}": values for name, values in _constants(weights, order).items()}
        read = [f"x{layer}" if layer > 0 else "x", f"W{layer}", f"R{layer}", f"B{layer}"]
        nodes.append(
            helper.make_node(
                operator,
                [*read, *(["lengths"] if workload.ragged else [])],
                [f"Y{layer}", *(f"{state}{layer}" for state in states)],
                hidden_size=workload.hidden_size,
                direction="bidirectional" if workload.bidirectional else "forward",
                **attributes,
            )
        )
    for state in states:
        of_layers = [f"{state}{layer}" for layer in range(workload.num_layers)]
        nodes.append(helper.make_node("Concat", of_layers, [state], axis=0))
    inputs = [helper.make_tensor_value_info("x", float32, [workload.steps, workload.batch, workload.input_size])]
    if workload.ragged:
        inputs.append(helper.make_tensor_value_info("lengths", int32, [workload.batch]))
    results = [f"Y{workload.num_layers - 1}", *states]
    outputs = [helper.make_tensor_value_info(name, float32, None) for name in results]
    initializers = [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "workload", inputs, outputs, initializers)
    opset = [helper.make_opsetid("", 17)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return model


def _constants(weights: Sequence[LayerWeights], order: list[int]) -> dict[str, Array]:
    """Weights of one layer, both directions, as the operator wants them."""

    def reorder(values: Array | None) -> Array:
        assert values is not None, "these cells have all weights"
        return values.reshape(len(order), -1, *values.shape[1:])[order].reshape(values.shape)

    return {
        "W": np.stack([reorder(w.weight_ih) for w in weights]),
        "R": np.stack([reorder(w.weight_hh) for w in weights]),
        "B": np.stack([np.concatenate([reorder(b) for b in (w.bias_ih, w.bias_hh) if b is not None]) for w in weights]),
    }
