"""Threads of the NumPy engine: each computes some rows of the batch over the whole sequence.

Which rows belong together depends on sizes alone, so any number of threads gives the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

from .blas import single_threaded

Item = TypeVar("Item")
Result = TypeVar("Result")

MIN_ROWS = 32
MAX_TILES = 8
MIN_FLOPS = 8_000_000
"""Least FLOPs of a tile in one time step for which a thread of its own is faster, measured on two cores."""


def row_tiles(batch: int, flops_per_row: int) -> list[slice]:
    """Slices of the batch, of MIN_ROWS rows or more each, that are worth a thread each; one slice if none are."""
    tiles = max(1, min(MAX_TILES, batch // MIN_ROWS, batch * flops_per_row // MIN_FLOPS))
    bounds = [batch * i // tiles for i in range(tiles + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def run_tiles(work: Callable[[Item], Result], items: Sequence[Item], num_threads: int | None) -> list[Result]:
    """[work(item) for item in items], on up to `num_threads` threads and with a single-threaded BLAS."""

    def guarded(item: Item) -> Result:
        with single_threaded():
            return work(item)

    threads = min(len(items), num_threads or usable_cores())
    if threads == 1:
        return [guarded(item) for item in items]
    # Threads of one call only: a pool that outlived it would be dead, and waited for, in a forked child.
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(guarded, items))


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
