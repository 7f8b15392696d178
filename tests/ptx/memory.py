"""Memory for kernels: arrays that nobody has written yet, and the arrays that a launch may access."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .runtime import layout as at

Array = NDArray[Any]
Words = NDArray[np.int64]

LARGE = 1 << 16
"""Words that are mapped rather than allocated."""


def empty(shape: int | Sequence[int], dtype: DTypeLike) -> Array:
    """An array of words that a kernel may write but not read before that: each 32-bit word is `layout.POISON`.

    As a float the pattern is a quiet NaN. A load of any 32-bit word of this value from global memory is an error,
    wherever it came from; the host fills arrays in any way it likes.
    """
    array = np.empty(shape, dtype)
    words = -(-array.nbytes // 4)
    array.reshape(-1).view(np.uint8)[:] = np.full(words, at.POISON, "<u4").view(np.uint8)[: array.nbytes]
    return array


def zeros(shape: int | tuple[int, ...]) -> Words:
    """Words that cost nothing before they are used: NumPy asks for pages of 2 MiB where there are many."""
    count = int(np.prod(shape))
    if count < LARGE or not hasattr(mmap, "MAP_PRIVATE"):
        return np.zeros(shape, np.int64)
    pages = mmap.mmap(-1, 8 * count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, np.int64).reshape(shape)


@dataclass
class Region:
    """Neighbouring bytes that a kernel may access, and what is remembered of accesses to them."""

    base: int
    bytes: int
    writeable: bool
    writes: Words | None = None
    reads: Words | None = None


def regions_of(spans: Iterable[tuple[int, int, bool]], blocks: int, shift: int) -> list[Region]:
    """Regions of spans (first byte, end, writeable); those that overlap are one, writeable if one of them is."""
    regions: list[Region] = []
    for low, high, writeable in sorted(spans):
        if low == high:
            continue
        if regions and low < regions[-1].base + regions[-1].bytes:
            last = regions[-1]
            last.bytes = max(last.bytes, high - last.base)
            last.writeable |= writeable
        else:
            regions.append(Region(low, high - low, writeable))
    for region in regions:
        if region.writeable:
            cells = ((region.base + region.bytes - 1) >> shift) - (region.base >> shift) + 1
            region.writes, region.reads = zeros(cells), zeros((blocks, cells))
    return regions


def table_of(regions: Sequence[Region]) -> Words:
    """The records of regions, for the runtime; of one that holds nothing, if there are none."""
    table = np.zeros((max(len(regions), 1), at.R_WORDS), np.int64)
    for row, region in zip(table, regions, strict=False):
        row[at.R_BASE], row[at.R_BYTES], row[at.R_WRITEABLE] = region.base, region.bytes, region.writeable
        if region.writes is not None and region.reads is not None:
            row[at.R_WRITES], row[at.R_READS] = region.writes.ctypes.data, region.reads.ctypes.data
            row[at.R_ROW_BYTES] = region.reads.strides[0]
    return table


def span_of(array: Array) -> tuple[int, int, bool]:
    """First byte, end, and whether it may be written, of an array of any strides."""
    if not array.size:
        return array.ctypes.data, array.ctypes.data, False
    low, high = np.lib.array_utils.byte_bounds(array)
    return low, high, bool(array.flags.writeable)
