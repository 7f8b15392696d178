"""Made-up runs of the same code on a machine that others use: what `rnncore bench` could have measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from records import made_up_record, workloads

from rnncore.bench.grid import PRESETS
from rnncore.bench.limits import Limits
from rnncore.bench.measure import Settings
from rnncore.bench.record import Record
from rnncore.bench.result import Result
from rnncore.bench.workload import Workload

SENSITIVE = {"numpy": 1.0, "numba": 2.0}
"""How much the noise of each backend is of that of the model."""


@dataclass(frozen=True)
class Noise:
    """Standard deviations of logarithms of times.

    Attributes:
        run: how much slower the machine was in all of a run; the yardstick shows a part of it.
        passes: the same in each pass of a run.
        rows: of each row and pass, a process of its own; by rows, half or twice as much.
        spikes: mean of what each tenth sample takes longer.
    """

    run: float
    passes: float
    rows: float
    spikes: float


IDLE = Noise(run=0.01, passes=0.01, rows=0.01, spikes=0.05)
SHARED = Noise(run=0.1, passes=0.05, rows=0.1, spikes=0.3)
BUSY = Noise(run=0.2, passes=0.15, rows=0.3, spikes=0.7)

SHOWN = 0.5
"""Part of the machine's slowness that the yardstick shows."""
QUICK, DEFAULT = PRESETS["quick"].settings, PRESETS["default"].settings
GRIDS = {QUICK: 1, DEFAULT: 2}
"""Sizes of the presets' rows: as many as batches here times two hidden sizes."""


def rows_of(settings: Settings) -> list[tuple[Workload, str]]:
    """Three cells in two modes at two or four sizes, on both backends."""
    batches = (1, 32)[: GRIDS[settings]]
    works = workloads(cells=("lstm", "gru", "rnn"), steps=(100,), batches=batches)
    return [(work, contender) for work in works for contender in SENSITIVE]


def noisy_run(rng: np.random.Generator, noise: Noise, settings: Settings) -> Record:
    """A run; each has noise of its own, and all the same code."""
    machine = rng.normal(0, noise.run) + rng.normal(0, noise.passes, settings.passes)
    results = []
    for work, contender in rows_of(settings):
        own = rng.normal(0, noise.rows * rng.choice([0.5, 1, 2]), settings.passes)
        samples: list[float] = []
        yardsticks: list[float] = []
        for number in range(settings.passes):
            turns = settings.turns(number)
            level = SENSITIVE[contender] * (machine[number] + own[number] / 2)
            spikes = rng.exponential(noise.spikes, turns) * (rng.random(turns) < 0.1)
            samples += np.exp(level + rng.normal(0, noise.rows / 4, turns) + spikes).tolist()
            yardsticks += np.exp(SHOWN * machine[number] + rng.normal(0, 0.02, turns)).tolist()
        results.append(
            Result(work, contender, "measured", Limits(1e9), tuple(samples), 1e-7, yardsticks=tuple(yardsticks))
        )
    return replace(made_up_record(*results), settings=settings)


def slower(record: Record, factor: float, which: str = "all") -> Record:
    """The run of code that takes `factor` times as long: all of it, a backend, a mode, a cell, or the "first" row."""

    def is_slower(result: Result) -> bool:
        names = ("all", result.contender, result.workload.mode, result.workload.cell)
        return which in names or (which == "first" and result is record.results[0])

    return replace(
        record,
        results=tuple(
            replace(result, samples=tuple(sample * factor for sample in result.samples))
            if is_slower(result)
            else result
            for result in record.results
        ),
    )
