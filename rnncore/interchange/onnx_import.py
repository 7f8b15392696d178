"""A network of the weights of recurrent nodes of an ONNX model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore_kernels.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.contract import Array

from .activations import spell
from .cells import ActivatedElman, ActivatedGRU, ActivatedLSTM
from .layers import Layer, as_float, in_order, make_network
from .onnx_nodes import Node, find_nodes, load_model, recurrent_nodes
from .onnx_operators import ACTIVATIONS, ATTRIBUTES, DEFAULTS, GATES, PEEPHOLES

if TYPE_CHECKING:
    from ..network import Network, SomeNetwork


def from_onnx(
    kind: type[SomeNetwork], model: Any, node: Any, *, batch_first: bool | None, **options: Any
) -> SomeNetwork:
    """See `Recurrent.from_onnx`."""
    nodes = find_nodes(recurrent_nodes(load_model(model)), node)
    if batch_first is None:
        batch_first = nodes[0].attributes.get("layout", 0) == 1
    rnn = make_network(kind, [_layer(each) for each in nodes], batch_first=batch_first, **options)
    _keep_constants(rnn, nodes)
    return rnn


def _cell(node: Node) -> Cell:
    """The cell that computes as the node does; one of the library's where there is one."""
    for name in node.attributes:
        if name not in ATTRIBUTES:
            raise ValueError(f"{node.where}: expected attributes among {', '.join(ATTRIBUTES)}, got {name}")
    attributes, activations = node.attributes, _activations(node)
    clip = attributes.get("clip", 0.0) or None
    usual = clip is None and activations == [ACTIVATIONS[name].ours for name in DEFAULTS[node.operator]]
    if node.operator == "RNN":
        (activation,) = activations
        if clip is None and activation in ("tanh", "relu", "sigmoid", "identity"):
            return Elman(activation)
        return ActivatedElman(activation=activation, clip=clip)
    if node.operator == "GRU":
        reset, (gate, candidate) = "after" if attributes.get("linear_before_reset", 0) else "before", activations
        return GRU("carry", reset) if usual else ActivatedGRU(reset=reset, gate=gate, candidate=candidate, clip=clip)
    coupled, peephole = bool(attributes.get("input_forget", 0)), bool(node.read_name("P"))
    if usual:
        return LSTM(peephole=peephole, coupled=coupled)
    gate, candidate, output = activations
    return ActivatedLSTM(peephole=peephole, coupled=coupled, gate=gate, candidate=candidate, output=output, clip=clip)


def _activations(node: Node) -> list[str]:
    """Our spellings of the activations of one direction, which those of the other must be."""
    count, directions = len(DEFAULTS[node.operator]), _directions(node)
    given = [_text(name) for name in node.attributes.get("activations", ())] or [*DEFAULTS[node.operator]] * directions
    numbers = [iter(node.attributes.get(f"activation_{which}", ())) for which in ("alpha", "beta")]
    # Their names have no case.
    known, spellings = {name.lower(): activation for name, activation in ACTIVATIONS.items()}, []
    for name in given:
        if name.lower() not in known:
            raise ValueError(f"{node.where}: activations: expected some of {', '.join(ACTIVATIONS)}, got {name!r}")
        ours, defaults = known[name.lower()]
        # As ONNX Runtime does: only activations that have an alpha or a beta consume one.
        values = [next(each, default) for each, default in zip(numbers, defaults, strict=False)]
        chosen = [value for value in values if value is not None]
        if len(chosen) < len(values):
            raise ValueError(f"{node.where}: activations: expected {name} with activation_alpha and activation_beta")
        spelling = spell(ours, *chosen)
        spellings.append("identity" if spelling == spell("affine", 1, 0) else spelling)
    if len(given) != count * directions:
        raise ValueError(f"{node.where}: activations: expected {count * directions} of them, got {', '.join(given)}")
    if spellings[:count] * directions != spellings:
        raise ValueError(
            f"{node.where}: activations: expected the same for both directions, got {', '.join(spellings)}: each could "
            f"be a network of its own"
        )
    return spellings[:count]


def _layer(node: Node) -> Layer:
    """The node as a layer."""
    cell, directions, hidden, order = _cell(node), _directions(node), _hidden(node), GATES[node.operator]
    rows = len(order) * hidden
    arrays: dict[str, Array] = {
        "weight_ih": node.weights("W", (directions, rows, None)),
        "weight_hh": node.weights("R", (directions, rows, hidden)),
    }
    if node.read_name("B"):
        arrays["bias_ih"], arrays["bias_hh"] = np.split(node.weights("B", (directions, 2 * rows)), 2, axis=1)
    parameters = []
    for direction in range(directions):
        each = {name: in_order(values[direction], order, cell) for name, values in arrays.items()}
        if node.read_name("P"):
            parts = np.split(node.weights("P", (directions, 3 * hidden))[direction], 3)
            peepholes = {f"peephole_{gate}": part for gate, part in zip(PEEPHOLES, parts, strict=True)}
            each |= {name: values for name, values in peepholes.items() if name in cell.units}
        parameters.append(each)
    return Layer(node.where, cell, _direction(node), parameters)


def _keep_constants(rnn: Network, nodes: Sequence[Node]) -> None:
    """Let the network begin with the initial states that are constants, and say which lengths are."""
    for node in nodes:
        if (lengths := node.constant("sequence_lens")) is not None:
            warnings.warn(
                f"{node.where}: its sequence_lens are the constant {lengths.tolist()}: pass lengths={lengths.tolist()} "
                f"in each call",
                stacklevel=4,
            )
    states = [[_initial(node, f"initial_{name}") for node in nodes] for name in rnn.cell.states]
    batch = max([values.shape[1] for parts in states for values in parts if values is not None], default=1)
    shape = (_directions(nodes[0]), batch, rnn.hidden_size)
    own = [
        np.concatenate([np.broadcast_to(0 if values is None else values, shape) for values in parts]).astype(rnn.dtype)
        for parts in states
    ]
    if any(values.any() for values in own):
        same = all((values == values[:, :1]).all() for values in own)
        named = zip(rnn.cell.states, own, strict=True)
        rnn._begin_with({f"{name}_0": values[:, 0] if same else values for name, values in named})


def _initial(node: Node, which: str) -> Array | None:
    """A constant initial state of a node, (D, B, H); None where it has none."""
    values = node.constant(which)
    if values is None:
        return None
    values = as_float(values.swapaxes(0, 1) if node.attributes.get("layout", 0) == 1 else values)
    expected = (_directions(node), values.shape[1] if values.ndim == 3 else 0, _hidden(node))
    if values.shape != expected:
        raise ValueError(f"{node.where}: {which}: expected ({expected[0]}, B, {expected[2]}), got {values.shape}")
    return values


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _direction(node: Node) -> str:
    direction = _text(node.attributes.get("direction", "forward"))
    if direction not in ("forward", "reverse", "bidirectional"):
        raise ValueError(f"{node.where}: direction: expected forward, reverse or bidirectional, got {direction!r}")
    return direction


def _directions(node: Node) -> int:
    return 2 if _direction(node) == "bidirectional" else 1


def _hidden(node: Node) -> int:
    """The attribute, which a model may leave out."""
    recurrent = node.weights("R", (None, None, None))
    return int(node.attributes.get("hidden_size", recurrent.shape[2]))
