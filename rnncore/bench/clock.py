"""Time: samples of one task, turns of several."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

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


def take_turns(turns: Mapping[str, Turn], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of a call of each task: the median of each of its turns of `seconds`, one in every round."""
    samples: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            samples[name].append(statistics.median(turn(seconds)))
    return samples


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
