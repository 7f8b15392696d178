"""Sizes of the blocks in which numbers stand for tile registers, as one bfloat16 or several, see `split`."""

from collections.abc import Sequence
from dataclasses import dataclass

BLOCK_DEPTH, TILE_ROWS = 32, 16
"""A block holds 32 elements of the depth of a product for 16 rows or columns."""

TILE_BYTES = 1024


@dataclass(frozen=True)
class Parts:
    """The bfloat16 that stand for a number.

    Attributes:
        name: of products of such numbers.
        count: how many; the number is their sum, or rounded to one.
        terms: parts of a column's and of a row's number that are multiplied, in an order in which few tiles are loaded
            twice.
    """

    name: str
    count: int
    terms: tuple[tuple[int, int], ...]

    @property
    def block_bytes(self) -> int:
        """Bytes of a block, a tile for each part."""
        return self.count * TILE_BYTES

    def column_bytes(self, depth: int) -> int:
        """Bytes of the blocks of up to 16 rows, or columns, of a depth."""
        return -(-depth // BLOCK_DEPTH) * self.block_bytes

    def rows_bytes(self, rows: int, depth: int) -> int:
        """Bytes of the blocks of rows of a depth."""
        return -(-rows // TILE_ROWS) * self.column_bytes(depth)


EXACT = Parts("tiles", 3, ((0, 2), (0, 1), (0, 0), (2, 0), (1, 0), (1, 1)))
"""Those of float32, exactly; the products that are left out are below 2**-24 of all."""

ROUNDED = Parts("bfloat16_tiles", 1, ((0, 0),))
"""The nearest bfloat16."""


def filled_share(rows: int, depths: Sequence[int]) -> float:
    """Share of the tile registers that products of that many rows and these depths fill."""
    least = max(1, -(-rows // TILE_ROWS) * TILE_ROWS)
    return rows / least * sum(depths) / sum(-(-depth // BLOCK_DEPTH) * BLOCK_DEPTH for depth in depths)
