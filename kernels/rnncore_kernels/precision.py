"""Products of factors that are less precise than the arrays they come from, which are float32.

In "bfloat16" both factors of each product are rounded to the 8 significant bits of a bfloat16, to the nearest, ties to
even; NaN stays NaN. In "int8", for inference, each row of a factor is a scale times whole numbers from -127 to 127: a
row of weights gives an output, a row of the other factor is what a row of the batch multiplies them with in one step.
Sums are float32 in the one, exact in the other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

BFLOAT16, INT8 = "bfloat16", "int8"

MOST = 127
"""The largest whole number of int8 that is used: as far from 0 as the smallest."""

LEAST = np.finfo(np.float32).tiny
"""The least scale, 1.2e-38: a smaller one has no inverse."""


def to_bfloat16(values: Array) -> Array:
    """The nearest bfloat16 of each number, as float32."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(values), values, rounded.view(np.float32))


def scales(rows: Array) -> Array:
    """(..., 1): the scale of each row of the last axis, its largest magnitude by 127; NaN for a row that is not finite.

    It is rounded up to 16 significant bits, so that each of its products with a whole number is a float32, and the
    scale of a row that is made of such products is the same again. A row of less than 1e-36 is zeros.
    """
    largest = np.abs(rows).max(axis=-1, keepdims=True, initial=0)
    bits = (largest / np.float32(MOST)).astype(np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(0xFF)) & np.uint32(0xFFFFFF00)).view(np.float32)
    rounded = np.where(rounded < LEAST, np.float32(0), rounded)
    return np.where(np.isfinite(largest), rounded, np.float32(np.nan))


def to_whole(rows: Array, scale: Array) -> Array:
    """The whole numbers of each row, as float32: NaN for rows of such a scale, 0 for rows of zeros."""
    with np.errstate(divide="ignore"):
        inverse = np.where(scale == 0, np.float32(0), np.float32(1) / scale)
    return np.rint(rows * inverse)


def to_int8(rows: Array) -> Array:
    """Each row as a scale times whole numbers, multiplied out."""
    scale = scales(rows)
    return to_whole(rows, scale) * scale


ROUNDINGS: dict[str, Callable[[Array], Array]] = {BFLOAT16: to_bfloat16, INT8: to_int8}
"""The rounding of both factors of a product, rows along the last axis, by precision."""

PRECISIONS = tuple(ROUNDINGS)
"""All that there are beside the dtype."""
