"""Networks from nodes of ONNX models, and models of networks, against ONNX Runtime."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Array, Close, require_peer

from rnncore import GRU, LSTM, Elman, Recurrent
from rnncore.cells import MGU
from rnncore.interchange.cells import ActivatedElman, ActivatedGRU, ActivatedLSTM
from rnncore.states import as_tuple, unwrap_state

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
T, B, WIDTH, H = 6, 3, 2, 4


@pytest.fixture(scope="module")
def onnx(request: pytest.FixtureRequest) -> Any:
    return require_peer(request, "onnx")


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


IMPORTED: dict[str, tuple[str, dict[str, Any], Any]] = {
    "elman": ("RNN", {}, Elman()),
    "elman identity": ("RNN", {"activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]}, None),
    "elman clipped": ("RNN", {"clip": 0.5, "activations": ["Softsign"]}, None),
    "gru": ("GRU", {}, GRU("carry", "before")),
    "gru after": ("GRU", {"linear_before_reset": 1}, GRU("carry", "after")),
    "gru of others": ("GRU", {"activations": ["HardSigmoid", "Elu"], "activation_alpha": [0.3], "clip": 0.7}, None),
    "lstm": ("LSTM", {}, LSTM()),
    "lstm coupled": ("LSTM", {"input_forget": 1, "P": some(1, 3 * H)}, LSTM(coupled=True, peephole=True)),
    "lstm clipped": ("LSTM", {"clip": 0.3, "P": some(1, 3 * H)}, ActivatedLSTM(clip=0.3, peephole=True)),
    "lstm of others": (
        "LSTM",
        {
            "activations": ["HardSigmoid", "LeakyRelu", "ScaledTanh"],
            "activation_alpha": [0.3, 0.1, 0.9],
            "activation_beta": [0.4, 0.8],
        },
        ActivatedLSTM(gate="hard_sigmoid(0.3, 0.4)", candidate="leaky_relu(0.1)", output="scaled_tanh(0.9, 0.8)"),
    ),
}


@pytest.mark.parametrize("name", IMPORTED)
def test_a_node_computes_as_onnx_runtime_does(
    name: str, onnx: Any, request: pytest.FixtureRequest, close: Close
) -> None:
    operator, attributes, cell = IMPORTED[name]
    attributes, constants = dict(attributes), weights(operator)
    constants |= {"P": attributes.pop("P")} if "P" in attributes else {}
    states = ("initial_h", "initial_c")[: 2 if operator == "LSTM" else 1]
    given = ("sequence_lens", *states)
    model = node_model(operator, constants, given=given, **attributes)
    rnn = Recurrent.from_onnx(model, backend="numpy")
    assert cell is None or repr(rnn.cell) == repr(_rounded(cell))
    x, state, lengths = some(T, B, WIDTH), tuple(some(1, B, H, seed=i) for i in range(len(states))), [6, 2, 3]
    feeds = {"X": x, "sequence_lens": np.array(lengths, np.int32), **dict(zip(states, state, strict=True))}
    y, *finals = run(model, feeds, request)
    output, final = rnn(x, unwrap_state(state), lengths)
    for actual, expected in zip((output, *as_tuple(final)), (y[:, 0], *finals), strict=True):
        close(actual, expected, "output")


def _rounded(cell: Any) -> Any:
    """The cell with the numbers that attributes, which are float32, make of its own."""
    numbers = re.compile(r"\d+\.\d+")
    options = {
        name: numbers.sub(lambda m: repr(float(np.float32(m[0]))), value) if isinstance(value, str) else value
        for name, value in cell.options.items()
    }
    if isinstance(options.get("clip"), float):
        options["clip"] = float(np.float32(options["clip"]))
    return type(cell)(**options)


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_directions_and_constants_that_are_nodes(
    direction: str, onnx: Any, request: pytest.FixtureRequest, close: Close
) -> None:
    constants = weights("LSTM", 2 if direction == "bidirectional" else 1)
    del constants["B"]
    model = node_model("LSTM", constants, direction=direction, as_nodes=True)
    rnn = Recurrent.from_onnx(model, backend="numpy", num_threads=1)
    assert (rnn.bidirectional, rnn.bias, rnn.batch_first) == (direction == "bidirectional", False, False)
    y, *finals = run(model, {"X": some(T, B, WIDTH)}, request)
    output, state = rnn(some(T, B, WIDTH))
    for actual, expected in zip((output, *state), (y.swapaxes(1, 2).reshape(T, B, -1), *finals), strict=True):
        close(actual, expected, "output")


def test_nodes_by_name_and_index_in_files_and_branches(onnx: Any, tmp_path: Path) -> None:
    """Constants of the graph around a branch, a name for a node that has none, layers, and data beside the model."""
    from onnx import TensorProto, helper, numpy_helper

    def named(which: str, number: int, width: int) -> tuple[Any, list[Any]]:
        constants = {f"{name}{number}": v for name, v in weights(which, width=width).items()}
        node = helper.make_node(which, [f"x{number}", *constants], [f"x{number + 1}"], hidden_size=H)
        return node, [numpy_helper.from_array(values, name) for name, values in constants.items()]

    (first, of_first), (second, of_second), (third, of_third) = (
        named("GRU", 0, WIDTH),
        named("GRU", 1, H),
        named("LSTM", 2, H),
    )
    second.name, out = "second", helper.make_tensor_value_info
    branch = helper.make_graph([third], "branch", [], [out("x3", TensorProto.FLOAT, None)])
    choice = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph(
        [first, second, choice],
        "graph",
        [out("x0", TensorProto.FLOAT, None), out("yes", TensorProto.BOOL, [])],
        [out("y", TensorProto.FLOAT, None)],
        [*of_first, *of_second, *of_third],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph), path, save_as_external_data=True, location="weights", size_threshold=0)
    assert (tmp_path / "weights").exists()
    there_are = "there are 0: GRU 'x1', hidden_size=4; 1: GRU 'second', hidden_size=4; 2: LSTM 'x3', hidden_size=4"
    for wanted in (None, "third", 7, True):
        with pytest.raises(ValueError, match=re.escape(there_are)):
            Recurrent.from_onnx(path, wanted)
    by_name, by_index = Recurrent.from_onnx(path, "second"), Recurrent.from_onnx(str(path), 1)
    for name, values in by_name.parameters.items():
        np.testing.assert_array_equal(values, by_index.parameters[name])
    assert Recurrent.from_onnx(path, 2).cell == Recurrent.from_onnx(path, 3).cell == LSTM()
    both, x = Recurrent.from_onnx(path, ["x1", 1], backend="numpy"), some(T, B, WIDTH)
    below = Recurrent.from_onnx(path, 0, backend="numpy")(x)[0]
    np.testing.assert_array_equal(both(x)[0], Recurrent.from_onnx(path, 1, backend="numpy")(below)[0])
    with pytest.raises(ValueError, match=re.escape("node 2, LSTM 'x3': expected the cell GRU(update='carry', reset=")):
        Recurrent.from_onnx(path, [1, 2])
    with pytest.raises(ValueError, match="expected an input as wide as the output of the layer below, 4, as of node 1"):
        Recurrent.from_onnx(path, [1, 0])


def _bidirectional(**attributes: Any) -> Any:
    return node_model("RNN", weights("RNN", 2), direction="bidirectional", **attributes)


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no path": (lambda: 3, TypeError, "model: expected a path or an onnx.ModelProto, got int 3"),
    "no file": (lambda: "nowhere.onnx", FileNotFoundError, "nowhere.onnx: expected an ONNX model, found no file"),
    "another file": (lambda: __file__, ValueError, "test_onnx_models.py: expected an ONNX model, got: "),
    "no node": (
        lambda: _without_nodes(),
        ValueError,
        "node: expected the name or index of an RNN, GRU or LSTM node: the",
    ),
    "weights that are given": (
        lambda: node_model("GRU", {"W": weights("GRU")["W"]}, given=("R",), name="it"),
        ValueError,
        "node 0, GRU 'it': R: expected weights that are an initializer or a Constant, got the graph's input 'R': fold",
    ),
    "weights of another shape": (
        lambda: node_model("GRU", weights("GRU", hidden=5), name="it"),
        ValueError,
        "node 0, GRU 'it': W: expected (1, 12, any), got (1, 15, 2)",
    ),
    "weights that are whole numbers": (
        lambda: node_model("RNN", {n: w.astype(np.int32) for n, w in weights("RNN").items()}),
        TypeError,
        "node 0, RNN 'Y': R: expected floating-point numbers, got int32",
    ),
    "an unknown activation": (
        lambda: node_model("RNN", weights("RNN"), activations=["Gelu"]),
        ValueError,
        "node 0, RNN 'Y': activations: expected some of Tanh, Sigmoid, Relu, Affine, LeakyRelu, ThresholdedRelu",
    ),
    "an activation whose default differs": (
        lambda: node_model("RNN", weights("RNN"), activations=["ScaledTanh"], activation_alpha=[0.5]),
        ValueError,
        "node 0, RNN 'Y': activations: expected ScaledTanh with activation_alpha and activation_beta",
    ),
    "too few activations": (
        lambda: node_model("GRU", weights("GRU"), activations=["Tanh"]),
        ValueError,
        "node 0, GRU 'Y': activations: expected 2 of them, got Tanh",
    ),
    "activations of two kinds": (
        lambda: _bidirectional(activations=["Tanh", "Relu"]),
        ValueError,
        "node 0, RNN 'Y': activations: expected the same for both directions, got tanh, relu: each could be",
    ),
    "an unknown direction": (
        lambda: node_model("RNN", weights("RNN"), direction="sideways"),
        ValueError,
        "node 0, RNN 'Y': direction: expected forward, reverse or bidirectional, got 'sideways'",
    ),
    "an attribute of another operator": (
        lambda: node_model("RNN", weights("RNN"), output_sequence=1),
        ValueError,
        "node 0, RNN 'Y': expected attributes among activation_alpha, activation_beta, activations, clip, direction, ",
    ),
}


def _without_nodes() -> Any:
    import onnx

    return onnx.helper.make_model(onnx.helper.make_graph([], "graph", [], []))


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what: str, onnx: Any) -> None:
    make, error, message = REFUSED[what]
    with pytest.raises(error, match=re.escape(message)):
        Recurrent.from_onnx(make(), backend="numpy")


def test_float64_half_precision_and_layout(onnx: Any) -> None:
    for dtype, expected in ((np.float64, "float64"), (np.float16, "float32")):
        model = node_model("RNN", {name: values.astype(dtype) for name, values in weights("RNN").items()}, layout=1)
        rnn = Recurrent.from_onnx(model, backend="numpy")
        assert (rnn.dtype.name, rnn.batch_first) == (expected, True)
        assert not Recurrent.from_onnx(model, batch_first=False, backend="numpy").batch_first


def test_constants_of_a_call(onnx: Any, request: pytest.FixtureRequest, close: Close, tmp_path: Path) -> None:
    """Initial states are kept, those of one row for any batch; lengths are said."""
    for rows in (B, 1):
        states = {"initial_h": np.repeat(some(1, rows, H), B // rows, 1), "initial_c": np.ones((1, B, H), np.float32)}
        model = node_model("LSTM", {**weights("LSTM"), **states})
        rnn = Recurrent.from_onnx(model, backend="numpy")
        y, *finals = run(model, {"X": some(T, B, WIDTH)}, request)
        rnn.save(tmp_path / "rnn")
        for other in (
            rnn,
            rnn.freeze(),
            pickle.loads(pickle.dumps(rnn)),
            Recurrent.load(tmp_path / "rnn", backend="numpy"),
        ):
            output, final = other(some(T, B, WIDTH))
            for actual, expected in zip((output, *final), (y[:, 0], *finals), strict=True):
                close(actual, expected, "output")
        close(rnn.forward(some(T, B, WIDTH))[0], y[:, 0], "output")
        assert rnn.initial_state[0].shape == (1, rows, H)
        zeros = np.zeros((1, B, H), np.float32)
        assert not np.array_equal(rnn(some(T, B, WIDTH), (zeros, zeros))[0], output)
        for refused in (rnn.to_torch, rnn.to_onnx):
            with pytest.raises(ValueError, match="with an initial_state"):
                refused()
        if rows > 1:
            with pytest.raises(
                ValueError, match="state: expected one for B=2, got None: the network's own initial state"
            ):
                rnn(some(T, 2, WIDTH))
        else:
            close(rnn(some(T, 2, WIDTH)[:, 0])[0], rnn(some(T, 2, WIDTH))[0][:, 0], "output")
            close(rnn.step(some(B, WIDTH))[0], rnn(some(1, B, WIDTH))[0][0], "output")
    nothing = {"initial_h": np.zeros((1, 7, H), np.float32), "sequence_lens": np.array([3, 6], np.int32)}
    with pytest.warns(
        UserWarning, match=re.escape("node 0, GRU 'Y': its sequence_lens are the constant [3, 6]: pass len")
    ):
        rnn = Recurrent.from_onnx(node_model("GRU", {**weights("GRU"), **nothing}), backend="numpy")
    assert rnn.initial_state is None
    wrong = {"initial_h": np.ones((1, H), np.float32)}
    with pytest.raises(ValueError, match=re.escape("node 0, GRU 'Y': initial_h: expected (1, B, 4), got (1, 4)")):
        Recurrent.from_onnx(node_model("GRU", {**weights("GRU"), **wrong}), backend="numpy")


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
