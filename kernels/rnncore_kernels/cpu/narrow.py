"""Sizes of rows and weights whose numbers are narrower than float32, see `precision`, as kernels have them.

Functions of integers here are compiled, too.
"""

from __future__ import annotations

from collections.abc import Callable

from .shape import Shape

PAIR = 2
"""Numbers of a word of bfloat16, of a row or of a column of weights."""

ROW_HEADER = 64
"""Bytes before the words of a row of int8, which end in its scale."""

SizeOf = Callable[[int], int]


def column_bytes_of(shape: Shape) -> SizeOf:
    """Bytes of a column of packed weights in bfloat16, of a vector, by its depth."""
    vector = shape.vector_bytes

    def column_bytes(depth: int) -> int:
        return (depth + 1) // 2 * vector

    return column_bytes


def int8_word(shape: Shape) -> int:
    """Numbers of a word of int8."""
    return 4 if shape.target.int8 else 2


def int8_column_bytes_of(shape: Shape) -> SizeOf:
    """The same in int8, with a scale for each column, and what is taken away from its sum."""
    size, vector = int8_word(shape), shape.vector_bytes
    words = shape.lanes * (4 if size == 4 else 2)

    def column_bytes(depth: int) -> int:
        return (depth + size - 1) // size * words + 2 * vector

    return column_bytes


def int8_row_bytes_of(shape: Shape) -> SizeOf:
    """The distance of rows of int8, by their depth, with room for a scale before each."""
    item = 4 // int8_word(shape)
    numbers = max(shape.lanes, int8_word(shape))

    def row_bytes(depth: int) -> int:
        size = ((depth + numbers - 1) // numbers * numbers * item + 63) // 64 * 64 + ROW_HEADER
        return size + 64 if size % 1024 == 0 else size

    return row_bytes


def row_bytes_of(shape: Shape) -> SizeOf:
    """The distance of rows, by their depth: of pairs of bfloat16, or of float32 where a target cannot multiply these.

    Rows a multiple of a large power of two apart would compete for the same few places of the cache.
    """
    numbers, item = 2 * shape.lanes, 2 if shape.target.bfloat16 else 4

    def row_bytes(depth: int) -> int:
        size = ((depth + numbers - 1) // numbers * numbers * item + 63) // 64 * 64
        return size + 64 if size % 1024 == 0 else size

    return row_bytes


def rows_bytes(row_bytes: SizeOf, n: int, depth: int) -> int:
    """Bytes of n prepared rows: the table of their addresses, and they."""
    return table_bytes(n) + n * row_bytes(depth)


def table_bytes(n: int) -> int:
    """Bytes of a table of addresses that fills cache lines."""
    return (8 * n + 63) // 64 * 64
