"""Layers of Keras in files of its layouts."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Array, Close, require_peer
from test_keras import X, bidirectional, expected, layer, some, weights_of

from rnncore import GRU, Recurrent


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
