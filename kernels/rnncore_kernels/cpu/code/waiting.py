"""Threads that wait for one another: briefly awake, then asleep until they are woken.

Who waits for long has a core that others may need, perhaps the thread that it waits for. A word that is waited for is a
count that only grows, and, above it, how many sleep until it does: whoever lets it grow learns that by the way.
"""

from __future__ import annotations

from .emitted import compiled
from .memory import add_word, or_word, read_word
from .system import cycles, relax, sleep_on, wake, yield_core

SPINS, YIELDS = 200, 150
"""Turns of a thread that waits: with its core to itself 5 microseconds, then offering it to others, some 60 more."""

HURRIED_SPINS, HURRIED_YIELDS = 20, 0
"""The same where the others are late for want of a core, and may need this one."""

SLEEPER = 1 << 48
"""A word holds so many of the count, and one thread that sleeps."""

OPEN = 1 << 47
"""The count of a barrier that nobody waits at any more."""


@compiled("arrive")
def arrive(address: int) -> None:
    """Let a word's count grow by one, and wake who sleeps until it does."""
    if add_word(address, 1) >= SLEEPER:
        wake(address)


@compiled("count_of")
def count_of(address: int) -> int:
    """The count of a word that is waited for."""
    count: int = read_word(address) & (SLEEPER - 1)
    return count


@compiled("wait_for")
def wait_for(address: int, value: int, spins: int, yields: int) -> int:
    """Return when the count at `address` is at least `value`: when the thread fell asleep, in cycles, or 0."""
    turns, asleep = 0, 0
    while count_of(address) < value:
        turns += 1
        if turns <= spins:
            relax()
        elif turns <= spins + yields:
            yield_core()
        else:
            if asleep == 0:
                asleep = max(1, cycles())
            sleep_until(address, value, 0)
    return asleep


@compiled("sleep_until")
def sleep_until(address: int, value: int, nanoseconds: int) -> None:
    """Sleep once, unless the count is at least `value`; the thread may wake before it is."""
    seen = add_word(address, SLEEPER)
    if seen & (SLEEPER - 1) < value:
        sleep_on(address, seen, nanoseconds)
    add_word(address, -SLEEPER)


@compiled("open_barrier")
def open_barrier(barrier: int) -> None:
    """Let all who wait at a barrier go on, now and later: the call is cancelled, and its results are nobody's."""
    or_word(barrier, OPEN)
    # Whoever is about to sleep compares the low half of the word alone: it has to change, too.
    arrive(barrier)
