"""Sizes of the blocks that float32 numbers in three parts stand in, see `split`."""

from collections.abc import Sequence

BLOCK_DEPTH, TILE_ROWS, PARTS = 32, 16, 3
"""A block holds 32 elements of the depth of a product for 16 rows or columns; each number is 3 bfloat16."""

TILE_BYTES = 1024
BLOCK_BYTES = PARTS * TILE_BYTES


def split_column_bytes(depth: int) -> int:
    """Bytes of the blocks of up to 16 rows, or columns, of a depth."""
    return -(-depth // BLOCK_DEPTH) * BLOCK_BYTES


def split_rows_bytes(rows: int, depth: int) -> int:
    """Bytes of the blocks of rows of a depth."""
    return -(-rows // TILE_ROWS) * split_column_bytes(depth)


def filled_share(rows: int, depths: Sequence[int]) -> float:
    """Share of the tile registers that products of that many rows and these depths fill."""
    least = max(1, -(-rows // TILE_ROWS) * TILE_ROWS)
    return rows / least * sum(depths) / sum(-(-depth // BLOCK_DEPTH) * BLOCK_DEPTH for depth in depths)
