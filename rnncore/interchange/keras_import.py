"""A network of the weights of recurrent layers of Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore_kernels.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.contract import Array

from ..options import check_probability
from .activations import spell
from .cells import ActivatedElman, ActivatedGRU, ActivatedLSTM
from .keras_files import KINDS, KerasLayer, find_layers, recurrent_layers
from .layers import Layer, as_float, in_order, make_network

if TYPE_CHECKING:
    from ..network import SomeNetwork

GATES = {"SimpleRNN": "a", "GRU": "zrn", "LSTM": "ifgo"}
"""Gates of the layers, by our names, in the order of their weights."""

SAME = ("tanh", "sigmoid", "relu", "selu", "softsign", "softplus", "silu", "log_sigmoid", "relu6")
"""Activations that have the same name here."""

ACTIVATIONS = {
    **dict(zip(SAME, SAME, strict=True)),
    "linear": "identity",
    "swish": "silu",
    "exponential": "exp",
    "elu": spell("elu", 1),
    "leaky_relu": spell("leaky_relu", 0.2),
    "hard_sigmoid": spell("hard_sigmoid", 1 / 6, 0.5),
}
"""Activations of Keras 3 by its names, as ours are spelled."""

ELMANS = ("tanh", "relu", "sigmoid", "identity")
"""Activations of the library's cell."""

DROPOUT = ("dropout", "recurrent_dropout")
"""Rates of layers, which act in training."""

OPTIONS = ("units", "activation", "recurrent_activation", "use_bias", "reset_after", *DROPOUT)
"""Options of layers on which results depend."""

OF_USER = {"SimpleRNN": (), "GRU": ("recurrent_activation", "reset_after"), "LSTM": ("recurrent_activation",)}
"""Options that a user may give beside the activation, by the class of the layer."""

HARD_SIGMOID_BEFORE = spell("hard_sigmoid", 0.2, 0.5)
"""The hard sigmoid before Keras 3."""


def from_keras(
    kind: type[SomeNetwork],
    source: Any,
    layer: Any,
    *,
    config: Mapping[str, Any] | None,
    batch_first: bool,
    **options: Any,
) -> SomeNetwork:
    """See `Recurrent.from_keras`."""
    found = recurrent_layers(source)
    if layer is not None or not isinstance(source, (list, tuple)) or not found:
        found = find_layers(found, layer)
    layers = [read_layer(each, config or {}) for each in found]
    return make_network(kind, layers, batch_first=batch_first, **_dropout(layers), **options)


def _dropout(layers: Sequence[Layer]) -> dict[str, Any]:
    """The dropout of layers as that of a network, which has one rate for x, and one for what all others read."""
    for name, alike in zip(DROPOUT, (layers[1:], layers), strict=True):
        for layer in alike:
            if (got := getattr(layer, name)) != (expected := getattr(alike[0], name)):
                raise ValueError(
                    f"{layer.where}: {name}: expected {expected!r}, as of {alike[0].where}, got {got!r}: write "
                    f"config={{{name!r}: 0.0}}, or another rate for all"
                )
    first, dropout = layers[0], layers[-1].dropout if len(layers) > 1 else 0.0
    rates = {"input_dropout": first.dropout, "dropout": dropout, "recurrent_dropout": first.recurrent_dropout}
    return {**rates, "variational": bool(first.dropout or dropout)}


def _with_kind(layer: KerasLayer, config: Mapping[str, Any]) -> KerasLayer:
    """The layer with its class, which the shapes of weights alone tell, and the user's options before its own."""
    if layer.kind is not None:
        return replace(layer, config={**layer.config, **config})
    count = len(layer.weights)
    units, columns = layer.weights[1].shape if count in (2, 3, 4, 6) and layer.weights[1].ndim == 2 else (1, 0)
    kind = {len(gates): name for name, gates in GATES.items()}.get(columns // max(units, 1))
    if kind is None:
        shapes = ", ".join(str(values.shape) for values in layer.weights)
        raise ValueError(f"{layer.where}: expected the weights of a SimpleRNN, LSTM or GRU, got {shapes}")
    options: dict[str, Any] = {"use_bias": count in (3, 6)}
    if kind == "GRU" and options["use_bias"]:
        options["reset_after"] = layer.weights[2].ndim == 2
    elif kind == "GRU" and "reset_after" not in config:
        raise ValueError(
            f"{layer.where}: expected config={{'reset_after': True}} or False, which the weights of a GRU without "
            f"biases do not tell"
        )
    if count in (4, 6):
        return replace(layer, kind="Bidirectional", config={"layer": {"class_name": kind, "config": options}, **config})
    return replace(layer, kind=kind, config={**options, **config})


def read_layer(layer: KerasLayer, config: Mapping[str, Any]) -> Layer:
    """The layer as one of a network, with the user's options before its own."""
    given, layer, direction = config, _with_kind(layer, config), "forward"
    kind, config = layer.kind, layer.config
    if kind == "Bidirectional":
        direction = "bidirectional"
        if (mode := config.get("merge_mode", "concat")) != "concat":
            raise ValueError(
                f"{layer.where}: merge_mode: expected 'concat', got {mode!r}: write config={{'merge_mode': 'concat'}}, "
                f"and combine the halves of the output yourself"
            )
        kind, config = _inner(layer)
    elif config.get("go_backwards", False):
        direction = "reverse"
    if kind not in KINDS:
        raise ValueError(f"{layer.where}: expected a SimpleRNN, LSTM, GRU or Bidirectional layer, got {kind}")
    known = ("activation", *OF_USER[kind], *DROPOUT, "merge_mode" if direction == "bidirectional" else "go_backwards")
    for option in given:
        if option not in known:
            raise ValueError(f"config: expected options of a {kind} ({', '.join(known)}), got {option!r}")
    cell = _cell(layer, kind, config)
    parts = np.array_split(np.arange(len(layer.weights)), 2 if direction == "bidirectional" else 1)
    of_directions = [[as_float(layer.weights[place]) for place in part] for part in parts]
    parameters = [_parameters(layer, kind, cell, each) for each in of_directions]
    rates = [check_probability(f"{layer.where}: {name}", config.get(name, 0.0)) for name in DROPOUT]
    return Layer(layer.where, cell, direction, parameters, *rates)


def _inner(layer: KerasLayer) -> tuple[str, Mapping[str, Any]]:
    """Class and options of the layers of a Bidirectional, which must be the same but for their direction."""
    forward, backward = layer.config["layer"], layer.config.get("backward_layer")
    kind, config = forward["class_name"], {**forward["config"], **layer.config}
    if backward is not None:
        theirs = {**backward["config"], **layer.config}
        for name in OPTIONS:
            if backward["class_name"] != kind or theirs.get(name) != config.get(name):
                raise ValueError(
                    f"{layer.where}: expected two layers of one kind, got {kind} and {backward['class_name']} with "
                    f"{name}={config.get(name)!r} and {theirs.get(name)!r}: each could be a network of its own"
                )
    if config.get("go_backwards", False):
        raise ValueError(f"{layer.where}: expected a first layer that runs forward, got go_backwards=True")
    return kind, config


def _cell(layer: KerasLayer, kind: str, config: Mapping[str, Any]) -> Cell:
    """The cell that computes as the layer does; one of the library's where there is one."""
    candidate = _activation(layer, config, "activation", "tanh")
    if kind == "SimpleRNN":
        return Elman(candidate) if candidate in ELMANS else ActivatedElman(activation=candidate)
    gate = _activation(layer, config, "recurrent_activation", "sigmoid")
    usual = (gate, candidate) == ("sigmoid", "tanh")
    if kind == "LSTM":
        return LSTM() if usual else ActivatedLSTM(gate=gate, candidate=candidate, output=candidate)
    reset = "after" if config.get("reset_after", True) else "before"
    return GRU("carry", reset) if usual else ActivatedGRU(reset=reset, gate=gate, candidate=candidate)


def _activation(layer: KerasLayer, config: Mapping[str, Any], option: str, default: str) -> str:
    """Our spelling of an activation."""
    name = config.get(option, default)
    if name is None:
        name = "linear"
    if name == "hard_sigmoid" and layer.version.split(".")[0] in ("1", "2"):
        return HARD_SIGMOID_BEFORE
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"{layer.where}: {option}: expected one of {', '.join(ACTIVATIONS)}, got {name!r:.60}")
    return ACTIVATIONS[name]


def _parameters(layer: KerasLayer, kind: str, cell: Cell, weights: Sequence[Array]) -> dict[str, Array]:
    """The parameters of a direction from kernel, recurrent kernel and bias."""
    order = GATES[kind]
    inputs = weights[0].shape[0] if weights and weights[0].ndim == 2 else 0
    units = weights[1].shape[0] if len(weights) > 1 else 0
    columns = len(order) * units
    both = kind == "GRU" and cell.options["reset"] == "after"
    shapes: list[tuple[int, ...]] = [(inputs, columns), (units, columns)]
    if has_bias := len(weights) == 3:
        shapes.append((2, columns) if both else (columns,))
    got = [values.shape for values in weights]
    if got != shapes or not units:
        named = "kernel (I, G*H), recurrent_kernel (H, G*H)" + (", bias" if has_bias else "")
        raise ValueError(f"{layer.where}: expected {named} of {kind} = {shapes}, got {got}")
    rows = {"weight_ih": weights[0].T, "weight_hh": weights[1].T}
    if has_bias:
        bias = weights[2]
        rows["bias_ih"], rows["bias_hh"] = bias if both else (bias, np.zeros_like(bias))
    return {name: in_order(values, order, cell) for name, values in rows.items()}
