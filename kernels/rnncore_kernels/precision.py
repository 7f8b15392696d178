"""Products of factors that are less precise than the arrays they come from, which are float32.

In "bfloat16" both factors of each product are rounded to the 8 significant bits of a bfloat16, to the nearest, ties to
even; NaN stays NaN. Sums are float32.
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
"""The least scale, 1.2e-38: one of a smaller has no inverse."""


def to_bfloat16(values: Array) -> Array:
    """The nearest bfloat16 of each number, as float32."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(values), values, rounded.view(np.float32))


ROUNDINGS: dict[str, Callable[[Array], Array]] = {BFLOAT16: to_bfloat16}
"""The rounding of both factors of a product, by precision."""

PRECISIONS = tuple(ROUNDINGS)
"""All that there are beside the dtype."""
