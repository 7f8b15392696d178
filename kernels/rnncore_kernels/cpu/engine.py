"""The engine of `backend="numba"`: compiled kernels over packed weights."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from ..cells import Cell
from ..contract import BackwardRun, Engine, LayerGradients, LayerWeights, Run
from . import kernels
from .packed import CpuPacked, pack
from .plan import Job, Residuals, backward_job, forward_job
from .threads import POOL, most_threads
from .toolchain import Library

_Run = Run[CpuPacked]
_BackwardRun = BackwardRun[CpuPacked, Residuals]


class NumbaEngine(Engine[CpuPacked, Residuals]):
    """See `contract.Engine`."""

    xp: ModuleType = np
    min_block_steps = 64

    def __init__(self, num_threads: int | None = None) -> None:
        self.num_threads = num_threads

    def pack(self, cell: Cell, weights: LayerWeights, *, copy: bool, backward: bool) -> CpuPacked:
        return pack(cell, weights, backward=backward)

    def infer(self, runs: Sequence[_Run]) -> None:
        self._forward(runs, keep=False)

    def forward(self, runs: Sequence[_Run]) -> list[Residuals]:
        return [job.result for job in self._forward(runs, keep=True)]

    def backward(self, runs: Sequence[_BackwardRun]) -> list[LayerGradients]:
        library = kernels.backward_kernels(runs[0].packed.shape)
        threads = most_threads(self.num_threads)
        with _Lease(threads if threads > 1 else 1) as available:
            each = max(1, available // len(runs))
            jobs = [backward_job(run, each) for run in runs]
            _run(library, "backward", jobs, available)
        return [job.result for job in jobs]

    def _forward(self, runs: Sequence[_Run], *, keep: bool) -> list[Job]:
        library = kernels.forward_kernels(runs[0].packed.shape)
        threads = most_threads(self.num_threads)
        with _Lease(threads) as available:
            each = max(1, available // len(runs))
            jobs = [forward_job(run, each, keep=keep) for run in runs]
            _run(library, "forward", jobs, available)
        return jobs


class _Lease:
    """The pool for one call; if another call has it, this one makes do with its own thread."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._mine = False

    def __enter__(self) -> int:
        self._mine = self._threads > 1 and POOL.busy.acquire(blocking=False)
        return self._threads if self._mine else 1

    def __exit__(self, *_: object) -> None:
        if self._mine:
            POOL.busy.release()


def _run(library: Library, kernel: str, jobs: Sequence[Job], available: int) -> None:
    """Run jobs, as many at once as there are threads for."""
    code, function = library.addresses[kernel], library.functions[kernel]
    waiting = list(jobs)
    while waiting:
        together = [waiting.pop(0)]
        while waiting and sum(job.threads for job in together) + waiting[0].threads <= available:
            together.append(waiting.pop(0))
        tasks = [(code, ctypes.addressof(job.words), thread) for job in together for thread in range(job.threads)]
        if len(tasks) == 1:
            function(*tasks[0][1:])
        else:
            POOL.run(tasks)
