"""Threads of the NumPy engine: each computes some rows of the batch over the whole sequence.

Which rows belong together depends on sizes alone, so any number of threads gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from ..cores import usable_cores
from .blas import single_threaded

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

    Uses up to `num_threads` threads if the `step_flops` of a time step, all together, are worth it.
    """

    def guarded(item: tuple[Any, ...]) -> Result:
        # NumPy's error state is a thread's own.
        with single_threaded(), np.errstate(all="ignore"):
            return work(*item)

    threads = min(len(arguments), num_threads or usable_cores(), max(1, step_flops // MIN_FLOPS))
    if threads <= 1:
        return [guarded(item) for item in arguments]
    # Threads of one call only: a pool that outlived it would be dead, and waited for, in a forked child.
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(guarded, arguments))
