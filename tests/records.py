"""Records with made-up samples: what `rnncore bench` writes, without measuring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rnncore.bench.limits import Limits
from rnncore.bench.measure import Settings
from rnncore.bench.record import Record
from rnncore.bench.result import Result, Status
from rnncore.bench.workload import Workload

SMALL = Workload("lstm", "inference", 3, 2, 4, 5, "float32")
LIMITS = Limits(gemm=100e9, fma=150e9, bandwidth=80e9)
RATES = {"numba": 60e9, "numpy": 20e9, "torch": 40e9, "onnxruntime": 50e9}
"""Operations per second of each contender, which grow with the size."""


def result(workload: Workload, contender: str, **changes: Any) -> Result:
    """A row at the contender's rate, its samples 1 % apart."""
    seconds = workload.flops() / RATES.get(contender, 30e9) * (1 + 64 / workload.hidden_size)
    samples = tuple(seconds * (1 + 0.01 * turn) for turn in range(5))
    fields: dict[str, Any] = {"limits": LIMITS, "samples": samples, "error": 1e-7, "impl": "made up", "first_call": 0.5}
    return Result(workload, contender, "measured", **(fields | changes))


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


def missing(workload: Workload, contender: str, reason: str) -> Result:
    """A row without samples."""
    return Result(workload, contender, "absent", reason=reason)


def workloads(
    cells: Sequence[str] = ("lstm", "gru"),
    modes: Sequence[str] = ("inference", "training"),
    steps: Sequence[int] = (10, 100),
    batches: Sequence[int] = (1, 32),
    hiddens: Sequence[int] = (64, 256),
) -> list[Workload]:
    """The product of the axes, with I = H."""
    return [
        Workload(cell, mode, t, b, h, h, "float32", threads=2)
        for cell in cells
        for mode in modes
        for t in steps
        for b in batches
        for h in hiddens
    ]


def made_up_record(*results: Result, **machine: str) -> Record:
    """The rows, on a machine that can be described."""
    whole = record(results, command="rnncore bench", warnings=())
    facts = {**whole.environment["machine"], **machine}
    return replace(whole, environment={**whole.environment, "machine": facts})


def record(results: Sequence[Result], **changes: Any) -> Record:
    """The rows with a machine, a command and a warning."""
    environment = {
        "versions": {"rnncore": "1.2.3", "numpy": "2.0"},
        "source": {"commit": "0123456789abcdef"},
        "machine": {"processor": "Made-up Processor", "cores": "2 usable of 2", "blas": "none"},
        "backends": {
            "cuda": {"available": False, "reason": "no <GPU>", "fix": "", "device": ""},
            "numpy": {"available": True, "reason": "", "fix": "", "device": "a processor"},
        },
    }
    fields: dict[str, Any] = {
        "command": "rnncore bench -T 10,100 -B 1,32 -H 64,256 --peer torch,onnxruntime",
        "created": "2030-01-02T03:04:05+00:00",
        "complete": True,
        "settings": Settings(),
        "environment": environment,
        "warnings": ("something else uses this machine",),
        "results": tuple(results),
    }
    return Record(**(fields | changes))


def grid(contenders: Sequence[str] = ("numba", "numpy", "torch", "onnxruntime")) -> Record:
    """Several values of T, B and H; ONNX Runtime does not train."""
    return record(
        [
            missing(workload, contender, "inference alone")
            if (contender, workload.mode) == ("onnxruntime", "training")
            else result(workload, contender)
            for workload in workloads()
            for contender in contenders
        ]
    )
