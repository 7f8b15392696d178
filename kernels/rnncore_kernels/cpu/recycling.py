"""Large memory that is used again: the system takes milliseconds to hand out and clear what a training step keeps."""

from __future__ import annotations

import math
import os
import threading
from typing import Any

import numpy as np

from ..contract import Array
from .memory import aligned

LEAST_BYTES = 1 << 20
MOST_BYTES = 1 << 28
"""Memory that is kept for the next call, in all."""

_free: list[Array] = []
_lock = threading.RLock()


class Memory:
    """An aligned, uninitialised array of at least `size` bytes, kept for others when nobody refers to this object.

    Attributes:
        array: the bytes.
    """

    __slots__ = ("array",)

    def __init__(self, size: int) -> None:
        self.array = _take(size)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self.array.__array_interface__

    def __del__(self) -> None:
        if not hasattr(self, "array"):
            return  # there was not enough memory
        if LEAST_BYTES <= self.array.size <= MOST_BYTES:
            # Re-entrant: collecting garbage inside `with` may come here again.
            with _lock:
                _free.append(self.array)
                while sum(array.size for array in _free) > MOST_BYTES:
                    _free.pop(0)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An uninitialised array whose memory is kept for others, if it is large, when nobody refers to it or a view."""
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST_BYTES:
        return np.empty(shape, dtype)
    # NumPy's arrays refer to the object that they were made of.
    return np.asarray(Memory(size))[:size].view(dtype).reshape(shape)


def _take(size: int) -> Array:
    if size >= LEAST_BYTES:
        with _lock:
            for index, array in enumerate(_free):
                if size <= array.size <= 2 * size:
                    return _free.pop(index)
    return aligned(size)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
