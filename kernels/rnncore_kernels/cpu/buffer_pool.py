"""Memory that is used again: the system takes as long to hand out and clear what a training step keeps as it takes to
fill it, and the C library gives back to it whatever is large or lies at the end.

Memory stays listed here while it is used, and is free when nobody else refers to it. So nothing has to happen when an
array dies, and there is no lock and no count that an interruption could leave wrong: what one takes out of the list and
does not put back is the garbage collector's.
"""

from __future__ import annotations

from sys import getrefcount
from typing import Any

import numpy as np

from ..alignment import LINE_BYTES, aligned, at_line
from ..contract import Array

LEAST_BYTES = 1 << 17
"""Less is the C library's: its free memory goes back to the system from that size on."""

MOST_BYTES = 1 << 29
"""Memory that is listed, used or free, in all: two tapes of a quarter of a gigabyte, of which one is used at a time."""

MOST_ARRAYS = 256
"""Arrays that are listed: to look through them takes some microseconds."""

_listed: dict[tuple[int, int], Array] = {}
"""By size and identity; what was taken or found in use longest ago stands first."""


def take(size: int) -> Array:
    """Aligned, uninitialised memory of at least `size` bytes, used before or new."""
    if size < LEAST_BYTES:
        return aligned(size)
    # In steps of at most an eighth, so that memory fits what is a little smaller, too.
    step = 1 << (size.bit_length() - 4)
    size = -(-size // step) * step
    if size > MOST_BYTES:
        return aligned(size)
    memory = _take_free(size)
    if memory is None:
        _make_room(size)
        memory = np.empty(size + LINE_BYTES, np.uint8)
    _listed[size, id(memory)] = memory
    return at_line(memory, size)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An uninitialised array whose memory is used again, if it is large, when nobody refers to it or a view."""
    size = dtype.itemsize
    for length in shape:
        size *= length
    if size < LEAST_BYTES:
        return np.empty(shape, dtype)
    return take(size)[:size].view(dtype).reshape(shape)


def _take_free(size: int) -> Array | None:
    """Memory that nobody uses, out of the list, where no other thread can find it."""
    for key in reversed(list(_listed)):
        if key[0] == size and (memory := _listed.pop(key, None)) is not None:
            if getrefcount(memory) == _UNUSED:
                return memory
            _listed[key] = memory
    return None


def _make_room(size: int) -> None:
    """Forget what was taken longest ago until so many bytes more are not too much."""
    keys = list(_listed)
    total, count = sum(key[0] for key in keys) + size, len(keys) + 1
    for key in keys:
        if total <= MOST_BYTES and count <= MOST_ARRAYS:
            break
        _listed.pop(key, None)
        total, count = total - key[0], count - 1


def _count_own() -> int:
    """References that Python counts to what only a variable holds, which depends on its version."""
    memory = np.empty(0)
    return getrefcount(memory)


_UNUSED = _count_own()
