"""The words that kernels are called with, and the distance of rows."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import TypeAlias

Words: TypeAlias = "array.array[int]"


def make_words(values: Sequence[int]) -> Words:
    """Words for a kernel. ctypes has such arrays too, but takes five times as long to make one."""
    return array.array("q", values)


def words_address(words: Words) -> int:
    """Where the first word is."""
    return words.buffer_info()[0]


def spread(row: int) -> int:
    """The distance of rows of that many bytes.

    Rows a multiple of a large power of two apart would compete for the same few places of the cache.
    """
    return row + 64 if row and row % 1024 == 0 else row
