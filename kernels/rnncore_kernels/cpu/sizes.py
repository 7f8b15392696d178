"""Sizes that plans and kernels agree on."""

BLOCK_ROWS = 48
"""Rows whose pre-activations are computed before the cell runs on them: few for the cache, enough to reuse weights."""

BF16_BLOCK_ROWS, BF16_BACK_ROWS = 32, 128
"""The same on tile registers; and rows of x whose cotangents are computed there for each time that weights are read."""

PANEL_ROWS = 256
"""Rows summed in registers before they are added to a gradient of weights: sums of sums err less than one long sum."""

WEIGHT_GROUPS = 8
"""Groups of columns of a gradient of weights whose panels are kept in the second-level cache."""


def block_units(lanes: int) -> int:
    """Vectors of hidden units whose rows of such a gradient are computed together: of 16 units, or one vector."""
    return max(1, 16 // lanes)


PIECE_ROWS, MOST_PIECES = 3, 4
"""Least rows of a piece of a group, and most pieces of one."""


def piece_count(n: int, uneven: int) -> int:
    """How many pieces, of some of n rows each, a group of hidden units has if threads have unequal numbers of groups.

    1 if they have not: `uneven` is 0.
    """
    return max(1, min(MOST_PIECES, n // PIECE_ROWS)) if uneven != 0 else 1
