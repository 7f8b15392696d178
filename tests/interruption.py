"""A call of the Numba engine that a signal ends before its time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rnncore_kernels.cpu import threads
from rnncore_kernels.cpu.jobs import Job

ATTEMPTS = 50


def check_interruption(call: Callable[[], object], number: int, exception: type[BaseException]) -> None:
    """Assert that a signal, whose handler raises the exception, ends a long call and cancels its jobs.

    Where the machine is so busy that the signal comes before they have begun, or when they are done, it is called
    again.
    """
    # What is compiled for the first call, and threads that are started, would take the time until the signal.
    call()
    for _ in range(ATTEMPTS):
        jobs = _interrupted(call, number, exception)
        if jobs and all(job.call.cancel for job in jobs):
            return
    raise AssertionError("no call was ended before its time")


def _interrupted(call: Callable[[], object], number: int, exception: type[BaseException]) -> Sequence[Job]:
    """The jobs that were to be computed when a signal came; none if it came when they were done."""
    timer = threading.Timer(0.05, lambda: os.kill(os.getpid(), number))
    real = threads.Pool.try_run
    computing: list[Job] = []

    def try_run(pool: threads.Pool, tasks: Any, **options: Any) -> threads.Times | None:
        if "cancel" not in options:
            return real(pool, tasks, **options)
        computing[:] = options["keep"]
        if timer.ident is None:
            timer.start()
        times = real(pool, tasks, **options)
        computing.clear()
        return times

    def call_and_wait() -> None:
        call()
        timer.join()
        time.sleep(0.01)  # for the handler

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads.Pool, "try_run", try_run)
        with pytest.raises(exception):
            call_and_wait()
    timer.join()
    return computing
