"""How many threads pay on a machine that others use, too.

Threads that meet are as slow as the one whose core somebody else has: two of them may take a hundred times as long as
one alone. The bits of a result do not depend on their number, so every call may have another. What tells is the rate of
a call, the cores that its threads had and did not spend on waiting: 1.9 of two threads on an idle machine, 1 or less
where they take turns on what is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable

WATCH_EVERY, LOOK = 0.001, 0.01
"""Seconds from one watched call to the next, as to watch takes microseconds; seconds of these that make a look."""

FAIR = 0.6
"""Share of its threads that a call's rate should be; below, fewer may do as well."""

GAIN = 1.15
"""How much higher the rate of more threads must be to be worth them."""

FIRST_PAUSE, LAST_PAUSE = 0.1, 2.0
"""Seconds between trials of more threads: doubled with each that fails."""

TRIAL_SHARE = 0.05
"""Share of all time that trials may take: a pause is at least this many times as long as the trial before it."""

MEMORY = 5.0
"""Seconds for which the rate of fewer threads counts, when that of more is judged."""


class ThreadLimit:
    """The number of threads of the next call, from the rates of the last ones. Time is in seconds, of any clock.

    Calls from several threads of Python may come at once: at worst a rate is lost.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limit: int | None = None
        self._known: tuple[float, float] | None = None
        self._seen: dict[int, tuple[float, float]] = {}
        self._noted = self._trial = 0.0
        self._doubted = False
        self._pause, self._again = FIRST_PAUSE, 0.0
        self._ceiling = self._most = 0
        self._watch_at = 0.0

    @property
    def limit(self) -> int | None:
        """Threads that a call has between trials; None for as many as it wants."""
        return self._limit

    def threads(self, most: int) -> int:
        """The number of threads for a call that could use `most`."""
        limit = self._limit
        if most > self._most:
            self._most = most
        if limit is None or most <= limit:
            return most
        if self._clock() < self._again:
            return limit
        return min(most, max(limit + 1, (limit + self._ceiling + 1) // 2)) if self._ceiling > limit else most

    def wants_to_know(self) -> bool:
        """Whether a call that begins now should be watched for `note`."""
        return self._clock() >= self._watch_at

    def note(self, threads: int, seconds: float, busy: float) -> None:
        """Learn from a call: its threads, its time, and the time that these had cores for and did not wait.

        To be told of calls alone that could use more threads than one.
        """
        now = self._clock()
        # Python may have done something else between two calls.
        elapsed, self._noted = min(now - self._noted, seconds + 2 * WATCH_EVERY), now
        self._watch_at = now + WATCH_EVERY
        limit = self._limit
        if limit is not None and threads < limit:
            return
        if threads != limit:
            self._trial += elapsed
        # By number: networks of several layers have calls of several numbers, in turns.
        seen_seconds, seen_busy = self._seen.get(threads, (0.0, 0.0))
        seconds, busy = seen_seconds + seconds, seen_busy + busy
        if seconds < LOOK:
            self._seen[threads] = seconds, busy
            return
        self._seen = {}
        rate = busy / seconds
        if threads == limit:
            self._known = now, rate
        elif rate >= self._needed(threads, now):
            self._doubted, self._trial = False, 0.0
            self._accept(threads, now, rate)
        elif not self._doubted:
            # A call that wakes threads may be slow for that alone.
            self._doubted = True
        else:
            self._reject(threads, now, rate)
            self._doubted, self._trial = False, 0.0

    def _accept(self, threads: int, now: float, rate: float) -> None:
        """So many threads pay: at least they are the limit."""
        if self._limit is None:
            return
        self._pause = FIRST_PAUSE
        if threads >= self._most:
            self._limit = None
        else:
            self._limit, self._known = threads, (now, rate)
            if threads >= self._ceiling:
                self._again = now + self._pause

    def _reject(self, threads: int, now: float, rate: float) -> None:
        """So many threads do not pay: there are fewer for a while."""
        pause = self._pause
        if self._limit is None:
            self._limit = max(1, min(threads - 1, round(rate)))
            self._known = None
        else:
            pause = max(pause, self._trial / TRIAL_SHARE)
        self._ceiling = threads - 1
        self._again = now + pause
        self._pause = min(LAST_PAUSE, 2 * self._pause)

    def _needed(self, threads: int, now: float) -> float:
        """The least rate for which so many threads are worth it."""
        # Read once: another thread may forget it.
        fair, known = FAIR * threads, self._known
        if known is None or now - known[0] > MEMORY:
            return fair
        return min(fair, GAIN * known[1])
