"""The machine's peak: fused multiply-adds on registers, by all threads at once."""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Mapping

import numpy as np

from . import toolchain
from .code.ir import Definition
from .kernels import host_shape
from .memory import address, aligned, make_words
from .shape import Shape
from .threads import POOL

SECONDS = 0.05
REPEATS = 5


def fma_peak(dtype: str, num_threads: int) -> float:
    """FLOP/s of this machine's vectors at most: the best of some repeats, 50 ms in all. A multiply-add is two."""
    shape = host_shape(np.dtype(dtype))
    turns = 1000
    _seconds(shape, turns, num_threads)  # compiles
    while (seconds := _seconds(shape, turns, num_threads)) < SECONDS / REPEATS:
        turns *= 2
    seconds = min(seconds, *(_seconds(shape, turns, num_threads) for _ in range(REPEATS)))
    return 2 * turns * _chains(shape) * shape.lanes * num_threads / seconds


def _chains(shape: Shape) -> int:
    """Sums that are independent of each other: as many as a tile has."""
    return 24 if shape.target.registers >= 32 else 12


def _seconds(shape: Shape, turns: int, threads: int) -> float:
    places = aligned(64 * threads)
    places[:] = 0
    words = make_words([turns, address(places)])
    kernel = _library(shape).addresses["peak"]
    with POOL.busy:
        start = time.perf_counter()
        POOL.run([(kernel, ctypes.addressof(words), thread) for thread in range(threads)])
        return time.perf_counter() - start


@functools.cache
def _library(shape: Shape) -> toolchain.Library:
    def define() -> Mapping[str, Definition]:
        from .code import emitted, peak

        peak.make_peak(shape, _chains(shape))
        return emitted.DEFINITIONS

    return toolchain.load(shape.target, f"peak {shape.dtype.name}", ("peak",), define)
