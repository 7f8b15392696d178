"""Results and records that nobody measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnncore.bench.limits import Limits
from rnncore.bench.measure import Settings
from rnncore.bench.record import Record
from rnncore.bench.result import Result, Status
from rnncore.bench.workload import Workload

SMALL = Workload("lstm", "inference", 3, 2, 4, 5, "float32")
LIMITS = Limits(1e11, 2e11, 1e11)


def made_up(
    contender: str,
    samples: Sequence[float],
    status: Status = "measured",
    reason: str = "",
    workload: Workload = SMALL,
    limits: Limits | None = LIMITS,
) -> Result:
    """A row with these samples."""
    return Result(
        workload, contender, status, limits if samples else None, tuple(samples), 1e-7, reason, "made up", 0.1
    )


def made_up_record(*results: Result, **machine: str) -> Record:
    """A record of rows, on a machine that can be described."""
    environment: dict[str, Any] = {
        "machine": {"processor": "a processor", "cores": "2", "blas": "a BLAS", **machine},
        "versions": {"rnncore": "0"},
        "source": {"commit": "unknown"},
    }
    return Record("rnncore bench", "2026-01-01T00:00:00+00:00", True, Settings(), environment, (), results)
