"""The gate: the benchmarks that `asv continuous` compares two commits by.

One thread each, on a clock that stops while the thread waits for a core, so that other work on the machine is not taken
for the library's. asv runs setup before every timed call, and times single calls where there is a setup: what setup
needs is made once per process, and takes milliseconds. Rounds are processes of their own; commits take turns.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

from asv_runner.benchmarks.mark import SkipNotImplemented

CALLS = {"inference": 1, "training": 1, "step": 200}
"""Calls that are timed as one, by mode."""

CASES = [f"numba {cell} {mode}" for cell in ("lstm", "gru", "rnn") for mode in CALLS]
CASES += [f"numpy lstm {mode}" for mode in CALLS]


class Call:
    """A sequence of T = 50, B = 16, or steps of a stream, B = 1; I = H = 128, float32."""

    params = (CASES,)
    param_names = ("case",)
    rounds = 6
    repeat = (5, 100, 0.25)
    warmup_time = 0.1

    def setup(self, case: str) -> None:
        self.calls, self.call = made(case)

    def time_call(self, case: str) -> None:
        for _ in range(self.calls):
            self.call()

    @staticmethod
    def timer() -> float:
        """Seconds that the thread was running or asleep, where the system tells them from those waiting for a core."""
        schedstat = open_schedstat()
        waiting = 0 if schedstat is None else int(os.pread(schedstat, 64, 0).split()[1])
        return time.perf_counter() - waiting * 1e-9


@functools.cache
def open_schedstat() -> int | None:
    """The file of this thread's nanoseconds on a core and waiting for one, on Linux."""
    path = Path("/proc/thread-self/schedstat")
    return os.open(path, os.O_RDONLY) if path.exists() else None


@functools.cache
def made(case: str) -> tuple[int, Callable[[], object]]:
    """How many calls are timed as one, and the call, made once before: that compiles what is not in the cache."""
    import rnncore

    from .calls import make_call

    backend, cell, mode = case.split()
    probe = rnncore.backends()[backend]
    if not probe.available:
        raise SkipNotImplemented(probe.reason)
    steps, batch = (1, 1) if mode == "step" else (50, 16)
    call = make_call(backend, cell, mode, steps, batch, 128, num_threads=1)
    call()
    return CALLS[mode], call
