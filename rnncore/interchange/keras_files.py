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
from typing import Any, NamedTuple

import numpy as np

from rnncore_kernels.contract import Array

from ..errors import describe

_LISTS = ("layers", "_layer_checkpoint_dependencies")
"""Keys of a model's layers, in files of different versions; no part of a layer's path here."""

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
        has_place: whether its index in the file says its place in the model.
    """

    name: str
    kind: str | None
    config: Mapping[str, Any]
    weights: Sequence[Array]
    version: str
    has_place: bool = True

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
    if not weights and not getattr(source, "built", True):
        raise ValueError(
            f"layer {getattr(source, 'name', kind)!r}: expected weights, got a layer that is not built: call it once, "
            f"or layer.build((None, None, I))"
        )
    return [KerasLayer(str(getattr(source, "name", kind)), kind, source.get_config(), weights, version)]


def find_layers(layers: Sequence[KerasLayer], wanted: Any) -> list[KerasLayer]:
    """The layers of a name or index, or a list of these; of None the only one there is."""
    known = "; ".join(
        f"{f'{index}: ' if layer.has_place else ''}{layer.kind or _guessed(layer.weights)} {layer.name!r}"
        for index, layer in enumerate(layers)
    )
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
    if isinstance(wanted, str):
        found = [layer for layer in layers if layer.name == wanted]
    else:
        found = [layer for index, layer in enumerate(layers) if index == wanted and not isinstance(wanted, bool)]
    if not found:
        raise ValueError(f"layer: expected the name or index of a recurrent layer, got {wanted!r:.60}: {there_are}")
    if any(not _is_same(layer, found[0]) for layer in found):
        raise ValueError(f"layer: expected an index, as several layers are called {wanted!r}: {there_are}")
    if not isinstance(wanted, str) and not found[0].has_place:
        raise ValueError(f"layer: expected a name, as a file of weights alone has no order of layers: {there_are}")
    return found[:1]


def _is_same(layer: KerasLayer, other: KerasLayer) -> bool:
    """Whether they are one layer, which several models may share."""
    pairs = zip(layer.weights, other.weights, strict=False)
    return (layer.kind, layer.config, len(layer.weights)) == (other.kind, other.config, len(other.weights)) and all(
        np.array_equal(ours, theirs) for ours, theirs in pairs
    )


def _is_recurrent(layer: Any) -> bool:
    return type(layer).__name__ in (*KINDS, "Bidirectional") or hasattr(layer, "layers")


def _in_file(path: str) -> list[KerasLayer]:
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(f"from_keras: expected h5py for a file: pip install '.[keras]' ({error})") from error
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: expected a file of Keras', found none")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if {"config.json", "model.weights.h5"} - {*archive.namelist()}:
                raise ValueError(f"{path}: expected a .keras file with config.json and model.weights.h5")
            config, metadata = (json.loads(archive.read(f"{name}.json")) for name in ("config", "metadata"))
            with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
                return _in_groups([*_groups(file)], config, str(metadata.get("keras_version", "3")))
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path}: expected a .keras file, or weights of Keras in an HDF5 file, found neither")
    with h5py.File(path, "r") as file:
        named: Any = file.get("model_weights", file)
        if "layer_names" not in named.attrs:
            groups = [*_groups(file)]
            names = [group.name or group.path[-1] for group in groups]
            if len({*names}) < len(names):
                names = ["/".join(group.path) for group in groups]
            one = len(groups) == 1
            return [
                KerasLayer(name, None, {}, group.weights, "3", has_place=one)
                for name, group in zip(names, groups, strict=True)
            ]
        version = _text(file.attrs.get("keras_version", named.attrs.get("keras_version", "2")))
        if "model_config" not in file.attrs:
            layers = [(name, _of_outer(named, name)) for name in map(_text, named.attrs["layer_names"])]
            return [KerasLayer(name, None, {}, weights, version) for name, weights in layers if _count(weights)]
        return [
            KerasLayer(place.name, place.kind, place.options, _of_name(named, place), version)
            for place in _places(json.loads(_text(file.attrs["model_config"])))
        ]


class _Group(NamedTuple):
    """A recurrent layer in a file of Keras 3: its keys from the outermost, and its name where the file says it."""

    path: tuple[str, ...]
    name: str | None
    weights: list[Array]


class _Place(NamedTuple):
    """A recurrent layer in a model's configuration: the keys that its group has, and the layers around it by name."""

    path: tuple[str, ...]
    around: tuple[str, ...]
    kind: str
    options: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.options["name"])


def _groups(group: Any, path: tuple[str, ...] = ()) -> Iterator[_Group]:
    """The recurrent layers of a file of Keras 3."""
    for key, inner in group.items():
        if not hasattr(inner, "items"):
            continue
        parts = [inner] if "cell" in inner else [inner.get("forward_layer"), inner.get("backward_layer")]
        here = path if key in _LISTS else (*path, key)
        if any(part is None or "vars" not in part.get("cell", {}) for part in parts):
            yield from _groups(inner, here)
            continue
        name = inner["vars"].attrs.get("name") if "vars" in inner else None
        weights = [np.asarray(values) for part in parts for _, values in sorted(part["cell/vars"].items())]
        yield _Group(here, None if name is None else _text(name), weights)


def _in_groups(groups: Sequence[_Group], config: Any, version: str) -> list[KerasLayer]:
    """The recurrent layers that a model's configuration names; one without weights in the file has none."""
    places, by_path = [*_places(config)], {group.path: group for group in groups}
    found = [
        by_path.pop(p.path) if p.path in by_path and by_path[p.path].name in (None, p.name) else None for p in places
    ]
    lacking = [place.name for place, group in zip(places, found, strict=True) if group is None]
    for index, place in enumerate(places):
        if found[index] is not None:
            continue
        left = [group for group in by_path.values() if group.name in (None, place.name)]
        if not left:
            # Keras writes a layer that several models share once.
            alike = (
                g for p, g in zip(places, found, strict=True) if (p.kind, p.options) == (place.kind, place.options)
            )
            found[index] = next((group for group in alike if group is not None), None)
        elif len(left) == 1 == lacking.count(place.name) and left[0].name is not None:
            # Keys in a layer of the user's are its attributes: there the name decides, if only one layer has it.
            found[index] = left[0]
    return [
        KerasLayer(place.name, place.kind, place.options, group.weights if group is not None else [], version)
        for place, group in zip(places, found, strict=True)
    ]


def _places(config: Any, path: tuple[str, ...] = (), around: tuple[str, ...] = ()) -> Iterator[_Place]:
    """The recurrent layers in a model's configuration, in its order."""
    if isinstance(config, list):
        counts = dict[str, int]()
        for each in config:
            kind = each.get("class_name") if isinstance(each, dict) else None
            key = _snake_case(kind) if isinstance(kind, str) else "container"
            number = counts[key] = counts.get(key, -1) + 1
            yield from _places(each, (*path, f"{key}_{number}" if number else key), around)
    elif isinstance(config, dict):
        kind, options = config.get("class_name"), config.get("config")
        if not isinstance(kind, str):
            kind, options = None, config
        name = options.get("name") if isinstance(options, dict) else None
        if kind in (*KINDS, "Bidirectional") and isinstance(options, dict) and name is not None:
            yield _Place(path, around, kind, options)
        elif isinstance(options, dict):
            # The model itself is in no path.
            inside = (*around, str(name)) if kind and path and name is not None else around
            for key, value in options.items():
                yield from _places(value, path if key in _LISTS else (*path, key), inside)
        elif isinstance(options, list):
            yield from _places(options, path, around)


def _snake_case(name: str) -> str:
    """A class's name as Keras writes it in keys."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _of_outer(group: Any, name: str) -> list[Array]:
    """The weights of an outer layer in a file of the older format; those of several layers are nobody's."""
    paths = [_text(path) for path in group[name].attrs["weight_names"]]
    cells = {path.rpartition("/")[0] for path in paths}
    if len(cells) > 1 and not any("backward" in path for path in cells):
        return []
    return [np.asarray(group[name][path]) for path in paths]


def _of_name(group: Any, place: _Place) -> list[Array]:
    """The weights of a layer in a file of the older format, in which a path names models and layer of the weights."""
    outer = place.around[0] if place.around else place.name
    found = dict[tuple[str, ...], list[Array]]()
    for path in map(_text, group[outer].attrs["weight_names"] if outer in group else []):
        parts = path.split("/")[:-1]
        if not place.around:
            # A layer of the model itself has all that is in its group.
            parts = [place.name]
        if place.name in parts:
            last = len(parts) - 1 - parts[::-1].index(place.name)
            found.setdefault(tuple(parts[:last]), []).append(np.asarray(group[outer][path]))
    exact = [before for before in found if before[-len(place.around) :] == place.around]
    if len(found) > 1 and len(exact) != 1:
        raise ValueError(f"layer {place.name!r}: expected one layer of that name in {outer!r}, found {len(found)}")
    return found[exact[0]] if len(exact) == 1 else next(iter(found.values()), [])


def _count(weights: Sequence[Array]) -> int:
    """The number of gates of weights that look like those of a recurrent layer, else 0."""
    if len(weights) not in (2, 3, 4, 6) or weights[0].ndim != 2 or weights[1].ndim != 2:
        return 0
    units, columns = weights[1].shape
    count = columns // max(units, 1)
    return count if count in (1, 3, 4) and columns == count * units == weights[0].shape[1] else 0


def _guessed(weights: Sequence[Array]) -> str:
    """The class of a layer by the shapes of its weights."""
    kind = {1: "SimpleRNN", 3: "GRU", 4: "LSTM"}.get(_count(weights), "weights")
    return f"Bidirectional {kind}" if len(weights) in (4, 6) else kind


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
