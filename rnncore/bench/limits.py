"""The machine's limits, measured beside the workloads: the scale for the figures of a report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..registry import available


@dataclass(frozen=True)
class Limits:
    """The rates that a machine reaches, per second.

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
    """The more of each: a rate that was reached once can be reached."""
    fma, bandwidth = _most((one.fma, other.fma)), _most((one.bandwidth, other.bandwidth))
    return Limits(max(one.gemm, other.gemm), fma, bandwidth)


def measure_limits(on_gpu: bool, dtype: str, num_threads: int, weight_bytes: int, size: int) -> Limits:
    """All of them, by the engines that compute on the device; the matrices of the product have `size` rows."""
    found = [module.limits(dtype, num_threads, weight_bytes, size) for module in available(on_gpu)]
    gemm = _most(one.gemm for one in found)
    assert gemm is not None
    return Limits(gemm, _most(one.fma for one in found), _most(one.bandwidth for one in found))


def _most(rates: Iterable[float | None]) -> float | None:
    return max((rate for rate in rates if rate is not None), default=None)
