"""Memory that is used again: the system takes as long to hand out and clear what a training step keeps as it takes to
fill it, and the C library gives back to it whatever is large or lies at the end.
"""

from __future__ import annotations

import math
import os
import threading
from typing import Any

import numpy as np

from ..contract import Array
from .memory import aligned

LEAST_BYTES = 1 << 17
"""Less is the C library's: its free memory goes back to the system from that size on."""

MOST_BYTES = 1 << 28
"""Memory that is kept for the next call, in all."""


class Memory:
    """An aligned, uninitialised array of at least `size` bytes, kept for others when nobody refers to this object.

    Attributes:
        array: the bytes.
    """

    __slots__ = ("array",)

    def __init__(self, size: int) -> None:
        self.array = _free.take(size)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self.array.__array_interface__

    def __del__(self) -> None:
        if hasattr(self, "array"):  # there was enough memory
            _free.keep(self.array)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An uninitialised array whose memory is kept for others, if it is large, when nobody refers to it or a view."""
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST_BYTES:
        return np.empty(shape, dtype)
    # NumPy's arrays refer to the object that they were made of.
    return np.asarray(Memory(size))[:size].view(dtype).reshape(shape)


class Free:
    """Memory that nobody uses now.

    Attributes:
        arrays: the memory, by its size; the size that was kept last stands last.
        size: of all of it, in bytes.
    """

    def __init__(self) -> None:
        self.arrays: dict[int, list[Array]] = {}
        self.size = 0
        # Collecting garbage, which may happen anywhere below, gives more; whoever has the lock puts it in its place.
        self._given: list[Array] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> Array:
        """Memory of at least so many bytes, used before or new."""
        if size < LEAST_BYTES:
            return aligned(size)
        # In steps of at most an eighth, so that memory fits what is a little smaller, too.
        step = 1 << (size.bit_length() - 4)
        size = -(-size // step) * step
        if self._lock.acquire(blocking=False):
            try:
                self._place_given()
                if size in self.arrays:
                    return self._remove(size, -1)
            finally:
                self._lock.release()
        return aligned(size)

    def keep(self, array: Array) -> None:
        """Keep it for whoever takes as much next, and forget the size kept longest ago if it is too much in all."""
        if not LEAST_BYTES <= array.size <= MOST_BYTES:
            return
        self._given.append(array)
        if self._lock.acquire(blocking=False):
            try:
                self._place_given()
            finally:
                self._lock.release()

    def _place_given(self) -> None:
        while self._given:
            array = self._given.pop(0)
            arrays = self.arrays.pop(array.size, [])
            arrays.append(array)
            self.arrays[array.size] = arrays
            self.size += array.size
            while self.size > MOST_BYTES:
                self._remove(next(iter(self.arrays)), 0)

    def _remove(self, size: int, index: int) -> Array:
        array = self.arrays[size].pop(index)
        if not self.arrays[size]:
            del self.arrays[size]
        self.size -= size
        return array


_free = Free()


def _after_fork() -> None:
    global _free
    _free = Free()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
