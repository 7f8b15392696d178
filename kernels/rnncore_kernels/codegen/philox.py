"""Random numbers without a state: Philox 4x32-10, four random words for each counter.

J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011. Everything
here is written once on words of 64 bits, of which the lower 32 count: Python's integers, NumPy's or CuPy's arrays of
uint64, and the registers of `value.Words`. So all engines draw the same bits, in any order, and again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..quiet import quiet

MASK = 0xFFFFFFFF
FACTORS = 0xD2511F53, 0xCD9E8D57
INCREMENTS = 0x9E3779B9, 0xBB67AE85
"""What is added to the words of the key from round to round."""

BITS = 24
"""A random number has as many as float32, so that every dtype holds the same numbers."""

BLOCK_BYTES = 1 << 18
"""Size of the arrays of words in which `drop` draws: what the second-level cache holds."""


def philox(counter: Sequence[Any], key: Sequence[Any]) -> list[Any]:
    """The four random words of a counter of four words and a key of two."""
    a, b, c, d = counter
    first, second = key
    for _ in range(10):
        left, right = (a & MASK) * FACTORS[0], (c & MASK) * FACTORS[1]
        # The upper halves of words may hold anything, as products read the lower ones alone.
        a, b, c, d = (right >> 32) ^ b ^ first, right, (left >> 32) ^ d ^ second, left
        first, second = first + INCREMENTS[0], second + INCREMENTS[1]
    return [word & MASK for word in (a, b, c, d)]


def least(rate: float) -> int:
    """The number of the 2**BITS random numbers that are below a probability."""
    return math.ceil(rate * (1 << BITS))


class Dropout(NamedTuple):
    """What a sequence (T, B, width) is dropped by: each element with a probability, others are scaled.

    The counter of an element is (unit mod q, row, step, 0), and its word unit div q, where q is a quarter of the width,
    rounded up.

    Attributes:
        rate: the probability.
        key: two words.
        first: the number of the first step.
        together: whether a row has one mask for all steps, that of step 0.
    """

    rate: float
    key: tuple[int, int]
    first: int
    together: bool

    @property
    def scale(self) -> float:
        """The factor of what is kept, so that the expectation is that of all; 0 where nothing is."""
        return 1 / (1 - self.rate) if self.rate < 1 else 0.0

    def kept(self, xp: ModuleType, steps: range, batch: int, width: int) -> Any:
        """Which elements of some steps are kept, (steps, B, width) of bool; of one step if they share a mask."""
        quarter = -(-width // 4)
        times = [0] if self.together else [self.first + t for t in steps]
        unit, row, step = (xp.asarray(np.asarray(n, np.uint64)) for n in (range(quarter), range(batch), times))
        words = philox((unit, row[:, None], step[:, None, None], 0), self.key)
        return (xp.concatenate(words, axis=-1)[..., :width] >> (32 - BITS)) >= least(self.rate)


@quiet
def drop(xp: ModuleType, values: Any, dropout: Dropout) -> None:
    """Drop elements of a sequence (T, B, width) in place, some steps at a time."""
    steps, batch, width = values.shape
    block = max(1, BLOCK_BYTES // max(1, 8 * batch * width))
    for start in range(0, steps, block):
        some = range(start, min(start + block, steps))
        kept = dropout.kept(xp, some, batch, width)
        values[some.start : some.stop] *= values.dtype.type(dropout.scale)
        xp.copyto(values[some.start : some.stop], 0, where=~kept)
