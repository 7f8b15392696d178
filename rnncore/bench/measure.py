"""Check, then time: each contender in a process of its own, taking turns.

Thread pools that spin after their work spoil what others in the same process are timed at.
"""

from __future__ import annotations

import statistics
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from rnncore_kernels.contract import Array
from rnncore_kernels.cores import usable_cores

from .children import Child, MeasurementError, started
from .clock import take_turns
from .limits import Limits
from .result import Result
from .worker import Prepared
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
class Settings:
    """How a row is measured.

    Attributes:
        repeats: turns of each contender, in rounds in which each has one: so many samples.
        passes: how often all workloads are gone through, each time with a part of the repeats. A second in which the
            machine is slow is then not the only one that a row was measured in.
        min_time: seconds that the turns of a row take together at least.
        warmup: calls before the first turn, beside the one whose result is checked.
        check: whether results are compared with the NumPy engine in float64.
    """

    repeats: int = 10
    passes: int = 1
    min_time: float = 0.5
    warmup: int = 0
    check: bool = True

    def turns(self, number: int) -> int:
        """Rounds of a pass: together as many as there are repeats."""
        return self.repeats * (number + 1) // self.passes - self.repeats * number // self.passes


def run(
    workloads: Sequence[Workload], contenders: Sequence[str], settings: Settings | None = None
) -> Generator[Result, None, None]:
    """Measure each workload on each backend and peer, and yield the results as they come.

    With several passes, what a row has got in one; `result.joined` puts two together. What has no samples in one is not
    tried again. A contender that fails at a workload is started again for the next.

    Raises:
        MeasurementError: the process that measures the machine failed or died.
    """
    with started([*contenders, LIMITS]) as children:
        settings = settings or Settings()
        over: set[tuple[Workload, str]] = set()
        for number in range(settings.passes):
            for workload in workloads:
                names = [name for name in contenders if (workload, name) not in over]
                for result in _measure(workload, names, children, settings, number) if names else ():
                    if not result.samples:
                        over.add((workload, result.contender))
                    yield result


def _measure(
    workload: Workload, contenders: Sequence[str], children: Mapping[str, Child], settings: Settings, number: int
) -> list[Result]:
    """The workload's row of each contender, in the pass of that number."""
    try:
        reference = _reference(workload) if settings.check and number == 0 else None
    except (MemoryError, ValueError) as error:
        # NumPy says so of sizes that no memory could have.
        reason = f"not enough memory for the reference: {error}"
        return [Result(workload, contender, "failed", reason=reason) for contender in contenders]
    rows = {name: _prepare(workload, name, children[name], reference, settings.warmup) for name in contenders}
    right = [name for name, row in rows.items() if row.status == "measured"]
    if right:
        timed = {name: children[name] for name in (*right, LIMITS)}
        limits, samples, failures = _time(workload, timed, settings, settings.turns(number))
        for name in right:
            if name in failures:
                rows[name] = replace(rows[name], status="failed", reason=failures[name])
            else:
                own = limits[GPU if name == GPU else LIMITS]
                rows[name] = replace(rows[name], samples=tuple(samples[name]), limits=own)
    return list(rows.values())


def _reference(workload: Workload) -> list[Array]:
    return arrays_of(workload.task(workload.network("numpy", dtype="float64"))())


def _prepare(workload: Workload, name: str, child: Child, reference: Sequence[Array] | None, warmup: int) -> Result:
    """The row before it is timed."""
    try:
        prepared: Prepared | str = child.ask("prepare", workload, warmup)
        if isinstance(prepared, str):
            return Result(workload, name, "absent", reason=prepared)
        error = None if reference is None else largest_error(prepared.results, reference)
    except (MeasurementError, ValueError) as failure:
        return Result(workload, name, "failed", reason=str(failure))
    row = Result(workload, name, "measured", error=error, impl=prepared.impl, first_call=prepared.first_call)
    if error is None or error <= CHECK_TOLERANCE[workload.dtype]:
        return row
    return replace(row, status="wrong", reason=f"error {error:.0e} against float64")


def _time(
    workload: Workload, children: Mapping[str, Child], settings: Settings, rounds: int
) -> tuple[dict[str, Limits], dict[str, list[float]], dict[str, str]]:
    """Limits of the machine, and of its GPU if that is measured; the samples of each child; why some have none."""
    found: dict[str, list[Limits]] = {name: [] for name in children if name in (GPU, LIMITS)}
    failures: dict[str, str] = {}
    asked = workload.dtype, workload.threads or usable_cores(), workload.weight_bytes(), PEAK_SIZE

    def turn(name: str, seconds: float) -> list[float]:
        if name in found:
            # In every round, as what the machine can do changes while it is shared.
            found[name].append(children[name].ask("limits", *asked))
        if name == LIMITS or name in failures:
            return [0.0]
        try:
            samples: list[float] = children[name].ask("turn", seconds)
        except MeasurementError as failure:
            failures[name] = str(failure)
            return [0.0]
        return samples

    turns = {name: partial(turn, name) for name in children}
    samples = take_turns(turns, rounds, settings.min_time / settings.repeats)
    return {name: _median(values) for name, values in found.items()}, samples, failures


def _median(limits: Sequence[Limits]) -> Limits:
    def of(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.median(known) if known else None

    return Limits(limits[0].gemm, of([one.fma for one in limits]), of([one.bandwidth for one in limits]))


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
