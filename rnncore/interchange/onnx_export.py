"""An ONNX model of a network: one node a layer."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore_kernels.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.contract import Array

from ..files import atomic_write
from ..version import __version__
from .activations import parse, spell
from .cells import ActivatedElman, ActivatedGRU, ActivatedLSTM
from .onnx_operators import ACTIVATIONS, GATES, PEEPHOLES

if TYPE_CHECKING:
    from ..network import Network

OPSET, IR_VERSION = 14, 7
"""Versions of the operators and of the format, the oldest that have all that is written here."""

MOST_BYTES = 2**31 - 2**20
"""Size of weights that fits into one file of ONNX's."""


def to_onnx(rnn: Network, path: str | os.PathLike[str] | None, *, state: bool, lengths: bool) -> Any:
    """See `Recurrent.to_onnx`."""
    operator, attributes = _operator(rnn)
    if rnn.zoneout:
        raise ValueError(
            f"to_onnx: zoneout={rnn.zoneout!r} has no counterpart in ONNX, where no state is the mean of what it was "
            f"and would be"
        )
    if rnn.initial_state is not None and not state:
        raise ValueError("to_onnx: expected state=True for a network with an initial_state, which is given in the call")
    if rnn.input_size is None:
        raise ValueError(
            "to_onnx: input_size=None has no counterpart in ONNX, whose operators multiply x by W: make a network with "
            "an input_size, and these weights among its own"
        )
    if sum(values.nbytes for values in rnn.parameters.values()) > MOST_BYTES:
        raise ValueError("to_onnx: expected parameters of less than 2 GiB, which is what a model may be")
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"to_onnx: expected the package onnx: pip install '.[onnx]' ({error})") from error
    model = onnx.helper.make_model(
        _Graph(rnn, operator, attributes, state=state, lengths=lengths).build(),
        producer_name="rnncore",
        producer_version=__version__,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    if path is not None:
        atomic_write(Path(path), model.SerializeToString())
    return model


class _Graph:
    """The graph of a network: nodes, constants, inputs and outputs."""

    def __init__(self, rnn: Network, operator: str, attributes: dict[str, Any], *, state: bool, lengths: bool) -> None:
        self.rnn, self.operator, self.attributes = rnn, operator, attributes
        self._parameters = rnn.parameters.without_heads()
        self.directions = 2 if rnn.bidirectional else 1
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.states = [str(name) for name in rnn.cell.states]
        self.gives_state, self.gives_lengths = state, lengths

    def build(self) -> Any:
        """The graph."""
        from onnx import TensorProto, helper, numpy_helper

        rnn, of = self.rnn, TensorProto.FLOAT if self.rnn.dtype == np.float32 else TensorProto.DOUBLE
        sequence = ["B", "T"] if rnn.batch_first else ["T", "B"]
        depth, width = rnn.num_layers * self.directions, self.directions * rnn.hidden_size
        inputs = [helper.make_tensor_value_info("x", of, [*sequence, rnn.input_size])]
        outputs = [helper.make_tensor_value_info("output", of, [*sequence, width])]
        if self.gives_lengths:
            inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]))
        for name in self.states:
            outputs.append(helper.make_tensor_value_info(name, of, [depth, "B", rnn.hidden_size]))
            if self.gives_state:
                inputs.append(helper.make_tensor_value_info(f"{name}_0", of, [depth, "B", rnn.hidden_size]))
                parts = [f"{name}_0_l{layer}" for layer in range(rnn.num_layers)]
                sizes = self._constant(f"{name}_0_sizes", np.full(rnn.num_layers, self.directions, np.int64))
                self._node("Split", [f"{name}_0", sizes], parts, axis=0)
        below = "x"
        if rnn.batch_first:
            below = self._node("Transpose", ["x"], ["x_time_first"], perm=[1, 0, 2])
        for layer in range(rnn.num_layers):
            below = self._layer(layer, below)
        if rnn.batch_first:
            self._node("Transpose", [below], ["output"], perm=[1, 0, 2])
        for name in self.states:
            self._node("Concat", [f"{name}_l{layer}" for layer in range(rnn.num_layers)], [name], axis=0)
        constants = [numpy_helper.from_array(values, name) for name, values in self.constants.items()]
        return helper.make_graph(self.nodes, "rnncore", inputs, outputs, constants)

    def _layer(self, layer: int, below: str) -> str:
        """The nodes of a layer; the name of its output, (T, B, D*H)."""
        rnn, at = self.rnn, f"_l{layer}"
        weights = {name: self._constant(f"{name}{at}", values) for name, values in self._weights(layer).items()}
        names = [weights.get(name, "") for name in ("W", "R", "B")]
        names.append("lengths" if self.gives_lengths else "")
        names += [f"{name}_0{at}" if self.gives_state else "" for name in self.states]
        names += [weights[name] for name in ("P",) if name in weights]
        finals = [f"{name}{at}" for name in self.states]
        direction = "bidirectional" if rnn.bidirectional else rnn.direction
        options = {"hidden_size": rnn.hidden_size, "direction": direction, **self.attributes}
        self._node(self.operator, [below, *names], [f"Y{at}", *finals], name=f"layer_{layer}", **options)
        # (T, D, B, H) to (T, B, D*H).
        self._node("Transpose", [f"Y{at}"], [f"transposed{at}"], perm=[0, 2, 1, 3])
        shape = self._constant("side_by_side", np.array([0, 0, -1], np.int64))
        last = layer == rnn.num_layers - 1 and not rnn.batch_first
        return self._node("Reshape", [f"transposed{at}", shape], ["output" if last else f"output{at}"])

    def _weights(self, layer: int) -> dict[str, Array]:
        """What the node of a layer reads of W, R, B and P, with the rows in the operator's order of gates."""
        rnn, hidden = self.rnn, self.rnn.hidden_size
        ends = ("", "_reverse")[: self.directions]
        mirrored = isinstance(rnn.cell, GRU) and rnn.cell.update == "candidate"

        def stacked(*names: str) -> Array:
            return np.stack([np.concatenate([rows(f"{name}_l{layer}{end}") for name in names]) for end in ends])

        def rows(name: str) -> Array:
            values = self._parameters[name]
            by_gate: dict[str, Array] = dict(zip(rnn.cell.gates, np.split(values, len(rnn.cell.gates)), strict=True))
            if mirrored:
                # 1 - sigmoid(a) is sigmoid(-a): the operator's update gate weighs the other part of the new state.
                by_gate["z"] = -by_gate["z"]
            # A coupled forget gate has no weights; the operator ignores what stands in their place.
            zeros: Array = np.zeros_like(values[:hidden])
            return np.concatenate([by_gate.get(gate, zeros) for gate in GATES[self.operator]])

        weights = {"W": stacked("weight_ih"), "R": stacked("weight_hh")}
        if rnn.bias:
            weights["B"] = stacked("bias_ih", "bias_hh")
        if "peephole_o" in rnn.cell.units:
            named, zeros = self._parameters, np.zeros(hidden, rnn.dtype)
            seen = [[named.get(f"peephole_{gate}_l{layer}{end}", zeros) for gate in PEEPHOLES] for end in ends]
            weights["P"] = np.stack([np.concatenate(each) for each in seen])
        return weights

    def _constant(self, name: str, values: Array) -> str:
        self.constants[name] = values
        return name

    def _node(self, operator: str, inputs: list[str], outputs: list[str], **options: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, outputs, **options))
        return outputs[0]


def _operator(rnn: Network) -> tuple[str, dict[str, Any]]:
    """The operator of a network's cell, and its attributes; ValueError if there is none."""
    cell: Any = rnn.cell
    options: dict[str, Any] = {}
    if type(cell) in (LSTM, ActivatedLSTM) and getattr(cell, "projection", None) is None:
        options["input_forget"] = int(cell.coupled)
        operator, activations = "LSTM", _of(cell, "gate", "candidate", "output")
    elif type(cell) in (GRU, ActivatedGRU):
        options["linear_before_reset"] = int(cell.reset == "after")
        operator, activations = "GRU", _of(cell, "gate", "candidate")
    elif type(cell) in (Elman, ActivatedElman):
        operator, activations = "RNN", [cell.activation]
    else:
        raise ValueError(
            f"to_onnx: {cell!r} has no counterpart in ONNX, which has RNN, GRU, and LSTM without a projection"
        )
    if activations:
        options |= _activations(cell, [spell("affine", 1, 0) if a == "identity" else a for a in activations])
        for name in set(options) & {"activations", "activation_alpha", "activation_beta"}:
            options[name] *= 2 if rnn.bidirectional else 1
    if getattr(cell, "clip", None) is not None:
        options["clip"] = cell.clip
    return operator, {name: value for name, value in options.items() if value != 0}


def _of(cell: Cell, *options: str) -> list[str]:
    """Activations of a cell that has a choice of them."""
    return [getattr(cell, option) for option in options if hasattr(cell, option)]


def _activations(cell: Cell, spellings: Iterable[str]) -> dict[str, Any]:
    """The attributes that name activations."""
    theirs = {activation.ours: name for name, activation in ACTIVATIONS.items()}
    names, alphas, betas = [], [], []
    for spelling in spellings:
        ours, numbers = parse(spelling)
        if ours not in theirs:
            raise ValueError(f"to_onnx: {cell!r} has no counterpart in ONNX, which has no activation {ours}")
        names.append(theirs[ours])
        alphas += numbers[:1]
        betas += numbers[1:]
    attributes: dict[str, Any] = {"activations": names}
    return attributes | ({"activation_alpha": alphas} if alphas else {}) | ({"activation_beta": betas} if betas else {})
