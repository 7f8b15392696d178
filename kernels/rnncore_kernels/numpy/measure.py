"""The BLAS of this machine: its name, and the rate that it reaches."""

from __future__ import annotations

import functools
import time

import numpy as np

SECONDS = 0.2
"""Seconds for which products are timed, after one that wakes the threads."""


def blas_name() -> str:
    """The BLAS that NumPy calls, with its kernel and threads."""
    import threadpoolctl

    names = []
    for library in threadpoolctl.threadpool_info():
        if library["user_api"] == "blas":
            kernel = library.get("architecture", "unknown kernel")
            names.append(f"{library['internal_api']} {library['version']} ({kernel}, {library['num_threads']} threads)")
    return "; ".join(names) or "unknown"


@functools.cache
def gemm_rate(dtype: str, num_threads: int, size: int) -> float:
    """Operations per second of a product of square matrices of `size`, the fastest of some."""
    import threadpoolctl

    a = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
    out, shortest = np.empty_like(a), float("inf")
    with threadpoolctl.threadpool_limits(num_threads, user_api="blas"):
        np.matmul(a, a, out=out)
        end = time.perf_counter() + SECONDS
        while (start := time.perf_counter()) < end or shortest == float("inf"):
            np.matmul(a, a, out=out)
            shortest = min(shortest, time.perf_counter() - start)
    return 2 * size**3 / shortest
