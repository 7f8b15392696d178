"""Rates that a GPU reaches: products by cuBLAS, and copies in its memory."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ..contract import Limits

GEMM_SIZE, COPY_BYTES = 8192, 1 << 28
"""Rows of the square matrices that are multiplied, and bytes of the array that is copied."""

CALLS = 6
"""Times that each is measured; the first does not count."""


@functools.cache
def gpu_limits(dtype: str) -> Limits:
    """The limits of the current GPU, without TF32."""
    xp = importlib.import_module("cupy")
    a = xp.asarray(np.random.default_rng(0).standard_normal((GEMM_SIZE, GEMM_SIZE)).astype(dtype))
    out, source, target = xp.empty_like(a), xp.zeros(COPY_BYTES, np.uint8), xp.empty(COPY_BYTES, np.uint8)
    gemm = _seconds(xp, lambda: xp.matmul(a, a, out=out))
    copy = _seconds(xp, lambda: xp.copyto(target, source))
    return Limits(gemm=2 * GEMM_SIZE**3 / gemm, bandwidth=2 * COPY_BYTES / copy)


def _seconds(xp: Any, work: Callable[[], object]) -> float:
    """The shortest time on the GPU of some calls, after one that does not count."""
    times = []
    for _ in range(CALLS):
        first, last = xp.cuda.Event(), xp.cuda.Event()
        first.record()
        work()
        last.record()
        last.synchronize()
        times.append(float(xp.cuda.get_elapsed_time(first, last)) / 1e3)
    return min(times[1:])
