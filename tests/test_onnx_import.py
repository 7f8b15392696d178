"""Networks from nodes of ONNX models, against ONNX Runtime."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Close, require_peer
from onnx_models import WIDTH, B, H, T, node_model, run, some, weights

from rnncore import GRU, LSTM, Elman, Recurrent
from rnncore.interchange.cells import ActivatedLSTM
from rnncore.states import as_tuple, unwrap_state


@pytest.fixture(scope="module")
def onnx(request: pytest.FixtureRequest) -> Any:
    return require_peer(request, "onnx")


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
    "another file": (lambda: __file__, ValueError, "test_onnx_import.py: expected an ONNX model, got: "),
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
