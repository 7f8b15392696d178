"""Disturbances of a measurement."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from rnncore_kernels.cores import usable_cores

from .result import Result
from .workload import Workload

MOST_SPREAD = 0.10
"""Interquartile range over median from which on a row is called noisy."""
MOST_LOAD = 0.1
"""Share of the cores that other processes may keep busy."""
STAT = Path("/proc/stat")
LEAST_TICKS = 100
"""Ticks of the clock that a call should take."""


class Others:
    """The share of our cores that other processes, and on a virtual machine other machines, take from here on."""

    def __init__(self) -> None:
        self._start = _clocks()

    def busy(self) -> float:
        """Cores that they kept busy on average, asked once our children have ended; 0 where no system tells."""
        end = _clocks()
        if self._start is None or end is None:
            return 0.0
        wall, every, own = (after - before for before, after in zip(self._start, end, strict=True))
        return max(0.0, every - own) / max(wall, 1e-9)


def _clocks() -> tuple[float, float, float] | None:
    """Seconds: of the wall, in which our cores were busy, and in which this process and its children used them."""
    try:
        lines = [line.split() for line in STAT.read_text().splitlines()]
        ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        # user, nice, system, (idle, iowait), irq, softirq, steal
        ticks = sum(int(ticks) for name, *of in lines if name in ours for ticks in (*of[:3], *of[5:8]))
        times = os.times()
        return time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"), sum(times[:4])
    except (OSError, AttributeError, ValueError):
        return None


def before(workloads: Sequence[Workload]) -> list[str]:
    """Warnings that are known before anything is measured."""
    cores, warnings = usable_cores(), []
    most = max((workload.threads or cores for workload in workloads), default=1)
    if most > cores:
        warnings.append(f"{most} threads were asked for, and there are {cores} cores")
    return warnings


def after(results: Sequence[Result], others: float) -> list[str]:
    """Warnings that the samples give, and the cores that other processes kept busy."""
    cores, warnings = usable_cores(), []
    if others > MOST_LOAD * cores:
        warnings.append(f"other processes kept {others:.1f} of {cores} cores busy: an idle machine is faster")
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
