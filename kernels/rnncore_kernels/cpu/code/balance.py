"""Work that threads share by their speed.

Cores differ, or compute for somebody else's threads at times; threads that meet at a barrier would all be as slow as
the slowest. Each takes a part of the work, of some width. Once in a while all publish how long theirs took, meet, and
compute the widths anew from what was published: all come to the same. What is computed where changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable

from ..fields.balance import BUSY, COUNT, PART_WORDS, SHIFT, WAITED, WHOLE, WIDTH, piece_count
from .emitted import compiled
from .groups import unit_offset
from .memory import set_word, word
from .system import cycles

BALANCE_STEPS = 4
"""Steps after which threads that share hidden units divide these anew."""

MOST_UNEVEN = 4
"""How many times as long as another's a thread's time may seem: one that the system kept waiting is not that slow."""

EVEN_SHARE = 16
"""One in so many widths is divided evenly, so that no thread is left without work for good."""

INERTIA = 4
"""A width goes a fourth of the way to what was measured."""


pieces: Callable[[int, int], int] = compiled("pieces")(piece_count)


@compiled("worked")
def worked(part: int) -> int:
    """A clock that stands still while the part's thread waits for others; `part` is the address of its words."""
    waited: int = word(part, WAITED)
    time: int = cycles() - waited
    return time


@compiled("publish")
def publish(part: int, width: int, count: int, busy: int) -> None:
    """Write what a part was and how long it took, before all meet."""
    set_word(part, WIDTH, width)
    set_word(part, COUNT, max(1, count))
    set_word(part, BUSY, max(1, busy))


@compiled("edge")
def edge(parts: int, number: int, part: int) -> int:
    """Where a part begins, of `number`, by what all have published; in WHOLEths."""
    if part == 0:
        return 0
    if part == number:
        return WHOLE
    most, total, at = 1, 0, 0
    for k in range(number):
        most = max(most, word(parts, k * PART_WORDS + BUSY))
    for k in range(number):
        total += _speed(parts, k, most)
    for k in range(part):
        width = word(parts, k * PART_WORDS + WIDTH)
        wanted = WHOLE // EVEN_SHARE // number + (WHOLE - WHOLE // EVEN_SHARE) * _speed(parts, k, most) // total
        # Where no time was measured yet, or none can be, parts stay as they are.
        at += width + ((wanted - width) // INERTIA if most > 1 else 0)
    # Whatever words another call left, nobody computes what there is not.
    return max(0, min(at, WHOLE))


@compiled("speed")
def _speed(parts: int, k: int, most: int) -> int:
    """Work of part k in some time, where the slowest part took `most`."""
    at = k * PART_WORDS
    count: int = word(parts, at + COUNT)
    busy: int = word(parts, at + BUSY)
    return count * ((most << 10) // max(1, max(busy, most // MOST_UNEVEN)))


@compiled("bound")
def bound(count: int, at: int) -> int:
    """The first of `count` units of work in the part that begins at an edge."""
    return (count * at + WHOLE // 2) >> SHIFT


@compiled("unit_bound")
def unit_bound(units: int, groups: int, at: int) -> int:
    """The first of `units` vectors, where parts have whole groups of them."""
    return unit_offset(bound(groups, at), groups, units)


@compiled("block_bound")
def block_bound(count: int, at: int, block: int) -> int:
    """The same, where parts begin with a whole block of so many units."""
    return min(count, bound((count + block - 1) // block, at) * block)
