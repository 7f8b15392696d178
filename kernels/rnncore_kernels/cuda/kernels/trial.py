"""The smallest kernel, which tells whether kernels can be compiled and run here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from .memory import make_store


def make_trial_kernel() -> Callable[..., None]:
    """The kernel `trial(run, arrays)`: thread n writes n to the array at `run.numbers`, and 1 to `arrays[0]`."""
    store = make_store(np.dtype(np.float32))
    grid: Any = cuda.grid

    def trial(run: Any, arrays: Any) -> None:
        n = grid(1)
        store(run.numbers + 4 * n, np.float32(n))
        store(arrays[0] + 4 * n, np.float32(1))

    return trial
