"""The functions that cells are written in, on the symbols that `step` is called with and on Python numbers.

Engines compute them within 4 units in the last place; NaN propagates. Gradients select where a function has pieces:
0 times an infinite cotangent would be NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .symbol import HIDDEN, ROW, Condition, Graph, Symbol, number, width_name


def exp(x: Any) -> Symbol:
    """e**x."""
    return _elementwise("exp", x)


def log(x: Any) -> Symbol:
    """The natural logarithm; -inf at 0, NaN below."""
    return _elementwise("log", x)


def sqrt(x: Any) -> Symbol:
    """The square root; NaN below 0."""
    return _elementwise("sqrt", x)


def tanh(x: Any) -> Symbol:
    """Hyperbolic tangent."""
    return _elementwise("tanh", x)


def sigmoid(x: Any) -> Symbol:
    """Logistic function 1 / (1 + e**-x); small results are accurate relative to their size."""
    return _elementwise("sigmoid", x)


def log_sigmoid(x: Any) -> Symbol:
    """log(sigmoid(x)), without overflow."""
    return _elementwise("log_sigmoid", x)


def softplus(x: Any) -> Symbol:
    """log(1 + e**x), without overflow."""
    return _elementwise("softplus", x)


def relu(x: Any) -> Symbol:
    """max(x, 0), with the gradient 0 at 0."""
    return _elementwise("relu", x)


def silu(x: Any) -> Symbol:
    """x sigmoid(x)."""
    return _elementwise("silu", x)


def abs(x: Any) -> Symbol:
    """The absolute value, with the gradient 0 at 0."""
    return _elementwise("abs", x)


def sin(x: Any) -> Symbol:
    """Sine."""
    return _elementwise("sin", x)


def cos(x: Any) -> Symbol:
    """Cosine."""
    return _elementwise("cos", x)


def maximum(a: Any, b: Any) -> Symbol:
    """The greater of two values; the gradient goes to `a` where they are equal."""
    return _graph("maximum", a, b).apply("maximum", a, b)


def minimum(a: Any, b: Any) -> Symbol:
    """The lesser of two values; the gradient goes to `a` where they are equal."""
    return _graph("minimum", a, b).apply("minimum", a, b)


def clamp(x: Any, low: float, high: float) -> Symbol:
    """x limited to [low, high], two Python numbers."""
    low, high = number("clamp", low), number("clamp", high)
    return _graph("clamp", x).apply("clamp", x, low, high)


def where(condition: Any, x: Any, y: Any) -> Symbol:
    """x where the condition is true, else y: `where(a > b, x, y)`, with > >= < or <=; no gradient goes to a and b."""
    if not isinstance(condition, Condition):
        raise TypeError(f"where: expected a comparison a > b as the condition, got {condition!r:.60}")
    return condition.graph.apply(condition.operation, condition.left, condition.right, x, y)


def heaviside(v: Any, surrogate: Callable[[Any], Any] | None = None) -> Symbol:
    """1 where v > 0, else 0.

    Its gradient is d * surrogate(v), a function of your own as spiking networks use, or 0 without one.
    """
    graph = _graph("heaviside", v)
    if surrogate is not None and not callable(surrogate):
        raise TypeError(f"heaviside: surrogate: expected a function of v, got {surrogate!r:.60}")
    extra = None if surrogate is None else graph.symbol("heaviside: surrogate", surrogate(v))
    if extra is not None and extra.width not in (v.width, ROW):
        got = width_name(extra.width)
        raise TypeError(f"heaviside: surrogate: expected {width_name(v.width)}, as of v, got {got}")
    return graph.node("heaviside", v, width=v.width, extra=extra)


def total(v: Any) -> Symbol:
    """The sum over the units of a row."""
    graph = _graph("total", v)
    if v.width == ROW:
        raise TypeError("total: expected a value with units, got one number a row")
    return graph.node("total", v, width=ROW)


def mean(v: Symbol) -> Symbol:
    """The mean over the units of a row."""
    mean_of_units: Symbol = total(v) * inverse_size(v)
    return mean_of_units


def inverse_size(v: Symbol) -> Any:
    """1 / the number of units of a value."""
    return v.graph.node("inverse_size", width=ROW) if v.width == HIDDEN else 1 / v.width


def layer_norm(v: Symbol, gain: Any = 1.0, shift: Any = None, eps: float = 1e-5) -> Symbol:
    """(v - mean) / sqrt(variance + eps) * gain + shift over the units of a row; `shift` None is none.

    J. L. Ba, J. R. Kiros, G. E. Hinton, Layer Normalization, 2016, arXiv:1607.06450.
    """
    centred = v - mean(v)
    normalized: Symbol = centred * (1 / sqrt(mean(centred * centred) + eps)) * gain
    return normalized if shift is None else normalized + shift


def project(name: str, v: Any, width: int | None = None) -> Symbol:
    """The product of a value with a matrix of its own, the parameter `weight_<name>_l{k}` of (width, units of v).

    `width` None is the hidden size. There is no bias.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise TypeError(f"project: expected a name for the matrix, an identifier, got {name!r}")
    graph = _graph("project", v)
    if name in ("ih", "hh"):
        raise TypeError(f"project: the name {name!r} is that of the gates' weights: choose another")
    if width is not None and (type(width) is not int or width < 1):
        raise TypeError(f"project: width: expected a whole number of at least 1, or None, got {width!r}")
    if v.width == ROW:
        raise TypeError(f"project: {name}: expected a value with units, got one number a row")
    if name in graph.projections:
        raise TypeError(f"project: expected a name for each matrix, got {name!r} twice")
    units = HIDDEN if width is None else width
    graph.projections[name] = (units, v.width)
    return graph.node("project", name, v, width=units)


def observe(name: str, v: Symbol) -> Symbol:
    """The value itself, with a name under which `Recurrent.observe` returns it."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"observe: expected a name, got {name!r}")
    graph = _graph("observe", v)
    if graph.observed.setdefault(name, v) is not v:
        raise TypeError(f"observe: expected a name for each value, got {name!r} twice")
    return v


def _elementwise(operation: str, x: Any) -> Symbol:
    return _graph(operation, x).apply(operation, x)


def _graph(who: str, *values: Any) -> Graph:
    for value in values:
        if isinstance(value, Symbol):
            return value.graph
    got = ", ".join(f"{type(v).__name__} {v!r:.40}" for v in values)
    raise TypeError(f"{who}: expected a value of a cell's step, got {got}: it computes no numbers or arrays")


__all__ = [
    "abs", "clamp", "cos", "exp", "heaviside", "layer_norm", "log", "log_sigmoid", "maximum", "mean", "minimum",
    "observe", "project", "relu", "sigmoid", "silu", "sin", "softplus", "sqrt", "tanh", "total", "where",
]  # fmt: skip
