"""Addresses of arrays, and the words that kernels are called with."""

from __future__ import annotations

import array
import ctypes
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from ..contract import Array

LINE_BYTES = 64
"""Size of a cache line."""

Words: TypeAlias = "array.array[int]"


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


def make_words(values: Sequence[int]) -> Words:
    """Words for a kernel. ctypes has such arrays too, but takes five times as long to make one."""
    return array.array("q", values)


def words_address(words: Words) -> int:
    """Where the first word is."""
    return words.buffer_info()[0]


def aligned(size: int) -> Array:
    """An array of `size` bytes, uninitialised, that begins at a cache line."""
    memory = np.empty(size + LINE_BYTES, np.uint8)
    start = -address(memory) % LINE_BYTES
    return memory[start : start + size]


def at_line(memory: Array, size: int) -> Array:
    """The `size` bytes that begin at a cache line, of memory that has LINE_BYTES more and is the view's base."""
    start = -address(memory) % LINE_BYTES
    return memory[start : start + size]


def round_up(size: int) -> int:
    """The next multiple of a cache line."""
    return (size + 63) & -64


def spread(row: int) -> int:
    """The distance of rows of that many bytes.

    Rows a multiple of a large power of two apart would compete for the same few places of the cache.
    """
    return row + 64 if row and row % 1024 == 0 else row
