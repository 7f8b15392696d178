"""The elementary functions that cells are written in.

They are defined here on NumPy arrays. An engine with values of its own (vectors, registers) has its own version of
each, so a cell must call these and not `numpy.tanh` and the like.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .symbol import Symbol


def exp(x: Any) -> Any:
    """e**x."""
    return x.call("exp") if isinstance(x, Symbol) else np.exp(x)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return x.call("tanh") if isinstance(x, Symbol) else np.tanh(x)


def sigmoid(x: Any) -> Any:
    """Logistic function 1 / (1 + e**-x), 0 and 1 in the limits; small results are accurate relative to their size."""
    return x.call("sigmoid") if isinstance(x, Symbol) else 1 / (1 + np.exp(-x))


def relu(x: Any) -> Any:
    """max(x, 0); NaN stays NaN."""
    return x.call("relu") if isinstance(x, Symbol) else np.maximum(x, 0)


def heaviside(x: Any) -> Any:
    """1 where x > 0, else 0; NaN stays NaN. The derivative of `relu`, which `where_positive` applies to a cotangent."""
    return x.call("heaviside") if isinstance(x, Symbol) else np.heaviside(x, 0)


def where_positive(x: Any, value: Any) -> Any:
    """`value`, a number or a value, where x > 0, else 0 whatever `value` is there; NaN where x is NaN.

    It is how the cotangent of a piecewise function is computed: a product with `heaviside(x)` would be NaN where x <= 0
    and the cotangent is infinite.
    """
    return x.where_positive(value) if isinstance(x, Symbol) else np.where(x > 0, value, np.heaviside(x, 0))


def clamp(x: Any, low: float, high: float) -> Any:
    """x limited to [low, high]; NaN stays NaN."""
    return x.call("clamp", low, high) if isinstance(x, Symbol) else np.clip(x, low, high)
