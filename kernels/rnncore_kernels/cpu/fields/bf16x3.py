"""Sizes of float32 numbers in three parts, see `code.bf16x3`."""

from collections.abc import Sequence

DEPTH, ROWS, PARTS = 32, 16, 3
"""Of a block: how much of the depth of a product, of how many rows or columns, and how many bfloat16 are a number."""

TILE_BYTES = 1024
BLOCK_BYTES = PARTS * TILE_BYTES


def column_bytes(depth: int) -> int:
    """Of the blocks of up to 16 rows, or columns, of that depth."""
    return -(-depth // DEPTH) * BLOCK_BYTES


def rows_bytes(rows: int, depth: int) -> int:
    """Of rows of that depth."""
    return -(-rows // ROWS) * column_bytes(depth)


def filled(rows: int, depths: Sequence[int]) -> float:
    """Share of the tile registers that products of that many rows and these depths fill."""
    least, depth = max(1, -(-rows // ROWS) * ROWS), sum(-(-depth // DEPTH) * DEPTH for depth in depths)
    return rows / least * sum(depths) / depth
