"""Time: samples of one task, turns of several."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

TURNS = 5
"""Turns that a task is meant to get in its time, and the fewest rounds that a median is taken of."""
FEWEST_ROUNDS = 3

Turn = Callable[[float], list[float]]
"""Spends about the given seconds on a task, and returns seconds per call."""


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


def time_in_turns(turns: Mapping[str, Turn], min_time: float) -> dict[str, float]:
    """Median seconds of a call of each task, over rounds in which each has a turn, for `min_time` seconds per task."""
    samples: dict[str, list[float]] = {name: [] for name in turns}
    end = time.perf_counter() + min_time * len(turns)
    rounds = 0
    while turns and (time.perf_counter() < end or rounds < FEWEST_ROUNDS):
        for name, turn in turns.items():
            samples[name] += turn(min_time / TURNS)
        rounds += 1
    return {name: statistics.median(values) for name, values in samples.items()}


def rest(longest: float = 0.5) -> None:
    """Wait until this process's threads sleep: those of BLAS and OpenMP spin on after their work.

    OpenBLAS's do so for 0.1 s. What is timed next should not compete with them.
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
