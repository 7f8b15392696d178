"""The gate: the benchmarks that `asv continuous` compares two commits by.

Other work on the machine must not be taken for the library's. So each call is on one thread, on a clock that stops
while the thread waits for a core, and a yardstick is timed right after it: a core whose sibling or cache others use is
slower at both. What asv gets are the seconds of a machine whose yardstick takes half a millisecond.

asv runs setup before every timed call, and times single calls where there is a setup: what setup needs is made once per
process, and takes milliseconds. Rounds are processes of their own, in which the commits take turns.
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
CASES += ["numba layernorm_lstm training", "numba mgu training", "numba mgu step"]
CASES += ["numpy lstm inference", "numpy lstm training"]

YARDSTICK_SECONDS = 0.5e-3


class Call:
    """A sequence of T = 50, B = 16, or steps of a stream, B = 1; I = H = 128, float32."""

    params = (CASES,)
    param_names = ("case",)
    rounds = 6
    repeat = (5, 100, 0.25)
    warmup_time = 0.1

    clock = 0.0

    def setup(self, case: str) -> None:
        self.calls, self.call = made(case)
        self.yardstick = made_yardstick()

    def time_call(self, case: str) -> None:
        start = thread_seconds()
        for _ in range(self.calls):
            self.call()
        done = thread_seconds()
        self.yardstick()
        self.clock += YARDSTICK_SECONDS * (done - start) / (thread_seconds() - done)

    def timer(self) -> float:
        """What asv reads before and after `time_call`."""
        return self.clock


def thread_seconds() -> float:
    """A time that goes on while this thread runs or sleeps, and not, on Linux, while it waits for a core."""
    schedstat = open_schedstat()
    waited = 0 if schedstat is None else int(os.pread(schedstat, 64, 0).split()[1])
    return time.perf_counter() - waited * 1e-9


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
    try:
        call = make_call(backend, cell, mode, steps, batch, 128, num_threads=1)
    except ValueError as error:
        # An earlier commit, which lacks the cell.
        raise SkipNotImplemented(str(error)) from None
    call()
    return CALLS[mode], call


@functools.cache
def made_yardstick() -> Callable[[], object]:
    """Work of the kind that networks do, and none of the library's."""
    import numpy as np
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    rng = np.random.default_rng(0)
    matrix, vector = (rng.standard_normal(shape).astype("float32") for shape in ((192, 192), 20000))

    def work() -> None:
        for _ in range(3):
            np.tanh(vector)
            np.matmul(matrix, matrix)

    return work
