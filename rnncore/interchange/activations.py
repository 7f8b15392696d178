"""Activations of ONNX and Keras, by the spelling that cells have as an option: `tanh`, `leaky_relu(0.3)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rnncore_kernels.cells.functions import abs as absolute
from rnncore_kernels.cells.functions import (
    clamp,
    exp,
    log_sigmoid,
    minimum,
    relu,
    sigmoid,
    silu,
    softplus,
    tanh,
    where,
)

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


class Activation(NamedTuple):
    """An activation function.

    Attributes:
        parameters: how many numbers it takes beside x.
        compute: the function of x and these.
    """

    parameters: int
    compute: Callable[..., Any]


def _elu(x: Any, alpha: float) -> Any:
    # No exponential overflows where another piece is taken.
    return where(x >= 0, x, alpha * (exp(minimum(x, 0)) - 1))


ACTIVATIONS = {
    "tanh": Activation(0, tanh),
    "sigmoid": Activation(0, sigmoid),
    "relu": Activation(0, relu),
    "identity": Activation(0, lambda x: x),
    "affine": Activation(2, lambda x, alpha, beta: alpha * x + beta),
    "leaky_relu": Activation(1, lambda x, alpha: where(x >= 0, x, alpha * x)),
    "thresholded_relu": Activation(1, lambda x, alpha: where(x >= alpha, x, 0)),
    "scaled_tanh": Activation(2, lambda x, alpha, beta: alpha * tanh(beta * x)),
    "hard_sigmoid": Activation(2, lambda x, alpha, beta: clamp(alpha * x + beta, 0, 1)),
    "elu": Activation(1, _elu),
    "selu": Activation(0, lambda x: SELU_SCALE * _elu(x, SELU_ALPHA)),
    "softsign": Activation(0, lambda x: x / (1 + absolute(x))),
    "softplus": Activation(0, softplus),
    "silu": Activation(0, silu),
    "log_sigmoid": Activation(0, log_sigmoid),
    "exp": Activation(0, exp),
    "relu6": Activation(0, lambda x: clamp(x, 0, 6)),
}


def spell(name: str, *parameters: float) -> str:
    """The spelling of an activation with its numbers."""
    return f"{name}({', '.join(map(repr, map(float, parameters)))})" if parameters else name


def parse(spelling: Any) -> tuple[str, list[float]]:
    """Name and numbers of a spelling. ValueError begins with `expected`."""
    name, _, rest = str(spelling).partition("(")
    try:
        parameters = [float(part) for part in rest.removesuffix(")").split(",")] if rest else []
    except ValueError:
        parameters = [0.0] * 99
    if name not in ACTIVATIONS or len(parameters) != ACTIVATIONS[name].parameters:
        known = ", ".join(f"{n}({', '.join('ab'[: a.parameters])})".replace("()", "") for n, a in ACTIVATIONS.items())
        raise ValueError(f"expected one of {known}, got {spelling!r}")
    return name, parameters


def activate(spelling: str, x: Any, clip: float | None = None) -> Any:
    """The activation of x, which is first limited to [-clip, clip]."""
    name, parameters = parse(spelling)
    return ACTIVATIONS[name].compute(x if clip is None else clamp(x, -clip, clip), *parameters)
