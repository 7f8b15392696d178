"""A process that measures one contender, at its parent's word: requests on its input, replies on its output."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO, NamedTuple

from . import clock, memory
from .limits import Limits, measure_limits
from .peers import NotOfferedError, impl_of, load, make_task, on_gpu
from .workload import Task, Workload, arrays_of
from .yardstick import measure_yardstick


class Prepared(NamedTuple):
    """A contender's answer: its results, if wanted, how it computes them, seconds and bytes of the first call."""

    results: list[Any] | None
    impl: str
    first_call: float
    peak_bytes: int | None


class Worker:
    """The parent's requests are calls of these methods."""

    def __init__(self, contender: str) -> None:
        self._contender = contender
        self._task: Task | None = None
        self._lasting = contextlib.ExitStack()

    def prepare(self, workload: Workload, warmup: int = 0, wanted: bool = True) -> Prepared | str:
        """Make the task, compute it once, and `warmup` times more; or say why there is no such task."""
        self._task = None
        self._lasting.close()
        # Neither a peer's import nor the random numbers are the contender's time.
        load(self._contender)
        workload.inputs()
        held = memory.start()
        start = time.perf_counter()
        try:
            task = make_task(self._contender, workload, self._lasting)
        except NotOfferedError as reason:
            return str(reason)
        results = task()
        first_call = time.perf_counter() - start
        peak = None if on_gpu(self._contender) else memory.peak_since(held)
        for _ in range(warmup):
            task()
        self._task = task
        return Prepared(arrays_of(results) if wanted else None, impl_of(self._contender, workload), first_call, peak)

    def turn(self, seconds: float) -> list[float]:
        """Seconds of each of some calls."""
        assert self._task is not None, "turn: expected to be asked after prepare"
        return clock.least_disturbed(partial(clock.sample, self._task), seconds)

    def limits(self, dtype: str, threads: int, weight_bytes: int, size: int) -> Limits:
        """The limits of the machine, or of its GPU where that is measured here."""
        return measure_limits(on_gpu(self._contender), dtype, threads, weight_bytes, size)

    def yardstick(self, threads: int) -> float:
        """Seconds that a fixed piece of work takes at the moment."""
        return measure_yardstick(threads)


def serve(worker: Worker, next_request: Callable[[], tuple[Any, ...]], replies: BinaryIO) -> None:
    """Answer requests, (method, *arguments), with (True, value) or (False, message), until a reply finds nobody."""
    while True:
        method, *arguments = next_request()
        try:
            reply = True, getattr(worker, method)(*arguments)
        except Exception as error:
            reply = False, f"{type(error).__name__}: {error}"
        # Before the parent gives the next turn to another process.
        clock.rest()
        pickle.dump(reply, replies, pickle.HIGHEST_PROTOCOL)
        replies.flush()


def main() -> None:
    """Serve on standard input and output, until the parent kills or leaves. The argument is the contender."""
    (contender,) = sys.argv[1:]
    # An interruption is the parent's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # A library's prints must not come between the replies.
    os.dup2(2, 1)
    inbox: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, inbox), daemon=True).start()
    with contextlib.suppress(BrokenPipeError):
        serve(Worker(contender), inbox.get, replies)


def _receive(requests: BinaryIO, inbox: queue.SimpleQueue[tuple[Any, ...]]) -> None:
    """Pass requests on. Their end is the parent's: then nobody wants the results."""
    with contextlib.suppress(EOFError):
        while True:
            inbox.put(pickle.load(requests))
    os._exit(1)
