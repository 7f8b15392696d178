"""Weights by the names of PyTorch, Flax, Keras or this library, in a mapping or a safetensors file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors

from rnncore_kernels.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.contract import Array

from ..definition import define
from ..errors import describe
from ..files import of_torch
from .flax import SIDES, dense_layers, parameters_of
from .keras_files import KerasLayer
from .keras_import import read_layer
from .layers import Layer, as_float, make_network

if TYPE_CHECKING:
    from ..network import SomeNetwork

FLAX: dict[str, Cell] = {"ifgo": LSTM(), "rzn": GRU("carry", "after"), "": Elman()}
"""Flax's cells by their gates; a dense layer, `hi` say, has the name of its side, i or h, and its gate."""

KERAS = ("kernel", "recurrent_kernel", "bias")
"""Keras' names, in the order of its weights."""


def select(values: Any, prefix: str) -> Any:
    """The values whose names begin with `prefix`, without it, of a mapping or a safetensors file."""
    if isinstance(values, (str, os.PathLike)):
        values = _in_file(os.fspath(values), prefix)
    if not prefix or not isinstance(values, Mapping):
        return values
    selected = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    if not selected:
        raise _no_such_prefix(prefix, values)
    return selected


def from_names(
    kind: type[SomeNetwork],
    layers: Sequence[Mapping[str, Any]],
    convention: str,
    cell: str | Cell | None,
    direction: str | None,
    **options: Any,
) -> SomeNetwork:
    """The network of layers whose weights have the names of "flax" or "keras"."""
    for values in layers:
        if not isinstance(values, Mapping):
            hint = ": get_weights() has no names, write from_keras(layer)" if convention == "keras" else ""
            raise TypeError(f"state_dict: expected a mapping from names to arrays, got {describe(values)}{hint}")
    read = [_flax(values) if convention == "flax" else _keras(values) for values in layers]
    for number, layer in enumerate(read):
        chosen = layer.cell if cell is None else define(cell).cell
        if sorted(chosen.gates) != sorted(layer.cell.gates) or (isinstance(chosen, GRU) and chosen != layer.cell):
            raise ValueError(
                f"cell: expected {layer.cell!r}, as of the weights with convention={convention!r}, or one of its gates "
                f"with other activations, got {chosen!r}"
            )
        turned = layer.direction if direction is None else direction
        read[number] = layer._replace(cell=chosen, direction=turned if len(layer.parameters) == 1 else layer.direction)
    return make_network(kind, read, **options)


def guess(names: Iterable[str], prefix: str = "") -> str:
    """What to write for names that are not those of a network; empty where they look like nobody's.

    `prefix` is what has been left out of them.
    """
    names = [f"{prefix}{name}" for name in names]
    prefixes = {name.removesuffix("weight_ih_l0") for name in names if name.endswith("weight_ih_l0")}
    if prefixes:
        written = " or ".join(f"prefix={prefix!r}" for prefix in sorted(prefixes)[:5])
        return f"to read those of one network, write {written}"
    for whose, pattern in (("keras", r"recurrent_kernel(:0)?$"), ("flax", r"\b(dense_h|h[a-z]?_?)[./]kernel$")):
        found = [match for match in map(re.compile(rf"^(.*?)({pattern})").search, names) if match]
        if found:
            # Up to the cell: its gates are in the rest of the name.
            prefixes = {re.sub(r"[^./]*$", "", match[1]) for match in found}
            chosen = next(iter(prefixes)) if len(prefixes) == 1 else ""
            return f"for those of {whose.capitalize()} write convention={whose!r}" + (
                f", prefix={chosen!r}" if chosen else ", and the prefix of one layer" if len(prefixes) > 1 else ""
            )
    return ""


def _in_file(path: str, prefix: str) -> Any:
    from ..state_dict import StateDict
    from ..storage import check_whole

    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: expected a safetensors file, found none")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            check_whole(path, metadata)
            names = list(file.keys())
            wanted = [name for name in names if name.startswith(prefix)]
            if not wanted and prefix:
                raise _no_such_prefix(prefix, names)
            values = {name: file.get_tensor(name) for name in wanted}
            described = metadata.get("architecture")
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file, got: {error}{of_torch(path)}") from None
    except TypeError as error:
        raise TypeError(f"{path}: expected tensors that NumPy has a dtype for, got: {error}: convert them") from None
    return values if described is None else StateDict.described(values, described)


def _no_such_prefix(prefix: str, names: Iterable[str]) -> ValueError:
    return ValueError(f"prefix: expected the beginning of some name, got {prefix!r}: there are {_listed(names)}")


def _flax(values: Mapping[str, Any]) -> Layer:
    """A cell of Flax's, linen's or nnx', whose kernels are the transposes of ours."""
    leaves = {(module.rstrip("_"), leaf): np.asarray(values[n]) for n, *_, module, leaf in _parts(values)}
    whole = leaves.get(("dense_h", "kernel"), np.zeros((1, 0)))
    gates = next((g for g in FLAX if whole.shape[1] == max(len(g), 1) * len(whole)), None)
    if gates is None:
        gates = next((g for g in FLAX if all((layer, "kernel") in leaves for layer in dense_layers(g, "h"))), None)
    bias = any(leaf == "bias" for _, leaf in leaves)
    found = {} if gates is None else parameters_of(np, leaves, gates, bias=bias)
    weights = [found.get(f"weight_{side}") for side in SIDES]
    if gates is None or any(weight is None or weight.ndim != 2 for weight in weights):
        raise ValueError(
            f"state_dict: expected kernels of a cell of Flax, hi.kernel or dense_h.kernel among them, got "
            f"{_listed(values)}"
        )
    return Layer("state_dict", FLAX[gates], "forward", [{name: as_float(array) for name, array in found.items()}])


def _keras(values: Mapping[str, Any]) -> Layer:
    """A layer of Keras'; of a Bidirectional, the names of the second direction have `backward`."""
    directions: list[dict[str, Array]] = [{}, {}]
    for name, *modules, leaf in _parts(values):
        part = directions[any(module.startswith("backward") for module in modules)]
        if leaf.removesuffix(":0") not in KERAS or leaf.removesuffix(":0") in part:
            raise ValueError(
                f"state_dict: expected the kernel, recurrent_kernel and bias of one layer of Keras, got "
                f"{_listed(values)}"
            )
        part[leaf.removesuffix(":0")] = np.asarray(values[name])
    weights = [part[name] for part in directions for name in KERAS if name in part]
    return read_layer(KerasLayer("state_dict", None, {}, weights, "3"), {})


def _parts(names: Iterable[str]) -> list[list[str]]:
    """Each name, and its parts between dots and slashes, two at least."""
    return [[name, *([] if re.search(r"[./]", name) else [""]), *re.split(r"[./]", name)] for name in names]


def _listed(names: Iterable[str]) -> str:
    """The names in a message."""
    names = list(names)
    return ", ".join(map(str, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "none"
