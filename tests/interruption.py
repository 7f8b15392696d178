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


def interrupted(call: Callable[[], object], number: int, exception: type[BaseException]) -> Sequence[Job]:
    """The jobs that were being computed when a signal came, which must raise the exception in the call.

    The call is long. Where the machine is so busy that it is done before the signal comes, it is made again.
    """
    for _ in range(ATTEMPTS):
        if jobs := _attempt(call, number, exception):
            return jobs
    raise AssertionError("no call was ended before its time")


def _attempt(call: Callable[[], object], number: int, exception: type[BaseException]) -> Sequence[Job]:
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
