"""Packed weights that are kept for the next calls, found by the bytes of what was packed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rnncore_kernels.contract import Array
from rnncore_kernels.program.transform import NOTHING, Changes

from .stack import Stack


def are_same(copies: Sequence[bytearray], arrays: Sequence[Array]) -> bool:
    """Whether arrays have the bytes of these copies: by bits, as NaN has to be."""
    # A bytearray compares itself with any contiguous memory.
    return all([copy.__eq__(array) is True for copy, array in zip(copies, arrays, strict=True)])  # noqa: C419


def in_memory(array: Array, memory: bytearray) -> Array:
    """An array like another one, of a copy of its bytes."""
    return np.ndarray(array.shape, array.dtype, memory)


class _Entry(NamedTuple):
    changes: Changes
    backward: bool
    copies: Sequence[bytearray]
    stack: Stack


class KeptStacks:
    """The weights of the last calls, which have no other identity than their bytes.

    Whoever writes to them may do so in ways that their library knows nothing of.

    Args:
        pack: makes a stack: `pack(weights, changes, copy=..., backward=...)`, as in `Stack.pack`.
        most_bytes: of weights that take less time to compare than to pack.
        most: how many are kept.
    """

    def __init__(self, pack: Callable[..., Stack], most_bytes: int, most: int) -> None:
        self._pack, self._most_bytes, self._most = pack, most_bytes, most
        # Replaced as a whole, as other threads read it.
        self._entries: tuple[_Entry, ...] = ()

    def find(self, weights: Sequence[Array], changes: Changes = NOTHING, *, backward: bool = False) -> Stack:
        """The weights, packed for one call; for the backward pass, too, if that is asked for."""
        entries = self._entries
        for entry in entries:
            if entry.changes == changes and entry.backward >= backward and are_same(entry.copies, weights):
                return entry.stack
        small = sum([array.nbytes for array in weights]) <= self._most_bytes
        if not small or not all([array.flags.c_contiguous for array in weights]):  # noqa: C419
            return self._pack(weights, changes, copy=False, backward=backward)
        copies = [bytearray(array) for array in weights]
        # Packed from the copies: what another thread writes meanwhile is in both, or in none.
        arrays = [in_memory(*each) for each in zip(weights, copies, strict=True)]
        stack = self._pack(arrays, changes, copy=True, backward=backward)
        self._entries = (_Entry(changes, backward, copies, stack), *entries[: self._most - 1])
        return stack
