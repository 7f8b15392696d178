"""The machine's limits, measured beside the workloads: the scale for the figures of a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from rnncore_kernels.contract import Limits

from ..registry import available


def best(*limits: Limits) -> Limits:
    """The most of each: a rate that was reached once can be reached."""
    return Limits(*map(most, zip(*map(dataclasses.astuple, limits), strict=True)))


def measure_limits(on_gpu: bool, dtype: str, num_threads: int, weight_bytes: int, size: int) -> Limits:
    """All of them, by the engines that compute on the device; the matrices of the product have `size` rows."""
    return best(*(module.limits(dtype, num_threads, weight_bytes, size) for module in available(on_gpu)))


def most(rates: Iterable[float | None]) -> float | None:
    """The highest of the rates that are known."""
    return max((rate for rate in rates if rate is not None), default=None)


__all__ = ["Limits", "best", "measure_limits", "most"]
