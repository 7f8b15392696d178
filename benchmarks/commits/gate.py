"""The gate: the benchmarks that `asv continuous` compares two commits by.

On one thread, so that whatever else runs on a shared machine takes the other cores and not the samples' time. asv runs
setup before every timed call, and times single calls where there is a setup: what setup makes is made once per process,
and takes milliseconds. Each round is a process of its own; `asv continuous` alternates the commits between rounds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from asv_runner.benchmarks.mark import SkipNotImplemented

import rnncore

from .calls import make_call

CALLS = {"inference": 1, "training": 1, "step": 200}
"""Calls that are timed as one, by mode."""


class Call:
    """A sequence of T = 50, B = 16, or steps of a stream, B = 1; I = H = 128, float32."""

    params = (("numba", "numpy"), ("lstm", "gru", "rnn"), tuple(CALLS))
    param_names = ("backend", "cell", "mode")
    rounds = 4
    repeat = (10, 200, 0.5)
    warmup_time = 0.1

    def setup(self, backend: str, cell: str, mode: str) -> None:
        probe = rnncore.backends()[backend]
        if not probe.available:
            raise SkipNotImplemented(probe.reason)
        self.call = made(backend, cell, mode)

    def time_call(self, backend: str, cell: str, mode: str) -> None:
        for _ in range(CALLS[mode]):
            self.call()


@functools.cache
def made(backend: str, cell: str, mode: str) -> Callable[[], object]:
    """What is timed, after a first call, which compiles what is not in the cache."""
    steps, batch = (1, 1) if mode == "step" else (50, 16)
    call = make_call(backend, cell, mode, steps, batch, 128, num_threads=1)
    call()
    return call
