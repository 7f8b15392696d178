"""What may have disturbed a measurement."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from rnncore_kernels.host import usable_cores

from .result import Result
from .workload import Workload

MOST_SPREAD = 0.10
"""Interquartile range over median from which on a row is called noisy."""
MOST_LOAD = 0.3
"""Processes that run or want to, beside ours, for each core."""
LEAST_TICKS = 100
"""Ticks of the clock that a call should take."""


def before(workloads: Sequence[Workload]) -> list[str]:
    """Warnings that are known before anything is measured."""
    cores, warnings = usable_cores(), []
    most = max((workload.threads or cores for workload in workloads), default=1)
    if most > cores:
        warnings.append(f"{most} threads were asked for, and there are {cores} cores")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > MOST_LOAD * cores:
        warnings.append(f"other processes keep {load:.1f} of {cores} cores busy (load of the last minute)")
    return warnings


def after(results: Sequence[Result]) -> list[str]:
    """Warnings that the samples give."""
    warnings = []
    timed = [result for result in results if result.samples]
    noisy = [result for result in timed if result.spread > MOST_SPREAD]
    if noisy:
        worst = max(noisy, key=lambda result: result.spread)
        warnings.append(
            f"in {len(noisy)} of {len(timed)} rows the interquartile range is over {MOST_SPREAD:.0%} of the median, up "
            f"to {worst.spread:.0%} ({worst.contender}, {worst.workload.cell} {worst.workload.mode}): something else "
            f"uses this machine"
        )
    above = [result for result in timed if result.has_noisy_roof]
    if above:
        warnings.append(
            f"{len(above)} of {len(timed)} rows did more than the machine was seen to do at most, so there is no share "
            f"of the roof: something else used it each time that was measured"
        )
    tick = time.get_clock_info("perf_counter").resolution
    short = [result for result in timed if result.seconds < LEAST_TICKS * tick]
    if short:
        warnings.append(f"{len(short)} rows take less than {LEAST_TICKS} ticks of the clock, of {tick:.0e} s each")
    return warnings
