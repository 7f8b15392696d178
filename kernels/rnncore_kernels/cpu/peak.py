"""The machine's peaks: fused multiply-adds on registers, and bytes read, by all threads at once."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..alignment import address, aligned
from . import toolchain
from .code.ir import Definition
from .kernels import host_shape
from .memory import make_words, words_address
from .shape import Shape
from .threads import POOL

SECONDS = 0.01
REPEATS = 4

FMA_TURNS = 1 << 12
"""Least turns of multiply-adds, some 30 microseconds, in a call: fewer cost nothing beside waking threads."""

ATTEMPTS = 2000
"""Milliseconds to wait for threads that another call has."""

READ_SUMS = 8
"""Sums that what is read is added to: enough to wait for memory and not for additions."""


def fma_peak(dtype: str, num_threads: int) -> float:
    """FLOP/s of this machine's vectors at most: the best of some repeats of 2.5 ms. A multiply-add is two."""
    shape = host_shape(np.dtype(dtype))
    flops = 2 * _chains(shape) * shape.lanes * num_threads
    return flops * _turns_per_second(shape, "peak", lambda turns, places: [turns, places], num_threads, FMA_TURNS)


def read_bandwidth(size: int, num_threads: int) -> float:
    """Bytes per second that threads read of `size` bytes in all, each of a part of its own again and again.

    The best of some repeats of 2.5 ms. Where a part fits into a core's cache, that is what is measured.
    """
    shape = host_shape(np.dtype(np.float32))
    chunk = READ_SUMS * shape.vector_bytes
    count = max(1, round(size / num_threads / chunk))
    source = aligned(num_threads * count * chunk)
    source[:] = 0
    start, part = address(source), count * chunk

    def words(turns: int, places: int) -> list[int]:
        return [turns, count, part, start, places]

    return num_threads * part * _turns_per_second(shape, "read", words, num_threads)


def _chains(shape: Shape) -> int:
    """Sums that are independent of each other: as many as a tile has."""
    return 24 if shape.target.registers >= 32 else 12


def _turns_per_second(
    shape: Shape, kernel: str, words: Callable[[int, int], Sequence[int]], threads: int, least: int = 1
) -> float:
    """Turns of a kernel, whose words follow from their number and the address of 64 bytes for each thread."""
    places = aligned(64 * threads)
    places[:] = 0
    code = _library(shape).addresses[kernel]

    def seconds(turns: int) -> float:
        arguments = make_words(words(turns, address(places)))
        tasks = [(code, words_address(arguments), thread) for thread in range(threads)]
        for _ in range(ATTEMPTS):
            start = time.perf_counter()
            if POOL.try_run(tasks, watch=True) is not None:
                return time.perf_counter() - start
            time.sleep(0.001)
        raise RuntimeError("the peak cannot be measured: other calls use the threads, or the system gives no more")

    turns, before = least, float("inf")
    seconds(turns)  # wakes the threads
    while True:
        # The shortest of some: each alone may be long because something else ran meanwhile.
        shortest = min(seconds(turns) for _ in range(REPEATS))
        # Twice the work takes longer, but where a wait for a core is all that was timed.
        if shortest >= SECONDS / REPEATS and shortest > 1.5 * before:
            break
        turns, before = 2 * turns, shortest
    return turns / shortest


@functools.cache
def _library(shape: Shape) -> toolchain.Library:
    def define() -> Mapping[str, Definition]:
        from .code import emitted, peak

        peak.make_peak(shape, _chains(shape))
        peak.make_read(shape, READ_SUMS)
        return emitted.DEFINITIONS

    return toolchain.load(shape.target, f"peak {shape.dtype.name}", ("peak", "read"), define)
