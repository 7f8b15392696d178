"""Elman's simple recurrent network: h_t = act(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

J. L. Elman, Finding Structure in Time, Cognitive Science 14 (1990).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .cell import Cell, check_option, without_sizes
from .functions import relu, sigmoid, tanh

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": tanh,
    "relu": relu,
    "sigmoid": sigmoid,
    "identity": lambda a: a,
}


@without_sizes
@dataclass(frozen=True, repr=False)
class Elman(Cell):
    """The Elman cell, h_t = act(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    Args:
        activation: "tanh", "relu", "sigmoid" or "identity".

    Raises:
        ValueError: the activation is none of these.
        TypeError: sizes are given, which a network of the cell has.
    """

    activation: str = "tanh"

    states, gates = "h", "a"

    def __post_init__(self) -> None:
        check_option("Elman", "activation", self.activation, tuple(ACTIVATIONS))

    def step(self, a: Any) -> Any:
        return ACTIVATIONS[self.activation](a)
