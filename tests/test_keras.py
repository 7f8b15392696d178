"""Networks from layers of Keras: the layers themselves, files in their layouts, and Keras where it is installed."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Array, Close, require_peer

from rnncore import GRU, LSTM, Elman, Recurrent
from rnncore.interchange.cells import ActivatedGRU, ActivatedLSTM

T, B, WIDTH, H = 5, 2, 3, 4
GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}

FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "relu": lambda a: np.maximum(a, 0),
    "linear": lambda a: a,
    "elu": lambda a: np.where(a > 0, a, np.expm1(a)),
    "hard_sigmoid": lambda a: np.clip(a / 6 + 0.5, 0, 1),
    "hard_sigmoid before Keras 3": lambda a: np.clip(0.2 * a + 0.5, 0, 1),
}


class Layer:
    """What is read of a layer of Keras."""

    def __init__(self, config: dict[str, Any], weights: list[Array]) -> None:
        self.name, self._config, self._weights = config["name"], config, weights

    def get_config(self) -> dict[str, Any]:
        return self._config

    def get_weights(self) -> list[Array]:
        return self._weights


def layer(kind: str, config: dict[str, Any], weights: list[Array]) -> Any:
    return type(kind, (Layer,), {})(config, weights)


def some(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X = some(B, T, WIDTH, seed=9)


def weights_of(kind: str, seed: int = 0, width: int = WIDTH, **config: Any) -> list[Array]:
    columns = GATES[kind] * H
    kernels = [some(width, columns, seed=seed), some(H, columns, seed=seed + 1)]
    shape = (2, columns) if kind == "GRU" and config.get("reset_after", True) else (columns,)
    return [*kernels, some(*shape, seed=seed + 2)] if config.get("use_bias", True) else kernels


def expected(kind: str, x: Array, weights: list[Array], **config: Any) -> Array:
    """The layer's equations, in float64: its output, in the order of x."""
    kernel, recurrent, *biases = (values.astype(np.float64) for values in weights)
    bias = biases[0] if biases else np.zeros((2, len(kernel[0])))
    of_x, of_h = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    act = FUNCTIONS[config.get("activation", "tanh")]
    gate = FUNCTIONS[config.get("recurrent_activation", "sigmoid")]
    h = c = np.zeros((len(x), H))
    outputs = np.zeros((*x.shape[:2], H))
    steps = range(x.shape[1])
    for t in reversed(steps) if config.get("go_backwards", False) else steps:
        given = np.split(x[:, t] @ kernel + of_x, GATES[kind], axis=1)
        if kind == "SimpleRNN":
            h = act(given[0] + h @ recurrent)
        elif kind == "LSTM":
            i, f, g, o = (a + b for a, b in zip(given, np.split(h @ recurrent, 4, axis=1), strict=True))
            c = gate(f) * c + gate(i) * act(g)
            h = gate(o) * act(c)
        else:
            of_z, of_r, of_n = np.split(h @ recurrent + of_h, 3, axis=1)
            z, r = gate(given[0] + of_z), gate(given[1] + of_r)
            after = config.get("reset_after", True)
            n = act(given[2] + (r * of_n if after else (r * h) @ recurrent[:, 2 * H :]))
            h = z * h + (1 - z) * n
        outputs[:, t] = h
    return outputs


LAYERS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "elman": ("SimpleRNN", {"activation": "relu", "use_bias": False}, Elman("relu")),
    "elman of others": ("SimpleRNN", {"activation": "elu"}, None),
    "elman backwards": ("SimpleRNN", {"activation": "linear", "go_backwards": True}, Elman("identity")),
    "lstm": ("LSTM", {}, LSTM()),
    "lstm of others": (
        "LSTM",
        {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
        ActivatedLSTM(gate="hard_sigmoid(0.16666666666666666, 0.5)", candidate="relu", output="relu"),
    ),
    "gru": ("GRU", {"reset_after": True}, GRU("carry", "after")),
    "gru without biases": ("GRU", {"reset_after": False, "use_bias": False}, GRU("carry", "before")),
    "gru before": ("GRU", {"reset_after": False, "go_backwards": True}, GRU("carry", "before")),
    "gru of others": (
        "GRU",
        {"recurrent_activation": "hard_sigmoid", "activation": None},
        ActivatedGRU(gate="hard_sigmoid(0.16666666666666666, 0.5)", candidate="identity"),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_computes_as_keras_does(name: str, close: Close) -> None:
    kind, config, cell = LAYERS[name]
    weights = weights_of(kind, **config)
    rnn = Recurrent.from_keras(layer(kind, {"name": "it", **config}, weights), backend="numpy", num_threads=1)
    assert cell is None or rnn.cell == cell
    assert (rnn.batch_first, rnn.bias, rnn.num_threads) == (True, config.get("use_bias", True), 1)
    known = {name: "linear" if value is None else value for name, value in config.items()}
    close(rnn(X)[0], expected(kind, X, weights, **known), "output")


def bidirectional(kind: str, weights: list[Array], **config: Any) -> Any:
    options: dict[str, Any] = {"name": "it", "merge_mode": config.pop("merge_mode", "concat")}
    options["backward_layer"] = config.pop(
        "backward_layer", {"class_name": kind, "config": {**config, "go_backwards": True}}
    )
    return layer("Bidirectional", {**options, "layer": {"class_name": kind, "config": config}}, weights)


@pytest.mark.parametrize("reset_after", [True, False])
def test_both_directions_and_several_layers(reset_after: bool, close: Close) -> None:
    config: dict[str, Any] = {"reset_after": reset_after, "activation": "relu"}
    forward, back = weights_of("GRU", 0, **config), weights_of("GRU", 10, **config)
    one = bidirectional("GRU", [*forward, *back], **config)
    output = expected("GRU", X, forward, **config), expected("GRU", X, back, go_backwards=True, **config)
    below = np.concatenate(output, axis=2)
    close(Recurrent.from_keras(one, backend="numpy")(X)[0], below, "output")
    above, above_back = (weights_of("GRU", seed, width=2 * H, **config) for seed in (20, 30))
    two = bidirectional("GRU", [*above, *above_back], **config)
    rnn = Recurrent.from_keras([one, two], backend="numpy", batch_first=False)
    assert (rnn.num_layers, rnn.bidirectional) == (2, True)
    output = expected("GRU", below, above, **config), expected("GRU", below, above_back, go_backwards=True, **config)
    close(rnn(X.swapaxes(0, 1))[0].swapaxes(0, 1), np.concatenate(output, axis=2), "output")
    with pytest.raises(ValueError, match="expected an input as wide as the output of the layer below, 8, as of layer"):
        Recurrent.from_keras([two, one])


def parts_of(kind: str, weights: list[Array]) -> dict[str, list[Array]]:
    if kind != "Bidirectional":
        return {"cell": weights}
    half = len(weights) // 2
    return {"forward_layer/cell": weights[:half], "backward_layer/cell": weights[half:]}


def write_groups(file: Any, layers: list[Any], *, named: bool = True) -> None:
    """The layout of Keras 3: layers by their class, with the layer's name as an attribute but in its first versions."""
    for number, each in enumerate(layers):
        group = f"layers/{'gru' if number == 0 else 'bidirectional'}"
        if named:
            file.create_group(f"{group}/vars").attrs["name"] = each.name
        for part, weights in parts_of(type(each).__name__, each.get_weights()).items():
            for index, values in enumerate(weights):
                file[f"{group}/{part}/vars/{index}"] = values
    file["layers/dense/vars/0"] = some(2, 2)


def write_names(group: Any, layers: list[Any]) -> None:
    """The layout of Keras 2: layers by their name, paths of weights as attributes."""
    group.attrs["layer_names"] = [each.name.encode() for each in layers] + [b"dense"]
    group.create_group("dense").attrs["weight_names"] = [b"dense/kernel:0"]
    group["dense/dense/kernel:0"] = some(2, 2)
    for each in layers:
        parts = parts_of(type(each).__name__, each.get_weights()).items()
        paths = [f"{each.name}/{part}/{index}:0" for part, values in parts for index, _ in enumerate(values)]
        group.create_group(each.name).attrs["weight_names"] = [path.encode() for path in paths]
        for path, values in zip(paths, each.get_weights(), strict=True):
            group[each.name][path] = values


def model_config(layers: list[Any]) -> dict[str, Any]:
    options = [{"class_name": type(each).__name__, "config": each.get_config()} for each in layers]
    dense = {"class_name": "Dense", "config": {"name": "dense"}}
    return {"class_name": "Sequential", "config": {"name": "model", "layers": [*options, dense]}}


def write(path: Path, layout: str, layers: list[Any], h5py: Any) -> None:
    if layout.startswith(".keras"):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            write_groups(file, layers, named="before" not in layout)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(model_config(layers)))
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.1.0"}))
            archive.writestr("model.weights.h5", buffer.getvalue())
        return
    with h5py.File(path, "w") as file:
        if layout == "weights of Keras 3":
            write_groups(file, layers)
        elif layout == "weights of Keras 2":
            write_names(file, layers)
        else:
            write_names(file.create_group("model_weights"), layers)
            file.attrs["keras_version"] = "2.4.0"
            file.attrs["model_config"] = json.dumps(model_config(layers))


@pytest.mark.parametrize(
    "layout", [".keras", ".keras before names", "model of Keras 2", "weights of Keras 3", "weights of Keras 2"]
)
def test_files(layout: str, tmp_path: Path, request: pytest.FixtureRequest, close: Close) -> None:
    h5py = require_peer(request, "h5py")
    config: dict[str, Any] = {"recurrent_activation": "hard_sigmoid"}
    weights, both = weights_of("GRU", **config), [*weights_of("LSTM", 10), *weights_of("LSTM", 20)]
    layers = [layer("GRU", {"name": "one", **config}, weights), bidirectional("LSTM", both)]
    path = tmp_path / "file"
    write(path, layout, layers, h5py)
    options: dict[str, Any] = {"config": config} if layout.startswith("weights") else {}
    hard = "hard_sigmoid before Keras 3" if "Keras 2" in layout else "hard_sigmoid"
    one = Recurrent.from_keras(path, "one", backend="numpy", **options)
    close(one(X)[0], expected("GRU", X, weights, recurrent_activation=hard), "output")
    two = Recurrent.from_keras(str(path), "it", backend="numpy")
    directions = expected("LSTM", X, both[:3]), expected("LSTM", X, both[3:], go_backwards=True)
    close(two(X)[0], np.concatenate(directions, axis=2), "output")
    kinds = ("GRU", "Bidirectional LSTM" if layout.startswith("weights") else "Bidirectional")
    for wanted in (None, "dense", 2, True):
        with pytest.raises(ValueError, match=r"layer: expected the name or index of .*: there are ") as caught:
            Recurrent.from_keras(path, wanted)
        listed = str(caught.value).partition(": there are ")[2]
        assert {f"{kinds[0]} 'one'", f"{kinds[1]} 'it'"} == {*re.split(r"; (?:\d: )?", listed.removeprefix("0: "))}
    if layout == "weights of Keras 3":
        with pytest.raises(
            ValueError, match=r"expected a name, as a file of weights alone has no order of layers: there"
        ):
            Recurrent.from_keras(path, 0)
    else:
        assert Recurrent.from_keras(path, 0, **options).cell == one.cell


def node(kind: str, name: str, *inner: Any, **config: Any) -> dict[str, Any]:
    """A layer or model in a configuration."""
    config = {"name": name, **config, **({"layers": [*inner]} if inner else {})}
    return {"class_name": kind, "config": config}


# The model, and its groups: the seed of the weights, and the name if the file has names.
MODELS: dict[str, tuple[list[Any], dict[str, tuple[int, str]], list[int]]] = {
    "one name in two models": (
        [node("Sequential", "a", node("LSTM", "it")), node("Sequential", "b", node("LSTM", "it"))],
        {"layers/sequential/layers/lstm": (1, "it"), "layers/sequential_1/layers/lstm": (2, "it")},
        [1, 2],
    ),
    "names that are keys of others": (
        [node("LSTM", "lstm_1"), node("LSTM", "lstm_2"), node("LSTM", "lstm")],
        {"layers/lstm": (1, "lstm_1"), "layers/lstm_1": (2, "lstm_2"), "layers/lstm_2": (3, "lstm")},
        [1, 2, 3],
    ),
    "shared by two models": (
        [node("Sequential", "a", node("LSTM", "it")), node("Sequential", "b", node("LSTM", "it"))],
        {"layers/sequential/layers/lstm": (1, "it")},
        [1, 1],
    ),
    "of a class of one's own": (
        [node("LSTM", "it"), node("MyLayer", "mine", inner=node("LSTM", "its"))],
        {"layers/lstm": (1, "it"), "layers/my_layer/rnn": (2, "its")},
        [1, 2],
    ),
    "of one name in a class of one's own": (
        [node("LSTM", "it"), node("MyLayer", "mine", inner=node("LSTM", "it"))],
        {"layers/lstm": (1, "it"), "layers/my_layer/rnn": (2, "it")},
        [1, 2],
    ),
}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("what", MODELS)
def test_each_layer_has_its_own_weights(what: str, named: bool, tmp_path: Path, request: Any) -> None:
    h5py = require_peer(request, "h5py")
    inner, groups, seeds = MODELS[what]
    path, buffer = tmp_path / "model.keras", io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for group, (seed, name) in groups.items():
            if named:
                file.create_group(f"{group}/vars").attrs["name"] = name
            for index, values in enumerate(weights_of("LSTM", 10 * seed)):
                file[f"{group}/cell/vars/{index}"] = values
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(node("Functional", "model", *inner)))
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", buffer.getvalue())
    (tmp_path / "alone.weights.h5").write_bytes(buffer.getvalue())

    def is_of(seed: int, file: str, wanted: Any) -> bool:
        rnn = Recurrent.from_keras(tmp_path / file, wanted, backend="numpy")
        return np.array_equal(rnn.parameters["weight_ih_l0"].T, weights_of("LSTM", 10 * seed)[0])

    for index, seed in enumerate(seeds):
        if what.endswith("class of one's own") and index == 1 and not named:
            with pytest.raises(ValueError, match=r"layer 'its?': expected kernel"):
                Recurrent.from_keras(path, index)
        else:
            assert is_of(seed, "model.keras", index)
    if what == "one name in two models":
        with pytest.raises(
            ValueError, match="layer: expected an index, as several layers are called 'it': there are 0"
        ):
            Recurrent.from_keras(path, "it")
        if named:
            assert is_of(2, "alone.weights.h5", "sequential_1/lstm")
    elif what == "shared by two models":
        assert is_of(1, "model.keras", "it")


def test_each_layer_of_the_older_format_has_its_own_weights(tmp_path: Path, request: Any) -> None:
    h5py = require_peer(request, "h5py")
    model = [
        node("Sequential", "a", node("LSTM", "it"), node("LSTM", "other")),
        node("Sequential", "it", node("LSTM", "it"), node("Sequential", "deep", node("LSTM", "it"))),
        node("LSTM", "last"),
    ]
    paths = {"a": ["a/it", "a/other"], "it": ["it/it", "it/deep/it"], "last": ["model/last"]}
    seeds = iter(range(10, 60, 10))
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(node("Functional", "model", *model))
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [*paths]
        for outer, layers in paths.items():
            names = [f"{each}/lstm_cell/{index}" for each in layers for index in range(3)]
            group.create_group(outer).attrs["weight_names"] = names
            values = [value for _ in layers for value in weights_of("LSTM", next(seeds))]
            for name, value in zip(names, values, strict=True):
                group[outer][name] = value
        with h5py.File(tmp_path / "alone.h5", "w") as alone:
            file.copy("model_weights", alone)
    for index in range(5):
        rnn = Recurrent.from_keras(tmp_path / "model.h5", index, backend="numpy")
        assert np.array_equal(rnn.parameters["weight_ih_l0"].T, weights_of("LSTM", 10 + 10 * index)[0])
    # A model's weights are not those of a Bidirectional layer.
    with pytest.raises(ValueError, match=r"got 'a': there are 0: LSTM 'last'$"):
        Recurrent.from_keras(tmp_path / "alone.h5", "a")


def test_files_that_are_something_else(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    h5py = require_peer(request, "h5py")
    with pytest.raises(FileNotFoundError, match="nowhere: expected a file of Keras', found none"):
        Recurrent.from_keras(tmp_path / "nowhere")
    with pytest.raises(
        ValueError, match=r"expected a \.keras file, or weights of Keras in an HDF5 file, found neither"
    ):
        Recurrent.from_keras(__file__)
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("other", "")
    with pytest.raises(ValueError, match=r"zip: expected a .keras file with config.json and model.weights.h5"):
        Recurrent.from_keras(tmp_path / "zip")
    write(
        tmp_path / "h5", "weights of Keras 3", [layer("GRU", {"name": "it"}, weights_of("GRU", use_bias=False))], h5py
    )
    with pytest.raises(ValueError, match=r"layer 'it': expected config={'reset_after': True} or False, which the weig"):
        Recurrent.from_keras(tmp_path / "h5")
    rnn = Recurrent.from_keras(tmp_path / "h5", config={"reset_after": False}, backend="numpy")
    assert (rnn.cell, rnn.bias) == (GRU("carry", "before"), False)


def conv() -> Any:
    return layer("ConvLSTM1D", {"name": "it"}, [])


def backward_of_another_kind() -> Any:
    other = {"class_name": "GRU", "config": {"activation": "relu"}}
    return bidirectional("GRU", weights_of("GRU") * 2, activation="tanh", backward_layer=other)


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no layer": (lambda: 3, TypeError, "source: expected a layer of Keras, a list of them, a model or a path, got int"),
    "an empty list": (list, ValueError, "or a list of these for several: there is none"),
    "another layer": (
        conv,
        ValueError,
        "layer 'it': expected a SimpleRNN, LSTM, GRU or Bidirectional layer, got ConvLS",
    ),
    "an activation that we lack": (
        lambda: layer("LSTM", {"name": "it", "activation": "gelu"}, weights_of("LSTM")),
        ValueError,
        "layer 'it': activation: expected one of tanh, sigmoid, relu, selu, softsign, softplus, silu, log_sigmoid, relu",
    ),
    "an activation that is a layer": (
        lambda: layer("LSTM", {"name": "it", "recurrent_activation": {"class_name": "ELU"}}, weights_of("LSTM")),
        ValueError,
        "layer 'it': recurrent_activation: expected one of",
    ),
    "a sum of both directions": (
        lambda: bidirectional("GRU", weights_of("GRU") * 2, merge_mode="sum"),
        ValueError,
        "layer 'it': merge_mode: expected 'concat', got 'sum': write config={'merge_mode': 'concat'}, and combine",
    ),
    "directions of two kinds": (
        backward_of_another_kind,
        ValueError,
        "layer 'it': expected two layers of one kind, got GRU and GRU with activation='tanh' and 'relu': each could be",
    ),
    "directions turned round": (
        lambda: bidirectional("GRU", weights_of("GRU") * 2, go_backwards=True),
        ValueError,
        "layer 'it': expected a first layer that runs forward, got go_backwards=True",
    ),
    "weights of another": (
        lambda: layer("LSTM", {"name": "it"}, weights_of("GRU")),
        ValueError,
        "layer 'it': expected kernel (I, G*H), recurrent_kernel (H, G*H), bias of LSTM = [(3, 16), (4, 16), (16,)], got",
    ),
    "a layer without weights": (
        lambda: layer("LSTM", {"name": "it"}, []),
        ValueError,
        "layer 'it': expected kernel (I, G*H), recurrent_kernel (H, G*H) of LSTM",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what: str) -> None:
    make, error, message = REFUSED[what]
    with pytest.raises(error, match=re.escape(message)):
        Recurrent.from_keras(make(), backend="numpy")


def test_options_of_the_user_stand_before_the_layers() -> None:
    both = bidirectional("GRU", weights_of("GRU") * 2, merge_mode="sum", activation="gelu")
    rnn = Recurrent.from_keras(both, config={"merge_mode": "concat", "activation": "tanh"}, backend="numpy")
    assert rnn.cell == GRU("carry")
    known = {
        "GRU": "activation, recurrent_activation, reset_after, dropout, recurrent_dropout, merge_mode",
        "LSTM": "activation, recurrent_activation, dropout, recurrent_dropout, go_backwards",
        "SimpleRNN": "activation, dropout, recurrent_dropout, go_backwards",
    }
    for source, config in (
        (both, {"merge_mode": "concat", "activation": "tanh", "activaton": "relu"}),
        (layer("LSTM", {"name": "it"}, weights_of("LSTM")), {"reset_after": True}),
        (layer("SimpleRNN", {"name": "it"}, weights_of("SimpleRNN")), {"recurrent_activation": "relu"}),
    ):
        with pytest.raises(ValueError, match=r"config: expected options of a ") as caught:
            Recurrent.from_keras(source, config=config, backend="numpy")
        kind = str(caught.value).split()[5]
        assert str(caught.value).endswith(f" ({known[kind]}), got {list(config)[-1]!r}")
    unbuilt = layer("LSTM", {"name": "it"}, [])
    unbuilt.built = False
    with pytest.raises(ValueError, match="layer 'it': expected weights, got a layer that is not built: call it once"):
        Recurrent.from_keras(unbuilt)


def dropping(name: str, dropout: float, recurrent_dropout: float = 0.0, **config: Any) -> Any:
    rates = {"dropout": dropout, "recurrent_dropout": recurrent_dropout}
    return layer("LSTM", {"name": name, **rates}, weights_of("LSTM", **config))


def test_dropout_is_that_of_the_layers() -> None:
    first, above = dropping("first", 0.3, 0.2), [dropping(name, 0.5, 0.2, width=H) for name in ("second", "third")]
    rnn, again = (Recurrent.from_keras([first, *above], backend="numpy", seed=0) for _ in range(2))
    assert (rnn.input_dropout, rnn.dropout, rnn.recurrent_dropout, rnn.variational) == (0.3, 0.5, 0.2, True)
    np.testing.assert_array_equal(rnn.forward(X)[0], again.forward(X)[0])
    both = bidirectional("GRU", weights_of("GRU") * 2, dropout=0.1)
    assert Recurrent.from_keras(both, backend="numpy").input_dropout == 0.1
    plain = Recurrent.from_keras(first, config={"dropout": 0, "recurrent_dropout": 0}, backend="numpy")
    np.testing.assert_array_equal(plain.forward(X)[0], plain(X)[0])
    assert not plain.variational
    for other, message in (
        (dropping("other", 0.1, 0.2, width=H), "layer 'other': dropout: expected 0.5, as of layer 'second', got 0.1"),
        (dropping("other", 0.5, width=H), "layer 'other': recurrent_dropout: expected 0.2, as of layer 'first', got 0"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            Recurrent.from_keras([first, *above, other], backend="numpy")
    unlike = {"class_name": "GRU", "config": {"dropout": 0.2}}
    with pytest.raises(ValueError, match=re.escape("got GRU and GRU with dropout=None and 0.2")):
        Recurrent.from_keras(bidirectional("GRU", weights_of("GRU") * 2, backward_layer=unlike), backend="numpy")


def test_layers_of_keras(tmp_path: Path, request: pytest.FixtureRequest, close: Close) -> None:
    keras = require_peer(request, "keras")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None, WIDTH)),
            layers.LSTM(H, return_sequences=True, name="first"),
            layers.Bidirectional(
                layers.GRU(H, return_sequences=True, recurrent_activation="hard_sigmoid"), name="both"
            ),
            layers.SimpleRNN(H, return_sequences=True, go_backwards=True, activation="softplus", name="last"),
        ]
    )
    for name in ("model.keras", "model.h5", "model.weights.h5"):
        (model.save_weights if "weights" in name else model.save)(tmp_path / name)
    values = X
    for each in model.layers:
        output = keras.ops.convert_to_numpy(each(values))
        rnn = Recurrent.from_keras(each, backend="numpy")
        aligned = output[:, ::-1] if rnn.direction == "reverse" else output
        close(rnn(values)[0], aligned, "output")
        config = {
            option: value
            for option, value in {**each.get_config(), **each.get_config().get("layer", {}).get("config", {})}.items()
            if "activation" in option or option == "go_backwards"
        }
        for source in (model, tmp_path / "model.keras", tmp_path / "model.h5"):
            close(Recurrent.from_keras(source, each.name, backend="numpy")(values)[0], aligned, "output")
        again = Recurrent.from_keras(tmp_path / "model.weights.h5", each.name, config=config, backend="numpy")
        close(again(values)[0], aligned, "output")
        values = output
