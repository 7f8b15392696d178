"""The refusals that layers, loss and batches share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rnncore.errors import describe

Array = NDArray[Any]

DTYPES = ("float32", "float64")


def size(name: str, value: Any) -> int:
    """The value as an integer of at least 1."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer of at least 1, got {describe(value)}")
    if value < 1:
        raise ValueError(f"{name}: expected an integer of at least 1, got {value}")
    return int(value)


def floating(name: str, value: DTypeLike) -> np.dtype[Any]:
    """The dtype, if it is one that networks have."""
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.name not in DTYPES:
        raise ValueError(f"{name}: expected float32 or float64, got {value!r}")
    return dtype


def last_axis(name: str, array: Any, width: int, what: str, dtype: np.dtype[Any]) -> Array:
    """The array, if it is (..., width) of the layer's dtype."""
    if not isinstance(array, np.ndarray) or array.ndim == 0 or array.shape[-1] != width:
        raise ValueError(f"{name}: expected an array (..., {what}={width}), got {describe(array)}")
    if array.dtype != dtype:
        raise TypeError(f"{name}: expected {dtype}, got {array.dtype}; convert it with .astype({dtype.name!r})")
    return array


def same_shape(name: str, array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """The array, if it has this shape and dtype."""
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise ValueError(f"{name}: expected an array {shape}, got {describe(array)}")
    if array.dtype != dtype:
        raise TypeError(f"{name}: expected {dtype}, got {array.dtype}; convert it with .astype({dtype.name!r})")
    return array


def codes(name: str, values: Any, count: int, least: int = 0) -> Array:
    """The values as an array of integers from `least` to count - 1."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers from {least} to {count - 1}, got {describe(values)}")
    if array.size and not least <= int(array.min()) <= int(array.max()) < count:
        raise ValueError(
            f"{name}: expected integers from {least} to {count - 1}, got some from {array.min()} to {array.max()}"
        )
    return array
