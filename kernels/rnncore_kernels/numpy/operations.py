"""The operations of a cell's code on arrays, and the code as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..codegen.philox import BITS, philox
from ..program.program import ARITHMETIC, KINDS, Code, Place

Values = dict[Place, Any]
"""Values of a step by kind and number, see `program.program`."""


def sigmoid(x: Any) -> Any:
    """1 / (1 + e**-x); e**-|x| cannot overflow, so that small results are right, too."""
    power = np.exp(-np.abs(x))
    return np.where(x < 0, power, 1) / (1 + power)


def uniform(use: float, word: float, *counter_and_key: Any) -> Any:
    """See `codegen.functions.uniform`."""
    unit, row, step, *key = (_integers(values) for values in counter_and_key)
    drawn = philox((unit, row, step, int(use)), key)[int(word)]
    return (drawn >> (32 - BITS)).astype(counter_and_key[0].dtype) * 2.0**-BITS


def _integers(values: Any) -> Any:
    """The bits of an array as integers; a number as one."""
    if isinstance(values, float):
        return int(values)
    return np.ascontiguousarray(values).view(f"u{values.itemsize}").astype(np.uint64)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "number": lambda number: number,
    **ARITHMETIC,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "log_sigmoid": lambda x: -np.logaddexp(0, -x),
    "softplus": lambda x: np.logaddexp(0, x),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: np.maximum(x, -1e4) * sigmoid(x),  # -0 at -infinity
    "abs": np.abs,
    "sin": np.sin,
    "cos": np.cos,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "clamp": np.clip,
    "heaviside": lambda x: np.heaviside(x, 0),
    "where_positive": lambda x, value: np.where(x > 0, value, np.heaviside(x, 0)),
    "where_greater": lambda a, b, x, y: np.where(a > b, x, y),
    "where_greater_equal": lambda a, b, x, y: np.where(a >= b, x, y),
    "uniform": uniform,
}
"""By name; arguments are arrays and Python numbers, which take the arrays' dtype."""


def compute(code: Code, values: Values, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
    """Add the results of code to the values of a step, as arrays of a shape."""
    done: list[Any] = []
    values["index", 0] = np.arange(shape[1], dtype=f"u{dtype.itemsize}").view(dtype)
    for operation, arguments in code.nodes:
        if operation in KINDS:
            done.append(values[operation, int(arguments[0])])
        else:
            done.append(OPERATIONS[operation](*(done[a] if isinstance(a, int) else a for a in arguments)))
    for kind, index, node in code.outputs:
        value = done[node]
        values[kind, index] = value if np.shape(value) == shape else np.broadcast_to(np.asarray(value, dtype), shape)
