"""Check, then time: medians over repeats that take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rnncore_kernels.contract import Array

from .workload import Workload

CHECK_TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
"""Largest error against the NumPy engine in float64, relative to the largest magnitude of each result."""

PEAK_SIZE = 2048


@dataclass(frozen=True)
class Timing:
    """The median time of one call of a workload, in seconds, and what follows from it."""

    workload: Workload
    seconds: float

    @property
    def step_microseconds(self) -> float:
        """Time of one of the T steps, for the whole batch."""
        return self.seconds / self.workload.steps * 1e6

    @property
    def sequences_per_second(self) -> float:
        """B sequences in the time of a call."""
        return self.workload.batch / self.seconds

    @property
    def flops_per_second(self) -> float:
        """Operations of the matrix products alone."""
        return self.workload.flops() / self.seconds


@dataclass(frozen=True)
class Result:
    """One measured row.

    Attributes:
        workload: what was computed.
        backend: by which backend.
        error: largest error against the NumPy engine in float64, relative to the largest magnitude of each result.
        peak: the machine's matrix product in the same run, FLOP/s.
        timing: None if the error is too large, as a wrong result is not timed.
    """

    workload: Workload
    backend: str
    error: float
    peak: float
    timing: Timing | None


def run(
    workloads: Sequence[Workload], backends: Sequence[str], min_time: float, num_threads: int | None = None
) -> Iterator[Result]:
    """Measure each workload on each backend, and yield the results as they come."""
    for workload in workloads:
        tasks = {backend: workload.task(workload.network(backend, num_threads)) for backend in backends}
        reference = workload.task(workload.network("numpy", dtype="float64"))()
        errors = {backend: _error(task(), reference) for backend, task in tasks.items()}
        right = {b: task for b, task in tasks.items() if errors[b] <= CHECK_TOLERANCE[workload.dtype]}
        peak = gemm_peak(workload.dtype)
        times = time_in_turns(right, min_time)
        for backend in backends:
            timing = Timing(workload, times[backend]) if backend in times else None
            yield Result(workload, backend, errors[backend], peak, timing)


def time_in_turns(tasks: Mapping[str, Callable[[], object]], min_time: float) -> dict[str, float]:
    """Median seconds of a call of each task, over rounds in which each has a turn, for `min_time` seconds per task."""
    samples: dict[str, list[float]] = {name: [] for name in tasks}
    end = time.perf_counter() + min_time * len(tasks)
    while tasks and (time.perf_counter() < end or len(next(iter(samples.values()))) < 3):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            samples[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in samples.items()}


def gemm_peak(dtype: str) -> float:
    """FLOP/s of `numpy.matmul` on large square matrices, with all of BLAS's threads."""
    a = np.random.default_rng(0).standard_normal((PEAK_SIZE, PEAK_SIZE)).astype(dtype)
    out = np.empty_like(a)
    np.matmul(a, a, out=out)
    seconds = time_in_turns({"gemm": lambda: np.matmul(a, a, out=out)}, 0.2)["gemm"]
    # OpenBLAS's threads spin for 0.104 s after their work; what is timed next should not compete with them.
    time.sleep(0.15)
    return 2 * PEAK_SIZE**3 / seconds


def _error(results: Sequence[Array], reference: Sequence[Array]) -> float:
    """Largest error, relative to the largest magnitude of each result; infinite where one is not finite."""
    errors = [
        float(np.abs(result - expected).max() / max(np.abs(expected).max(), np.finfo(float).tiny))
        for result, expected in zip(results, reference, strict=True)
    ]
    return max(errors) if np.isfinite(errors).all() else np.inf
