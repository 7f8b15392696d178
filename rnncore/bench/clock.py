"""Time: samples of one task, turns of several."""

from __future__ import annotations

import contextlib
import glob
import statistics
import time
from collections.abc import Callable, Mapping

Turn = Callable[[float], list[float]]
"""Spends about the given seconds on a task, and returns seconds per call."""

MOST_WAITING, ATTEMPTS = 0.02, 4
"""Share of a turn's time that threads may wait for a core, and how often a turn is tried."""


def sample(task: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each call of `task`, for `seconds`, after one call that does not count.

    The first call wakes threads and fills caches. One that takes all the time there is cannot owe much to that, and
    counts.
    """
    samples: list[float] = []
    end = time.perf_counter() + seconds
    first = _seconds_of(task)
    while time.perf_counter() < end:
        samples.append(_seconds_of(task))
    return samples or [first]


def least_disturbed(turn: Turn, seconds: float) -> list[float]:
    """The samples of `turn`, taken again if this process's threads had to wait for a core meanwhile."""
    best, least = [], float("inf")
    for _ in range(ATTEMPTS):
        start, waited = time.perf_counter(), waiting_seconds()
        samples = turn(seconds)
        share = (waiting_seconds() - waited) / (time.perf_counter() - start)
        if share < least:
            best, least = samples, share
        if share <= MOST_WAITING:
            break
        rest()
    return best


def waiting_seconds() -> float:
    """Time that all threads of this process together have waited for a core; 0 where the system does not say."""
    waited = 0
    for path in glob.glob("/proc/self/task/*/schedstat"):
        # A thread may end meanwhile.
        with contextlib.suppress(OSError), open(path) as file:
            waited += int(file.read().split()[1])
    return waited * 1e-9


def take_turns(turns: Mapping[str, Turn], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of a call of each task: the median of each of its turns of `seconds`, one in every round."""
    samples: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            samples[name].append(statistics.median(turn(seconds)))
    return samples


def rest(longest: float = 0.5) -> None:
    """Wait until this process's threads sleep: those of BLAS and OpenMP spin on after their work.

    OpenBLAS's do so for 0.1 s. The next task should not compete with them.
    """
    end = time.perf_counter() + longest
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(0.002)
        if time.process_time() - before < 0.0005:
            return


def _seconds_of(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start
