"""Layers that were read from elsewhere, as one network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnncore_kernels.cells import Cell
from rnncore_kernels.contract import Array

if TYPE_CHECKING:
    from ..network import SomeNetwork


class Layer(NamedTuple):
    """A layer of a network to be.

    Attributes:
        where: which one it is, for messages.
        cell: its cell.
        direction: "forward", "reverse" or "bidirectional".
        parameters: of each direction, by their names without an ending.
        dropout, recurrent_dropout: rates of Keras', of what it reads and of its output.
    """

    where: str
    cell: Cell
    direction: str
    parameters: Sequence[dict[str, Array]]
    dropout: float = 0.0
    recurrent_dropout: float = 0.0

    @property
    def hidden_size(self) -> int:
        """H."""
        recurrent = self.parameters[0]["weight_hh"]
        return int(recurrent.shape[1])

    @property
    def input_size(self) -> int:
        """I."""
        return int(self.parameters[0]["weight_ih"].shape[1])

    @property
    def dtype(self) -> str:
        """The dtype of its weights."""
        return self.parameters[0]["weight_ih"].dtype.name


def make_network(kind: type[SomeNetwork], layers: Sequence[Layer], **options: Any) -> SomeNetwork:
    """The network of these layers; ValueError if they are not of one kind. `options` go to the constructor."""
    first = layers[0]
    width = first.hidden_size * len(first.parameters)
    for layer in layers[1:]:
        for what, got, expected in (
            ("the cell", layer.cell, first.cell),
            ("direction", layer.direction, first.direction),
            ("hidden_size", layer.hidden_size, first.hidden_size),
            ("an input as wide as the output of the layer below,", layer.input_size, width),
            ("dtype", layer.dtype, first.dtype),
        ):
            if got != expected:
                raise ValueError(f"{layer.where}: expected {what} {expected!r}, as of {first.where}, got {got!r}")
    rnn = kind(
        first.cell,
        first.input_size,
        first.hidden_size,
        num_layers=len(layers),
        bidirectional=first.direction == "bidirectional",
        bias=any("bias_ih" in each for layer in layers for each in layer.parameters),
        dtype=first.dtype,
        direction="reverse" if first.direction == "reverse" else "forward",
        **options,
    )
    # A layer without biases, among others that have some, has zeros.
    values = {name: np.zeros_like(array) for name, array in rnn.state_dict().items() if name.startswith("bias")}
    for number, layer in enumerate(layers):
        for end, each in zip(("", "_reverse"), layer.parameters, strict=False):
            values |= {f"{name}_l{number}{end}": array for name, array in each.items()}
    rnn.load_state_dict(values, convention="rnncore")
    return rnn


def in_order(values: Array, given: str, cell: Cell) -> Array:
    """Rows of weights or biases whose gates stand in the order given, in the order of the cell's gates."""
    by_gate = dict(zip(given, np.split(values, len(given)), strict=True))
    return np.concatenate([by_gate[gate] for gate in cell.gates])


def as_float(values: Array) -> Array:
    """Weights in float32 or float64; those of half precision in float32."""
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)
