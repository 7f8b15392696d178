"""Threads of the NumPy engine: rows of the batch are split into tiles by size alone, and each tile runs on one thread.

A BLAS that splits a product over threads rounds differently for each number of them, so it is held to one thread
while an engine runs, and the same tiles on any number of threads give the same bits.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import threadpoolctl

Item = TypeVar("Item")
Result = TypeVar("Result")

MIN_ROWS = 32
MAX_TILES = 8
MIN_FLOPS = 8_000_000
"""Least FLOPs of a tile in one time step for which a thread of its own is faster, measured on two cores."""


def row_tiles(batch: int, flops_per_row: int) -> list[slice]:
    """Slices of the batch, of MIN_ROWS rows or more each, that are worth a thread each; one slice if none are."""
    tiles = min(MAX_TILES, batch // MIN_ROWS, batch * flops_per_row // MIN_FLOPS)
    bounds = [batch * i // max(tiles, 1) for i in range(max(tiles, 1) + 1)]
    return [slice(start, stop) for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]


def run_tiles(work: Callable[[Item], Result], items: Sequence[Item], num_threads: int | None) -> list[Result]:
    """[work(item) for item in items], on up to `num_threads` threads and with a single-threaded BLAS."""
    threads = min(len(items), num_threads or usable_cores())
    with _single_threaded_blas():
        if threads == 1:
            return [work(item) for item in items]
        # Threads of one call only: a pool that outlived it would be dead, and waited for, in a forked child.
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, items))


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _BlasLimit:
    """One limit for the whole process, from the first engine call that enters to the last that leaves."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.limiter: Any = None


_limit = _BlasLimit()


def _forget_limit() -> None:
    global _limit
    _limit = _BlasLimit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_limit)


@functools.cache
def _blas() -> Any:
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


@contextmanager
def _single_threaded_blas() -> Iterator[None]:
    limit = _limit
    with limit.lock:
        limit.users += 1
        if limit.users == 1:
            limit.limiter = _blas().limit(limits=1)
    try:
        yield
    finally:
        with limit.lock:
            limit.users -= 1
            if limit.users == 0:
                limit.limiter.restore_original_limits()
