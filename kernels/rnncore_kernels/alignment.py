"""Where arrays are, and memory that begins at a cache line."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

from .contract import Array

LINE_BYTES = 64
"""Size of a cache line."""


def _find_address() -> Callable[[Array], int]:
    """The fastest way to an array's address that works here.

    NumPy's own ways take a microsecond or two, ten times a step. The address stands in the array object, behind what
    all objects begin with; where it does not, NumPy is asked.
    """
    word = ctypes.c_size_t.from_address
    samples: list[Array] = [np.empty(3), np.empty((2, 5), np.float32)[1:, 2:]]
    for offset in (object.__basicsize__, 2 * object.__basicsize__):
        if all(word(id(sample) + offset).value == sample.ctypes.data for sample in samples):
            return lambda array: word(id(array) + offset).value
    return lambda array: int(array.__array_interface__["data"][0])


address = _find_address()
"""`address(array)`: where the first element of an array is."""


def is_at_line(array: Array) -> bool:
    """Whether an array begins at a cache line."""
    return address(array) % LINE_BYTES == 0


def aligned(size: int) -> Array:
    """An array of `size` bytes, uninitialised, that begins at a cache line."""
    return at_line(np.empty(size + LINE_BYTES, np.uint8), size)


def at_line(memory: Array, size: int) -> Array:
    """The `size` bytes that begin at a cache line, of memory that has LINE_BYTES more and is the view's base."""
    start = -address(memory) % LINE_BYTES
    return memory[start : start + size]


def round_up(size: int) -> int:
    """The next multiple of a cache line."""
    return (size + LINE_BYTES - 1) & -LINE_BYTES
