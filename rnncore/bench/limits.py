"""What the machine can do at most, measured in the same run: the scale for the figures of a report."""

from __future__ import annotations

import importlib
import importlib.util
import statistics
from dataclasses import dataclass

import numpy as np

from ..registry import backends
from . import clock
from .workload import finished

FMA_MODULE = "rnncore_kernels.cpu.peak"
"""Has fma_peak(dtype, num_threads)."""


@dataclass(frozen=True)
class Limits:
    """Operations per second.

    Attributes:
        gemm: of a large matrix product by NumPy, or on a GPU by cuBLAS.
        fma: of multiply-adds in registers; None without the Numba engine, which measures it.
    """

    gemm: float
    fma: float | None = None


def measure_limits(dtype: str, num_threads: int, size: int) -> Limits:
    """Both, on `num_threads` threads; the product is of square matrices of `size`."""
    gemm = _gemm(dtype, num_threads, size)
    clock.rest()
    return Limits(gemm, _fma(dtype, num_threads))


def measure_gpu_limits(dtype: str, size: int) -> Limits:
    """The product alone, by CuPy on the current GPU."""
    xp = importlib.import_module("cupy")
    a = xp.asarray(np.random.default_rng(0).standard_normal((size, size)).astype(dtype))
    out = xp.empty_like(a)
    samples = clock.sample(finished(lambda: xp.matmul(a, a, out=out), xp), 0.2)
    return Limits(2 * size**3 / statistics.median(samples))


def _gemm(dtype: str, num_threads: int, size: int) -> float:
    import threadpoolctl

    a = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
    out = np.empty_like(a)
    with threadpoolctl.threadpool_limits(num_threads, user_api="blas"):
        samples = [second for _ in range(3) for second in clock.sample(lambda: np.matmul(a, a, out=out), 0.07)]
    return 2 * size**3 / statistics.median(samples)


def has_fma_peak() -> bool:
    """Whether the Numba engine is here, which has the measurement."""
    return backends()["numba"].available and importlib.util.find_spec(FMA_MODULE) is not None


def _fma(dtype: str, num_threads: int) -> float | None:
    return float(importlib.import_module(FMA_MODULE).fma_peak(dtype, num_threads)) if has_fma_peak() else None
