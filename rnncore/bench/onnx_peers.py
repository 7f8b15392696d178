"""A workload as ONNX Runtime and OpenVINO compute it, both from one ONNX model."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rnncore_kernels.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.contract import Array
from rnncore_kernels.cores import usable_cores

from ..cells_by_name import parse_cell
from .peers import NotOfferedError
from .workload import Task, Workload


def offers(cell: Cell) -> bool:
    """Whether the libraries have an operator for a cell, and are measured for it."""
    return cell == LSTM() or isinstance(cell, GRU) or (isinstance(cell, Elman) and cell.activation in ("tanh", "relu"))


def make_task(peer: str, workload: Workload, lasting: contextlib.ExitStack) -> Task:
    """See `peers.make_task`."""
    if workload.mode != "inference":
        raise NotOfferedError("measured for inference of whole sequences alone")
    if workload.dtype != "float32":
        raise NotOfferedError(f"its recurrent operators are float32, not {workload.dtype}")
    if not offers(cell := parse_cell(workload.cell)):
        raise NotOfferedError(f"has no operator for {cell!r}, or is not measured for it")
    feeds: dict[str, Array] = {"x": workload.inputs()[0]}
    lengths = workload.lengths()
    if lengths is not None:
        feeds["lengths"] = lengths.astype(np.int32)
    model = model_of(workload)
    if workload.precision is not None:
        if cell != LSTM():
            raise NotOfferedError(f"quantizes LSTMs alone, not {cell!r}")
        model = _quantized(model)
    start = _openvino if peer == "openvino" else _onnxruntime
    return start(model, feeds, workload.threads or usable_cores())


def _quantized(model: bytes) -> bytes:
    """The model with weights in int8, a scale for each unit of a gate, which rounds inputs and states to 8 bits, too.

    Weights have 7 bits, as ONNX Runtime advises: it adds pairs of products up in 16, which 8 would overflow where the
    processor has no instructions for int8. See https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    import onnx
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    whole = onnx.load_from_string(model)
    # It says that the graph should be optimized first, where there is nothing to optimize, unless that has been done.
    add_pre_process_metadata(whole)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "int8.onnx")
        quantize_dynamic(whole, path, per_channel=True, reduce_range=True)
        return path.read_bytes()


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
    """An ONNX model from x (T, B, I), and lengths (B,) if ragged, to the output (T, D, B, H) and the final states.

    It is that of `Recurrent.to_onnx`, without the nodes that put the directions side by side in the end, for which the
    peers would have to pay, and of fixed sizes.
    """
    import onnx

    model = workload.network("numpy").to_onnx(lengths=workload.ragged)
    graph, last = model.graph, f"Y_l{workload.num_layers - 1}"
    (output,) = (value for value in graph.output if value.name == "output")
    kept = [node for node in graph.node if "output" not in node.output and node.input[0] != last]
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    for unused in [one for one in graph.initializer if one.name not in used]:
        graph.initializer.remove(unused)
    output.CopyFrom(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    sizes = {"T": workload.steps, "B": workload.batch}
    for value in (*graph.input, *graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_value = sizes[axis.dim_param]
    serialized: bytes = model.SerializeToString()
    return serialized
