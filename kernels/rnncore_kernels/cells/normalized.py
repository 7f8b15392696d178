"""LSTM and GRU with layer normalisation: J. L. Ba, J. R. Kiros, G. E. Hinton, 2016, arXiv:1607.06450.

As in equation 4 of the paper, a gate's summed inputs are normalised over its units, with a gain and a shift for
each unit; biases are in that sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .cell import Cell, without_sizes
from .functions import layer_norm, sigmoid, tanh


def _parameters(gates: str) -> dict[str, float]:
    """The gain and shift of each sum, and the numbers that they begin with."""
    return {f"{kind}_{gate}": start for gate in gates for kind, start in (("gain", 1.0), ("shift", 0.0))}


@without_sizes
@dataclass(frozen=True, repr=False)
class LayerNormLSTM(Cell):
    """The LSTM with its gates normalised, and its cell where the output reads it (`gain_c` and `shift_c`)."""

    name = "layernorm_lstm"
    states, gates = "h c", "i f g o"
    initial = _parameters("ifgoc")
    units = tuple(initial)

    def step(
        self, c: Any, i: Any, f: Any, g: Any, o: Any, gain_i: Any, gain_f: Any, gain_g: Any, gain_o: Any, gain_c: Any,
        shift_i: Any, shift_f: Any, shift_g: Any, shift_o: Any, shift_c: Any,
    ) -> Any:  # fmt: skip
        i, f = sigmoid(layer_norm(i, gain_i, shift_i)), sigmoid(layer_norm(f, gain_f, shift_f))
        c = f * c + i * tanh(layer_norm(g, gain_g, shift_g))
        return sigmoid(layer_norm(o, gain_o, shift_o)) * tanh(layer_norm(c, gain_c, shift_c)), c


@without_sizes
@dataclass(frozen=True, repr=False)
class LayerNormGRU(Cell):
    """The GRU (reset after, update of the candidate) with r, z and both parts of n normalised (x and h)."""

    name = "layernorm_gru"
    states, gates = "h", "r z n"
    initial = _parameters("rzxh")
    units = tuple(initial)

    def step(
        self, h: Any, r: Any, z: Any, n: Any, gain_r: Any, gain_z: Any, gain_x: Any, gain_h: Any,
        shift_r: Any, shift_z: Any, shift_x: Any, shift_h: Any,
    ) -> Any:  # fmt: skip
        r, z = sigmoid(layer_norm(r, gain_r, shift_r)), sigmoid(layer_norm(z, gain_z, shift_z))
        n = tanh(layer_norm(n.x, gain_x, shift_x) + r * layer_norm(n.h, gain_h, shift_h))
        return (1 - z) * h + z * n
