"""How long a measurement will take, roughly: for --dry-run, and for the time left."""

from __future__ import annotations

from collections.abc import Sequence

from .measure import Settings
from .peers import contenders_of
from .workload import Workload

START_SECONDS = 1.5
"""Seconds to start a contender's process and load its libraries."""
CALL_SECONDS = 5e-5
"""Seconds of a call without work."""
TURN_SECONDS = 0.08
"""Seconds around a turn: asking, resting until threads sleep, measuring the machine."""
PREPARE_SECONDS = 0.05
"""Seconds to make a network."""
FLOPS, REFERENCE_FLOPS = 5e10, 3e10
"""Operations per second of a core, in a workload and in the reference."""


def workload_seconds(workload: Workload, contenders: int, settings: Settings) -> float:
    """Seconds of one workload on all contenders."""
    call = CALL_SECONDS + workload.flops() / (FLOPS * (workload.threads or 1))
    turn = max(settings.min_time / settings.repeats, 2 * call) + TURN_SECONDS
    # One in float64, and with rounded products another one.
    references = settings.check * (1 if workload.precision is None else 2)
    prepared = settings.passes * (PREPARE_SECONDS + (2 + settings.warmup) * call)
    return references * workload.flops() / REFERENCE_FLOPS + contenders * (settings.repeats * turn + prepared)


def total_seconds(workloads: Sequence[Workload], contenders: Sequence[str], settings: Settings) -> float:
    """Seconds of all workloads."""
    starts = START_SECONDS * (len(contenders) + 1) * settings.passes
    return starts + sum(workload_seconds(w, len(contenders_of(w, contenders)), settings) for w in workloads)


def format_duration(seconds: float) -> str:
    """`45 s`, `3 min`, `2.1 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
