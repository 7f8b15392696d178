"""Threads of the NumPy engine: each computes some rows of the batch over the whole sequence.

Which rows belong together depends on sizes alone, so any number of threads gives the same bits.
"""

from __future__ import annotations

import _thread
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..cores import usable_cores
from ..quiet import call_quietly
from .blas import single_threaded
from .float_mode import current_mode

Result = TypeVar("Result")

MAX_TILES = 8
MIN_FLOPS = 8_000_000
"""Least FLOPs of a tile in one time step for which a thread of its own is faster, measured on two cores."""


def tile_count(batch: int, step_flops: int) -> int:
    """Into how many tiles a batch is split: of 32 rows or more, or two of 16 or more, and each worth a thread."""
    by_rows = max(batch // 32, 2 if batch >= 32 else 1)
    return max(1, min(MAX_TILES, by_rows, step_flops // MIN_FLOPS))


def run_in_threads(
    work: Callable[..., Result], arguments: Sequence[tuple[Any, ...]], step_flops: int, num_threads: int | None
) -> list[Result]:
    """[work(*a) for a in arguments] with a single-threaded BLAS.

    Uses up to `num_threads` threads, this one among them and one per core at most, if the `step_flops` of a time step,
    all together, are worth it, and as many as the system gives: none more in a process that ends, say.
    """
    threads = min(len(arguments), num_threads or sys.maxsize, max(1, step_flops // MIN_FLOPS))
    if threads > 1:
        threads = min(threads, usable_cores())
    waiting = deque(enumerate(arguments))
    results: dict[int, Result] = {}
    failures: dict[int, Exception] = {}

    def compute() -> None:
        while waiting:
            try:
                number, item = waiting.popleft()
            except IndexError:  # another thread took the last
                return
            try:
                results[number] = single_threaded(work, *item)
            except Exception as error:
                failures[number] = error
                waiting.clear()

    def help_out(done: _thread.LockType, adopt_mode: Callable[[], None]) -> None:
        try:
            adopt_mode()
            call_quietly(compute)
        finally:
            done.release()

    # Threads of one call only: a pool that outlived it would be dead, and waited for, in a forked child. Not those of
    # `threading`: an interruption of `start` may leave the new thread waiting for ever, and the process for it.
    helpers: list[_thread.LockType] = []
    try:
        for _ in range(threads - 1 if not sys.is_finalizing() else 0):
            done = _thread.allocate_lock()
            done.acquire()
            try:
                _thread.start_new_thread(help_out, (done, current_mode()))
            except RuntimeError:
                break
            helpers.append(done)
        call_quietly(compute)
    finally:
        waiting.clear()
        for done in helpers:
            done.acquire()
    try:
        for number in sorted(failures):
            raise failures[number]
    finally:
        failures.clear()
    return [results[number] for number in range(len(arguments))]
