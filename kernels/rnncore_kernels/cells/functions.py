"""The elementary functions that cells are written in.

Each is defined here on NumPy arrays and Python floats. An engine that compiles cells replaces them, by name,
with its own version for the values it works on (vectors, registers), so a cell must call these and not
`numpy.tanh` and the like.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def exp(x: Any) -> Any:
    """e**x."""
    return np.exp(x)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return np.tanh(x)


def sigmoid(x: Any) -> Any:
    """Logistic function 1 / (1 + e**-x); exact 0 and 1 in the limits, small values keep their relative accuracy."""
    return 1 / (1 + np.exp(-x))


def relu(x: Any) -> Any:
    """max(x, 0); NaN stays NaN."""
    return np.maximum(x, 0)


def heaviside(x: Any) -> Any:
    """1 where x > 0, else 0; NaN stays NaN. The derivative of `relu`."""
    return np.heaviside(x, 0)


def clamp(x: Any, low: float, high: float) -> Any:
    """x limited to [low, high]; NaN stays NaN."""
    return np.clip(x, low, high)
