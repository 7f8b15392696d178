"""What the machine can do at most, measured beside the workloads: the scale for the figures of a report."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import statistics
from dataclasses import dataclass

import numpy as np

from ..registry import backends
from . import clock
from .workload import finished

PEAK_MODULE = "rnncore_kernels.cpu.peak"
"""Has fma_peak(dtype, num_threads) and read_bandwidth(size, num_threads)."""

COPY_BYTES = 1 << 28
"""Of the array that is copied to measure a GPU's memory."""


@dataclass(frozen=True)
class Limits:
    """What the machine does per second.

    Attributes:
        gemm: operations of a large matrix product by NumPy, or on a GPU by cuBLAS.
        fma: operations of multiply-adds in registers; None without the Numba engine, which measures it.
        bandwidth: bytes read of as many as the recurrent weights have, again and again, from whichever cache or memory
            holds them; on a GPU, read and written in a copy. None without the Numba engine.
    """

    gemm: float
    fma: float | None = None
    bandwidth: float | None = None


def best(one: Limits, other: Limits) -> Limits:
    """The more of each: what the machine did once, it can do."""

    def more(first: float | None, second: float | None) -> float | None:
        return max((value for value in (first, second) if value is not None), default=None)

    return Limits(max(one.gemm, other.gemm), more(one.fma, other.fma), more(one.bandwidth, other.bandwidth))


def measure_limits(dtype: str, num_threads: int, weight_bytes: int, size: int) -> Limits:
    """All of them, on `num_threads` threads; the product, measured once, is of square matrices of `size`."""
    gemm = _gemm(dtype, num_threads, size)
    if not has_peak():
        return Limits(gemm)
    peak = importlib.import_module(PEAK_MODULE)
    return Limits(gemm, float(peak.fma_peak(dtype, num_threads)), float(peak.read_bandwidth(weight_bytes, num_threads)))


@functools.cache
def measure_gpu_limits(dtype: str, size: int) -> Limits:
    """The product and a copy, by CuPy on the current GPU."""
    xp = importlib.import_module("cupy")
    a = xp.asarray(np.random.default_rng(0).standard_normal((size, size)).astype(dtype))
    out = xp.empty_like(a)
    product = clock.sample(finished(lambda: xp.matmul(a, a, out=out), xp), 0.2)
    source = xp.zeros(COPY_BYTES, np.uint8)
    target = xp.empty_like(source)
    copy = clock.sample(finished(lambda: xp.copyto(target, source), xp), 0.1)
    return Limits(2 * size**3 / statistics.median(product), None, 2 * COPY_BYTES / statistics.median(copy))


@functools.cache
def _gemm(dtype: str, num_threads: int, size: int) -> float:
    import threadpoolctl

    a = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
    out = np.empty_like(a)
    with threadpoolctl.threadpool_limits(num_threads, user_api="blas"):
        samples = [second for _ in range(3) for second in clock.sample(lambda: np.matmul(a, a, out=out), 0.07)]
    clock.rest()
    return 2 * size**3 / min(samples)


def has_peak() -> bool:
    """Whether the Numba engine is here, which has the measurements."""
    return backends()["numba"].available and importlib.util.find_spec(PEAK_MODULE) is not None
