"""The engine of `backend="numba"`: compiled kernels over packed weights."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from ..codegen.philox import Dropout
from ..contract import Array, BackwardRun, Engine, LayerGradients, LayerWeights, Prepared, Run, Sizes
from ..cores import usable_cores
from ..program.program import Program
from . import openmp
from .division import MIN_FLOPS, ROWS_BYTES, forward_division, impl
from .dropout import drop
from .history import states
from .jobs import Job, PreparedRun, Residuals, backward_job, forward_job, recalled
from .layer import layer_sizes
from .packed import CpuPacked, pack
from .plan import tape_bytes
from .thread_limit import ThreadLimit
from .threads import POOL, Times, asked_threads

TOGETHER_ROWS = 16
"""Rows from which on independent runs share the threads, however large the weights; with fewer rows the time goes into
reading weights, and threads that divide them keep their part in the cache."""

LONG_FLOPS = 10_000_000_000
"""Least operations of a call that Ctrl-C can end: 20 milliseconds to 2 seconds. Python's main thread only waits for it,
and waking the others takes 0.1 milliseconds."""

LIMIT = ThreadLimit()
"""The threads that pay now, for all networks of the process."""

_Run = Run[CpuPacked]
_BackwardRun = BackwardRun[CpuPacked, Residuals]
_AnyRun = TypeVar("_AnyRun", _Run, _BackwardRun)


class NumbaEngine(Engine[CpuPacked, Residuals]):
    """See `contract.Engine`."""

    xp: ModuleType = np
    min_block_steps = 16

    def __init__(self, num_threads: int | None = None) -> None:
        self._asked = asked_threads(num_threads)

    def pack(self, program: Program, sizes: Sizes, weights: LayerWeights, *, copy: bool, backward: bool) -> CpuPacked:
        return pack(program, sizes, weights, backward=backward, threads=self._threads)

    def impl(self, program: Program, sizes: Sizes, steps: int, batch: int, *, training: bool) -> str:
        layer = layer_sizes(program, sizes)
        return impl(layer, steps, batch, self._most_threads(), training=training)

    def infer(self, runs: Sequence[_Run]) -> None:
        self._run(partial(forward_job, keep=False), runs)

    def prepare(self, packed: CpuPacked, steps: int, batch: int) -> Prepared | None:
        layer, most = packed.layer, min(self._asked, os.cpu_count() or 1)
        if layer.program.row_inputs or layer.program.unit_inputs or 2 * steps * batch * layer.weights >= LONG_FLOPS:
            return None
        # Not only the threads that the process may use at this moment: it may be given more.
        if forward_division(layer, steps, batch, most)[0].threads == 1:
            return PreparedRun(packed, steps, batch, 1)
        by_threads = functools.cache(partial(PreparedRun, packed, steps, batch))
        return partial(self._run_prepared, by_threads)

    def forward(self, runs: Sequence[_Run]) -> list[Residuals]:
        return self._run(partial(forward_job, keep=True), runs)

    def states(self, packed: CpuPacked, residuals: Residuals) -> tuple[Array, ...]:
        return states(packed, residuals)

    def tape_bytes(self, program: Program, sizes: Sizes, steps: int, batch: int) -> int:
        return tape_bytes(layer_sizes(program, sizes), steps, batch)

    def recall(self, runs: Sequence[_Run]) -> list[Residuals]:
        return [recalled(run) for run in runs]

    def backward(self, runs: Sequence[_BackwardRun]) -> list[LayerGradients]:
        return self._run(backward_job, runs)

    def drop(self, values: Array, dropout: Dropout) -> None:
        drop(values, dropout, self._threads())

    def _run_prepared(
        self, by_threads: Callable[[int], PreparedRun], x: Array, state: Sequence[Array], output: Array
    ) -> None:
        """Compute a prepared run with as many threads as pay now."""
        most = self._most_threads()
        run = by_threads(LIMIT.threads(most))
        ready = run.take(x, state, output)
        job = ready.job
        if job.threads == 1:
            (_run_alone if most > 1 else _run_here)((job,))
        else:
            job.clear()
            if not _run_at_once((job,)):
                by_threads(1)(x, state, output)
        run.put(ready)

    def _threads(self) -> int:
        """Threads that pay now."""
        return LIMIT.threads(self._most_threads())

    def _most_threads(self) -> int:
        """Threads that a call may use now: one per core at most, and no more than PyTorch where its team is used."""
        if self._asked == 1:
            return 1
        return min(self._asked, usable_cores(), openmp.most_threads() or self._asked)

    def _run(self, make: Callable[[_AnyRun, int], Job], runs: Sequence[_AnyRun]) -> list[Any]:
        """Make jobs of as many threads as pay now, run them, and return their results.

        If another call has the pool, this one makes do with its own thread: the results are the same.
        """
        layer = runs[0].packed.layer
        flops, batch = _work(runs)
        # One small run has one thread: to ask for the cores would take a tenth of its time.
        most = self._most_threads() if flops >= MIN_FLOPS or len(runs) > 1 else 1
        if most == 1 and flops < LONG_FLOPS:
            jobs = [make(run, 1) for run in runs]
            _run_here(jobs)
            return [job.finish() for job in jobs]
        available = LIMIT.threads(most)
        at_once = len(runs) if layer.recurrent_bytes <= ROWS_BYTES or batch >= TOGETHER_ROWS else 1
        jobs = [make(run, max(1, available // at_once)) for run in runs]
        if flops >= LONG_FLOPS and threading.current_thread() is threading.main_thread():
            run_batch: Callable[[Sequence[Job]], bool] = partial(_run_interruptibly, watch=most > 1)
        elif available > 1:
            run_batch = _run_at_once
        else:
            run_batch = _run_alone if most > 1 else _run_here
        results, first = [], 0
        for together in _batches(jobs, available):
            if not run_batch(together):
                for index, job in enumerate(together):
                    if job.threads > 1:
                        job = together[index] = make(runs[first + index], 1)
                    job.compute()
            results += [job.finish() for job in together]
            first += len(together)
        return results


def _work(runs: Sequence[_Run | _BackwardRun]) -> tuple[int, int]:
    """Operations of all products of some runs, about, and the batch."""
    flops = batch = 0
    for run in runs:
        steps, batch, _ = run.x.shape if isinstance(run, Run) else run.residuals.x.shape
        flops += (2 if isinstance(run, Run) else 4) * steps * batch * run.packed.layer.weights
    return flops, batch


def _batches(jobs: Sequence[Job], available: int) -> Iterator[list[Job]]:
    """As many jobs at once as there are threads for."""
    waiting = list(jobs)
    while waiting:
        together = [waiting.pop(0)]
        while waiting and sum(job.threads for job in together) + waiting[0].threads <= available:
            together.append(waiting.pop(0))
        yield together


def _tasks(jobs: Sequence[Job]) -> list[tuple[int, int, int]]:
    return [(job.kernel[0], job.call.address, thread) for job in jobs for thread in range(job.threads)]


def _run_at_once(jobs: Sequence[Job]) -> bool:
    """Run jobs on the pool and this thread; False, with nothing run, if there is one task, or others have the pool."""
    if len(jobs) == 1 and jobs[0].threads == 1:
        return False
    return _note(jobs, POOL.try_run(_tasks(jobs), watch=LIMIT.wants_to_know()))


def _run_interruptibly(jobs: Sequence[Job], *, watch: bool) -> bool:
    """The same on the pool alone, while this thread waits for it and for signals."""
    cancel = [job.cancel for job in jobs]
    return _note(jobs, POOL.try_run(_tasks(jobs), watch=watch, cancel=cancel, keep=jobs))


def _note(jobs: Sequence[Job], times: Times | None) -> bool:
    """Learn from a watched call how busy the machine is.

    Returns whether the jobs were run.
    """
    if times is None:
        return False
    if times.seconds > 0:
        awake = sum([job.call.awake for job in jobs])
        waited = awake / times.cycles * times.seconds if times.cycles > 0 else 0.0
        LIMIT.note(sum([job.threads for job in jobs]), times.seconds, max(0.0, times.core_seconds - waited))
    return True


def _run_here(jobs: Sequence[Job]) -> bool:
    """Run jobs on this thread."""
    for job in jobs:
        job.compute()
    return True


def _run_alone(jobs: Sequence[Job]) -> bool:
    """Run jobs on this thread, though others might help, and learn how much of a core it gets."""
    start, before = time.perf_counter(), time.thread_time()
    for job in jobs:
        job.compute()
    LIMIT.note(1, time.perf_counter() - start, time.thread_time() - before)
    return True
