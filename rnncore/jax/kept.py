"""Packed weights, kept for the next calls with the same: a backward pass, a step of inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rnncore_kernels.contract import Array

from ..stack import Stack

MOST = 4
"""Packed weights that are kept: those of as many networks of the same sizes."""


class Kept:
    """The weights of the last calls, found by their bytes: JAX's arrays have no other identity.

    Args:
        pack: makes a stack that shares no memory with the weights, with or without those of the backward pass.
        most_bytes: of weights that take less time to compare than to pack.
    """

    def __init__(self, pack: Callable[[Sequence[Array], bool], Stack], most_bytes: int) -> None:
        self._pack, self._most_bytes = pack, most_bytes
        # Replaced as a whole, as other threads read it.
        self._entries: tuple[tuple[Sequence[bytearray], bool, Stack], ...] = ()

    def find(self, weights: Sequence[Array], *, backward: bool) -> Stack:
        """The weights, packed; for the backward pass, too, if that is asked for."""
        if sum([array.nbytes for array in weights]) > self._most_bytes:
            return self._pack(weights, backward)
        entries = self._entries
        for copies, has_backward, stack in entries:
            if has_backward >= backward and _same(copies, weights):
                return stack
        copies = [bytearray(array) for array in weights]
        stack = self._pack([np.ndarray(a.shape, a.dtype, c) for a, c in zip(weights, copies, strict=True)], backward)
        self._entries = ((copies, backward, stack), *entries[: MOST - 1])
        return stack


def _same(copies: Sequence[bytearray], arrays: Sequence[Array]) -> bool:
    # By bits, as NaN has to be: a bytearray compares itself with any memory.
    return all([copy.__eq__(array) is True for copy, array in zip(copies, arrays, strict=True)])  # noqa: C419
