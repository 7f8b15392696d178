"""The engine of `backend="numba"`: compiled kernels over packed weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ..cells import Cell
from ..contract import BackwardRun, Engine, LayerGradients, LayerWeights, Run
from .division import ROWS_BYTES
from .jobs import Job, Residuals, StepJob, backward_job, forward_job
from .layer import make_layer
from .memory import words_address
from .packed import CpuPacked, pack
from .plan import forward_division, impl
from .threads import POOL, Task, most_threads

MAX_STEP_ROWS = 4
"""Most rows of a step that one thread computes as fast as several."""

TOGETHER_ROWS = 16
"""Rows from which on independent runs share the threads, however large the weights; with fewer rows the time goes into
reading weights, and threads that divide them keep their part in the cache."""

_Run = Run[CpuPacked]
_BackwardRun = BackwardRun[CpuPacked, Residuals]


class NumbaEngine(Engine[CpuPacked, Residuals]):
    """See `contract.Engine`."""

    xp: ModuleType = np
    min_block_steps = 16

    def __init__(self, num_threads: int | None = None) -> None:
        self._threads = most_threads(num_threads)

    def pack(self, cell: Cell, weights: LayerWeights, *, copy: bool, backward: bool) -> CpuPacked:
        return pack(cell, weights, backward=backward, threads=self._threads)

    def impl(self, cell: Cell, weights: LayerWeights, steps: int, batch: int, *, training: bool) -> str:
        layer = make_layer(cell, weights.weight_hh.dtype, weights.weight_hh.shape[1], weights.weight_ih.shape[1])
        return impl(layer, steps, batch, self._threads, training=training)

    def infer(self, runs: Sequence[_Run]) -> None:
        self._run("forward", lambda threads: [forward_job(run, threads, keep=False) for run in runs], runs)

    def stepper(self, packed: CpuPacked, batch: int) -> StepJob | None:
        several = forward_division(packed.layer, 1, batch, self._threads)[0].threads > 1
        return None if several or batch > MAX_STEP_ROWS else StepJob(packed, batch)

    def forward(self, runs: Sequence[_Run]) -> list[Residuals]:
        return self._run("forward", lambda threads: [forward_job(run, threads, keep=True) for run in runs], runs)

    def backward(self, runs: Sequence[_BackwardRun]) -> list[LayerGradients]:
        return self._run("backward", lambda threads: [backward_job(run, threads) for run in runs], runs)

    def _run(
        self, kernel: str, make: Callable[[int], list[Job]], runs: Sequence[_Run] | Sequence[_BackwardRun]
    ) -> list[Any]:
        """Make jobs for a number of threads each, run them, and return their results.

        If another call has the pool, this one makes do with its own thread: the results are the same.
        """
        layer = runs[0].packed.layer
        states = runs[0].state if isinstance(runs[0], Run) else runs[0].grad_state
        at_once = len(runs) if layer.recurrent_bytes <= ROWS_BYTES or len(states[0]) >= TOGETHER_ROWS else 1
        library = layer.forward_kernels if kernel == "forward" else layer.backward_kernels
        threads = max(1, self._threads // at_once)
        jobs = make(threads)
        if len(jobs) > 1 or jobs[0].threads > 1:
            if self._threads > 1 and POOL.try_run(_batches(library.addresses[kernel], jobs, self._threads)):
                for job in jobs:
                    job.keep_balance()
                return [job.result for job in jobs]
            if threads > 1:
                jobs = make(1)
        for job in jobs:
            library.functions[kernel](words_address(job.words), 0)
        return [job.result for job in jobs]


def _batches(code: int, jobs: Sequence[Job], available: int) -> Iterator[list[Task]]:
    """The tasks of jobs, as many jobs at once as there are threads for."""
    waiting = list(jobs)
    while waiting:
        together = [waiting.pop(0)]
        while waiting and sum(job.threads for job in together) + waiting[0].threads <= available:
            together.append(waiting.pop(0))
        yield [(code, words_address(job.words), thread) for job in together for thread in range(job.threads)]
