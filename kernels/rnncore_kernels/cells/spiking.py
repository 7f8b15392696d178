"""Spiking cells: the output of a step is 0 or 1, and a surrogate stands for the derivative."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .cell import Cell, check_number, without_sizes
from .functions import abs as magnitude
from .functions import heaviside, sigmoid


@without_sizes
@dataclass(frozen=True, repr=False, kw_only=True)
class LIF(Cell):
    """F. Zenke, S. Ganguli, SuperSpike, Neural Computation 30 (2018), arXiv:1705.11146.

    A leaky integrate-and-fire neuron: the membrane v keeps sigmoid(decay) of itself, a spike takes `threshold` from it
    at the next step. The surrogate is 1 / (1 + slope |v - threshold|)^2.
    """

    threshold: float = 1.0
    slope: float = 10.0
    states, gates, units = "s v", "a", "decay"
    initial = MappingProxyType({"decay": 2.0})

    def __post_init__(self) -> None:
        for option in ("threshold", "slope"):
            check_number("LIF", option, getattr(self, option), above=0)

    def step(self, s: Any, v: Any, a: Any, decay: Any) -> Any:
        v = sigmoid(decay) * v + a - self.threshold * s
        return heaviside(v - self.threshold, surrogate=lambda u: 1 / (1 + self.slope * magnitude(u)) ** 2), v
