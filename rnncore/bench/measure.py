"""Check, then time: each contender in a process of its own, taking turns.

Thread pools that spin after their work spoil the times of others in the same process.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from rnncore_kernels.contract import Array
from rnncore_kernels.cores import usable_cores

from .children import Child, MeasurementError, started
from .clock import take_turns
from .limits import Limits, best
from .peers import PEERS, contenders_of, on_gpu
from .result import Result
from .worker import Prepared
from .workload import STEPS, Workload, arrays_of

CHECK_TOLERANCE = {"float32": 1e-4, "float64": 1e-10, "bfloat16": 2e-2, "int8": 4e-2}
CHECK_TOLERANCE |= {"torch-bf16": 5e-2, "torch-int8": 1e-1, "onnxruntime-int8": 1e-1}
"""Largest error that is right, relative to the largest magnitude of each result.

By the precision of products: against the NumPy engine, in float64 or, with rounded products, in the same precision, so
that a spike or the sign of a unit that rounding changes is not wrong. A value between two rounded ones may still go
either way. By the names of peers that round in their own way: against float64.
"""

TAIL = 0.99
"""The part of a turn's calls that a step's tail is longer than."""
PEAK_SIZE = 2048
"""Rows of the square matrices whose product is the machine's limit."""
LIMITS = "machine"
"""The contender, of a kind, that measures the machine itself."""


class Reference(NamedTuple):
    """Results of the NumPy engine: in float64, and with products rounded as in the workload, the same if none are."""

    exact: list[Array]
    rounded: list[Array]


@dataclass(frozen=True)
class Settings:
    """How a row is measured.

    Attributes:
        repeats: turns of each contender, in rounds in which each has one: so many samples.
        passes: how often all workloads are gone through, each time in new processes and with a part of the repeats. A
            second in which the machine is slow is then not the only one that a row was measured in, and differences
            between processes show.
        min_time: seconds that the turns of a row take together at least.
        warmup: calls before the first turn, beside the one whose result is checked.
        check: whether results are compared with the NumPy engine's.
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

    With several passes there is a result of each; `result.joined` puts two together. A row without samples in one is
    not tried again. A contender that fails at a workload is started again for the next.

    Raises:
        MeasurementError: the process that measures the machine failed or died.
    """
    settings = settings or Settings()
    over: set[tuple[Workload, str]] = set()
    for number in range(settings.passes):
        everybody = dict.fromkeys(name for workload in workloads for name in contenders_of(workload, contenders))
        with started([*everybody, LIMITS]) as children:
            for workload in workloads:
                names = [name for name in contenders_of(workload, contenders) if (workload, name) not in over]
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
    right = {name: row for name, row in rows.items() if row.status == "measured"}
    if right:
        rows |= _timed(workload, right, children, settings, settings.turns(number))
    return list(rows.values())


def _reference(workload: Workload) -> Reference:
    exact = arrays_of(workload.task(workload.network("numpy", dtype="float64"))())
    return Reference(exact, arrays_of(workload.task(workload.network("numpy"))()) if workload.precision else exact)


def _prepare(workload: Workload, name: str, child: Child, reference: Reference | None, warmup: int) -> Result:
    """The row before it is timed."""
    try:
        prepared: Prepared | str = child.ask("prepare", workload, warmup, reference is not None)
        if isinstance(prepared, str):
            return Result(workload, name, "absent", reason=prepared)
        error, wrong = None, ""
        if reference is not None:
            assert prepared.results is not None
            error = largest_error(prepared.results, reference.exact)
            wrong = _wrong(workload, name, prepared.results, reference)
    except (MeasurementError, ValueError) as failure:
        return Result(workload, name, "failed", reason=str(failure))
    counts = workload.counts()
    row = Result(workload, name, "measured", None, (), error, "", prepared.impl, prepared.first_call, counts=counts)
    row = replace(row, peak_bytes=prepared.peak_bytes)
    return replace(row, status="wrong", reason=wrong) if wrong else row


def _wrong(workload: Workload, name: str, results: Sequence[Array], reference: Reference) -> str:
    """By how much the results are wrong; empty where they are right."""
    against, expected = workload.products, reference.rounded
    if name in PEERS or workload.precision is None:
        against, expected = "float64", reference.exact
    error = largest_error(results, expected)
    right = error <= CHECK_TOLERANCE.get(name, CHECK_TOLERANCE[workload.products])
    return "" if right else f"error {error:.0e} against {against}"


def _timed(
    workload: Workload, rows: Mapping[str, Result], children: Mapping[str, Child], settings: Settings, rounds: int
) -> dict[str, Result]:
    """The rows with samples and limits, or why they have none, by contender."""
    threads = workload.threads or usable_cores()
    failures: dict[str, str] = {}
    tails: dict[str, list[float]] = {name: [] for name in rows}

    def limits() -> dict[str, Limits]:
        asked = workload.dtype, threads, workload.weight_bytes(), PEAK_SIZE
        measuring = [LIMITS, *(name for name in rows if on_gpu(name))]
        return {name: children[name].ask("limits", *asked) for name in measuring}

    def yardstick(_: float) -> list[float]:
        return [children[LIMITS].ask("yardstick", threads)]

    def turn(name: str, seconds: float) -> list[float]:
        if name in failures:
            return [0.0]
        try:
            samples: list[float] = children[name].ask("turn", seconds)
        except MeasurementError as failure:
            failures[name] = str(failure)
            return [0.0]
        if workload.mode in STEPS:
            tails[name].append(float(np.quantile(samples, TAIL)))
        return samples

    turns = {name: partial(turn, name) for name in rows} | {LIMITS: yardstick}
    first = limits()
    samples = take_turns(turns, rounds, settings.min_time / settings.repeats)
    # Twice, as the machine may have been disturbed, and again in the next pass.
    found = {name: best(first[name], last) for name, last in limits().items()}
    return {
        name: replace(row, status="failed", reason=failures[name])
        if name in failures
        else replace(
            row,
            samples=tuple(samples[name]),
            tails=tuple(tails[name]),
            yardsticks=tuple(samples[LIMITS]),
            limits=found.get(name, found[LIMITS]),
        )
        for name, row in rows.items()
    }


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
