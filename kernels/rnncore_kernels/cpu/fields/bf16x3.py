"""Sizes of float32 numbers in three parts, see `code.bf16x3`."""

from collections.abc import Sequence

DEPTH, ROWS, PARTS = 32, 16, 3
"""A block holds 32 elements of the depth of a product for 16 rows or columns; each number is 3 bfloat16."""

TILE_BYTES = 1024
BLOCK_BYTES = PARTS * TILE_BYTES


def column_bytes(depth: int) -> int:
    """Bytes of the blocks of up to 16 rows, or columns, of a depth."""
    return -(-depth // DEPTH) * BLOCK_BYTES


def rows_bytes(rows: int, depth: int) -> int:
    """Bytes of the blocks of rows of a depth."""
    return -(-rows // ROWS) * column_bytes(depth)


def filled(rows: int, depths: Sequence[int]) -> float:
    """Share of the tile registers that products of that many rows and these depths fill."""
    least, depth = max(1, -(-rows // ROWS) * ROWS), sum(-(-depth // DEPTH) * DEPTH for depth in depths)
    return rows / least * sum(depths) / depth
