"""Zoneout and dropout as the oracle has them: number by number, with random numbers of its own hand.

Random123's Philox4x32-10, from the paper: J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, Parallel Random
Numbers: As Easy as 1, 2, 3, SC 2011, section 3.3 and its reference implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from .scalars import Vector, each

Block = tuple[int, int, int, int]


def random_words(counter: Block, key: tuple[int, int]) -> Block:
    """The four words of 32 bits of a counter."""
    x0, x1, x2, x3 = counter
    k0, k1 = key
    for round_number in range(10):
        if round_number > 0:
            k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
        high0, low0 = divmod(0xD2511F53 * x0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * x2, 2**32)
        x0, x1, x2, x3 = high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0
    return x0, x1, x2, x3


@dataclass(frozen=True)
class Regularisation:
    """What a call does with states and inputs.

    Attributes:
        zoneout: probability that a unit keeps its value, of each state; () is 0.
        recurrent: probability of dropping a unit of what recurrent weights multiply.
        inputs, between: probability of dropping an element of x, and of the input of layers above the first.
        variational: whether these drop the same elements at all steps.
        key: of the call, 64 bits; None in inference.
    """

    zoneout: Sequence[float] = ()
    recurrent: float = 0.0
    inputs: float = 0.0
    between: float = 0.0
    variational: bool = False
    key: int | None = None

    def new_state(self, number: int, old: Vector, new: Vector, layer: int, direction: int, row: int, t: int) -> Vector:
        """A state after a step, from that before and that which the cell computes."""
        rate = self.zoneout[number] if self.zoneout else 0.0
        if not rate:
            return new
        if self.key is None:
            return each(lambda a, b: a * rate + b * (1 - rate), old, new)
        units = range(len(new))
        drawn = [self._draw((layer, direction, 0), (u, row, t, 1 + number // 4))[number % 4] for u in units]
        return [a if _falls(word, rate) else b for a, b, word in zip(old, new, drawn, strict=True)]

    def operand_factors(self, width: int, layer: int, direction: int, row: int) -> list[float]:
        """What each unit of the operand of recurrent weights is multiplied with."""
        if self.key is None or not self.recurrent:
            return [1.0] * width
        drawn = [self._draw((layer, direction, 0), (unit, row, 0, 0))[0] for unit in range(width)]
        return [_factor(word, self.recurrent) for word in drawn]

    def input_factors(self, width: int, layer: int, row: int, t: int) -> list[float]:
        """What each element of the input of a layer is multiplied with."""
        rate = self.between if layer else self.inputs
        if self.key is None or not rate:
            return [1.0] * width
        quarter, time = (width + 3) // 4, 0 if self.variational else t
        drawn = [self._draw((layer, 0, 1), (u % quarter, row, time, 0))[u // quarter] for u in range(width)]
        return [_factor(word, rate) for word in drawn]

    def _draw(self, of: tuple[int, int, int], counter: Block) -> Block:
        assert self.key is not None
        high, low = divmod(self.key, 2**32)
        return random_words(counter, random_words((*of, 0), (low, high))[:2])


NONE = Regularisation()


def _falls(word: int, rate: float) -> bool:
    """Whether the random number of a word, 24 bits of it, is below a probability."""
    return Fraction(word // 256, 2**24) < Fraction(rate)


def _factor(word: int, rate: float) -> float:
    return 0.0 if _falls(word, rate) else 1 / (1 - rate)
