"""Check, then time: each contender in a process of its own, taking turns.

Thread pools that spin after their work spoil what others in the same process are timed at.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from rnncore_kernels.contract import Array
from rnncore_kernels.host import usable_cores

from .children import started
from .clock import time_in_turns
from .limits import Limits
from .peers import PEERS
from .workload import Workload, arrays_of

CHECK_TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
"""Largest error against the NumPy engine in float64, relative to the largest magnitude of each result."""

PEAK_SIZE = 2048
"""Of the matrices whose product is the machine's limit."""
LIMITS = "machine"
"""The contender, of a kind, that measures the machine itself."""
GPU = "cuda"
"""The contender that has limits of its own."""


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
        contender: by which backend or peer.
        limits: what the machine could do in the same run.
        error: largest error against the NumPy engine in float64, relative to the largest magnitude of each result;
            None where nothing was computed.
        timing: None if the error is too large, as a wrong result is not timed, or nothing was computed.
        absent: why nothing was computed; else empty.
    """

    workload: Workload
    contender: str
    limits: Limits
    error: float | None
    timing: Timing | None
    absent: str = ""

    @property
    def is_peer(self) -> bool:
        """Whether the contender is another library."""
        return self.contender in PEERS

    @property
    def wrong(self) -> bool:
        """Whether it was computed, and not well enough to be timed."""
        return self.timing is None and not self.absent


def run(
    workloads: Sequence[Workload], contenders: Sequence[str], min_time: float, num_threads: int | None = None
) -> Generator[Result, None, None]:
    """Measure each workload on each backend and peer, and yield the results as they come.

    Raises:
        MeasurementError: a process that measures failed or died.
    """
    with started([*contenders, LIMITS], num_threads or usable_cores()) as children:
        for workload in workloads:
            reference = arrays_of(workload.task(workload.network("numpy", dtype="float64"))())
            errors: dict[str, float] = {}
            absent: dict[str, str] = {}
            for contender in contenders:
                answer = children[contender].ask("prepare", workload)
                if isinstance(answer, str):
                    absent[contender] = answer
                else:
                    errors[contender] = largest_error(answer, reference)
            right = [name for name, error in errors.items() if error <= CHECK_TOLERANCE[workload.dtype]]
            limits = {
                name: children[name].ask("limits", workload.dtype, PEAK_SIZE)
                for name in (LIMITS, *(name for name in contenders if name == GPU))
            }
            times = time_in_turns({name: partial(children[name].ask, "turn") for name in right}, min_time)
            for name in contenders:
                timing = Timing(workload, times[name]) if name in times else None
                yield Result(
                    workload, name, limits.get(name, limits[LIMITS]), errors.get(name), timing, absent.get(name, "")
                )


def largest_error(results: Sequence[Array], reference: Sequence[Array]) -> float:
    """Largest error, relative to the largest magnitude of each result; infinite where one is not finite.

    A result may have an axis of length 1, or the directions on an axis of their own.
    """
    errors = [
        float(np.abs(result.reshape(expected.shape) - expected).max())
        / max(float(np.abs(expected).max()), np.finfo(float).tiny)
        for result, expected in zip(results, reference, strict=True)
    ]
    return max(errors) if np.isfinite(errors).all() else np.inf
