"""The one table of tolerances, and the error that it bounds. Tests and `rnncore verify` have no other numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

TOLERANCES = {
    ("float32", "output"): 1e-5,
    ("float32", "state"): 1e-5,
    ("float32", "gradient"): 1e-5,
    ("float64", "output"): 1e-11,
    ("float64", "state"): 1e-11,
    ("float64", "gradient"): 1e-11,
    ("bfloat16", "output"): 2e-3,
    ("bfloat16", "state"): 2e-3,
    ("bfloat16", "gradient"): 4e-3,
    ("int8", "output"): 1e-2,
    ("int8", "state"): 1e-2,
    ("autocast", "output"): 2e-2,
    ("autocast", "state"): 2e-2,
    ("autocast", "gradient"): 2e-2,
}
"""Largest error, relative to the largest magnitude of the expected array or to 1, by precision and quantity.

The precision is that of products, as a rule the dtype. The oracle rounds to bfloat16 and int8 as engines do; a value
that lies between two of these, and is off by a float32's last place, may be rounded to the other, 4e-3 or 8e-3 away.
That is rare: without it errors are those of float32. "autocast" bounds the distance of products in bfloat16 from
PyTorch's modules under torch.autocast, which round sums and what cells compute of them as well.
"""

DIFFERENCES = 1e-6
"""Largest error of a derivative along a random direction, relative to it or to 1, against finite differences."""


def relative_error(actual: Any, expected: Any) -> float:
    """The error that TOLERANCES bounds, of arrays of one shape; NaN where an element is NaN, 0 without elements."""
    expected = np.asarray(expected)
    if not expected.size:
        return 0.0
    scale = max(1.0, float(np.abs(expected).max()))
    return float(np.abs(np.asarray(actual, np.float64) - expected).max()) / scale
