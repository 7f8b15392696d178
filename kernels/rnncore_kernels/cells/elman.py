"""Elman's simple recurrent network: h_t = act(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

J. L. Elman, Finding Structure in Time, Cognitive Science 14 (1990).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .cell import Cell, Stage, Values, check_option, chosen_stages, without_sizes
from .functions import relu, sigmoid, tanh, where_positive


def _stage(act: Callable[[Any], Any], pullback: Callable[[Any, Any], Any]) -> Stage:
    """The one stage of a cell with activation `act`; `pullback(dh, h)` is dh act'(a), by the value h = act(a)."""

    def forward(pre: Values, state: Values) -> tuple[Values, Values]:
        return (act(pre[0]),), ()

    def backward(grad: Values, kept: Values, state: Values, new_state: Values) -> tuple[Values, Values]:
        return (pullback(grad[0], new_state[0]),), (None,)

    return Stage(("h",), forward, backward)


def tanh_pullback(dh: Any, h: Any) -> Any:
    return dh * (1 - h * h)


def relu_pullback(dh: Any, h: Any) -> Any:
    return where_positive(h, dh)


def sigmoid_pullback(dh: Any, h: Any) -> Any:
    return dh * h * (1 - h)


def identity(a: Any) -> Any:
    return a


def identity_pullback(dh: Any, h: Any) -> Any:
    return dh


STAGES = {
    "tanh": _stage(tanh, tanh_pullback),
    "relu": _stage(relu, relu_pullback),
    "sigmoid": _stage(sigmoid, sigmoid_pullback),
    "identity": _stage(identity, identity_pullback),
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
    stages: tuple[Stage, ...] = chosen_stages()

    name = "elman"
    states = ("h",)

    def __post_init__(self) -> None:
        check_option("Elman", "activation", self.activation, tuple(STAGES))
        object.__setattr__(self, "stages", (STAGES[self.activation],))
