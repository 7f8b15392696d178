"""The recurrent layers of Keras: of layers and models, of `.keras` files, and of the weights in HDF5 files."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore_kernels.contract import Array

from ..errors import describe

KINDS = ("SimpleRNN", "LSTM", "GRU")
"""Classes of layers that have a counterpart here, and stand in a Bidirectional."""


@dataclass(frozen=True)
class KerasLayer:
    """A recurrent layer of Keras.

    Attributes:
        name: of the layer.
        kind: its class, one of KINDS or Bidirectional; None where a file has weights alone.
        config: its options, as `get_config()` returns them.
        weights: as `get_weights()` returns them.
        version: of Keras.
    """

    name: str
    kind: str | None
    config: Mapping[str, Any]
    weights: Sequence[Array]
    version: str

    @property
    def where(self) -> str:
        """The layer, for messages."""
        return f"layer {self.name!r}"


def recurrent_layers(source: Any) -> list[KerasLayer]:
    """The recurrent layers of a path, a model, a layer, or a list of layers."""
    if isinstance(source, (str, os.PathLike)):
        return _in_file(os.fspath(source))
    if isinstance(source, (list, tuple)):
        return [layer for each in source for layer in recurrent_layers(each)]
    if not hasattr(source, "get_weights") or not hasattr(source, "get_config"):
        raise TypeError(f"source: expected a layer of Keras, a list of them, a model or a path, got {describe(source)}")
    kind = type(source).__name__
    if kind not in (*KINDS, "Bidirectional") and hasattr(source, "layers"):
        return [layer for each in source.layers if _is_recurrent(each) for layer in recurrent_layers(each)]
    package = sys.modules.get(type(source).__module__.split(".")[0])
    version = str(getattr(package, "__version__", "3"))
    weights = [np.asarray(values) for values in source.get_weights()]
    return [KerasLayer(str(getattr(source, "name", kind)), kind, source.get_config(), weights, version)]


def find_layers(layers: Sequence[KerasLayer], wanted: Any) -> list[KerasLayer]:
    """The layers of a name or index, or a list of these; of None the only one there is."""
    known = "; ".join(f"{index}: {layer.kind or 'weights'} {layer.name!r}" for index, layer in enumerate(layers))
    there_are = f"there are {known}" if layers else "there is none"
    if wanted is None:
        if len(layers) == 1:
            return list(layers)
        raise ValueError(
            f"layer: expected the name or index of a SimpleRNN, LSTM, GRU or Bidirectional layer, or a list of these "
            f"for several: {there_are}"
        )
    if isinstance(wanted, (list, tuple)) and wanted:
        return [layer for each in wanted for layer in find_layers(layers, each)]
    for index, layer in enumerate(layers):
        if (layer.name if isinstance(wanted, str) else index) == wanted and not isinstance(wanted, bool):
            return [layer]
    raise ValueError(f"layer: expected the name or index of a recurrent layer, got {wanted!r:.60}: {there_are}")


def _is_recurrent(layer: Any) -> bool:
    return type(layer).__name__ in (*KINDS, "Bidirectional") or hasattr(layer, "layers")


def _in_file(path: str) -> list[KerasLayer]:
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(f"from_keras: expected h5py for a file: pip install 'rnncore[keras]' ({error})") from error
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: expected a file of Keras', found none")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if {"config.json", "model.weights.h5"} - {*archive.namelist()}:
                raise ValueError(f"{path}: expected a .keras file with config.json and model.weights.h5")
            config, metadata = (json.loads(archive.read(f"{name}.json")) for name in ("config", "metadata"))
            with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
                return _configured(dict(_of_groups(file)), config, str(metadata.get("keras_version", "3")))
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path}: expected a .keras file, or weights of Keras in an HDF5 file, found neither")
    with h5py.File(path, "r") as file:
        named = file.get("model_weights", file)
        if "layer_names" not in named.attrs:
            return [KerasLayer(name, None, {}, weights, "3") for name, weights in _of_groups(file)]
        by_name = _of_names(named)
        version = _text(file.attrs.get("keras_version", named.attrs.get("keras_version", "2")))
        if "model_config" not in file.attrs:
            layers = [(name, by_name.get(name, [])) for name in map(_text, named.attrs["layer_names"])]
            return [KerasLayer(name, None, {}, weights, version) for name, weights in layers if _count(weights)]
        return _configured(by_name, json.loads(_text(file.attrs["model_config"])), version)


def _of_groups(group: Any) -> Iterator[tuple[str, list[Array]]]:
    """The recurrent layers of a file of Keras 3 by name, and their weights."""
    for key, inner in group.items():
        if not hasattr(inner, "items"):
            continue
        parts = [inner] if "cell" in inner else [inner.get("forward_layer"), inner.get("backward_layer")]
        if any(part is None or "vars" not in part.get("cell", {}) for part in parts):
            yield from _of_groups(inner)
            continue
        name = _text(inner["vars"].attrs.get("name", key)) if "vars" in inner else key
        yield name, [np.asarray(values) for part in parts for _, values in sorted(part["cell/vars"].items())]


def _of_names(group: Any) -> dict[str, list[Array]]:
    """All layers of a file of the older format by name, those of inner models too, and their weights."""
    found: dict[str, list[Array]] = {}
    for name in map(_text, group.attrs["layer_names"]):
        for path in map(_text, group[name].attrs["weight_names"]):
            # A path names the models and the layer that the weights are of.
            for each in dict.fromkeys([name, *path.split("/")[:-1]]):
                found.setdefault(each, []).append(np.asarray(group[name][path]))
    return found


def _configured(weights: Mapping[str, list[Array]], config: Any, version: str) -> list[KerasLayer]:
    """The recurrent layers that a model's configuration names."""
    layers, counts = [], dict[str, int]()
    for kind, options in _configurations(config):
        # Files of the first versions do not say names, but number layers of a class.
        key = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower()
        counts[key] = counts.get(key, 0) + 1
        numbered = key if counts[key] == 1 else f"{key}_{counts[key] - 1}"
        name = options["name"]
        found = weights.get(name, weights.get(numbered))
        if found is not None:
            layers.append(KerasLayer(name, kind, options, found, version))
    return layers


def _configurations(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Class and options of the recurrent layers in a model's configuration, in its order."""
    if isinstance(config, list):
        for each in config:
            yield from _configurations(each)
    elif isinstance(config, dict):
        kind, options = config.get("class_name"), config.get("config")
        if kind in (*KINDS, "Bidirectional") and isinstance(options, dict) and "name" in options:
            yield kind, options
            return
        for each in config.values():
            yield from _configurations(each)


def _count(weights: Sequence[Array]) -> int:
    """The number of gates of weights that look like those of a recurrent layer, else 0."""
    if len(weights) not in (2, 3, 4, 6) or weights[0].ndim != 2 or weights[1].ndim != 2:
        return 0
    units, columns = weights[1].shape
    count = columns // max(units, 1)
    return count if count in (1, 3, 4) and columns == count * units == weights[0].shape[1] else 0


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
