"""A single-threaded BLAS for the time of an engine call.

A BLAS that splits a product over threads rounds differently for each number of them (measured: OpenBLAS, in a third to
nine tenths of random shapes), so products here run on one thread, and threads get rows of the batch instead.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import threadpoolctl


class _Call:
    """A call under way."""


class _ProcessLimit:
    """The limit of libraries with one for the process: set by the first call to enter, lifted by the last to leave.

    An interruption may come anywhere in here. A call that it ended is forgotten with its object, and `before` is what
    holds without a limit until that has been set again.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls: weakref.WeakSet[_Call] = weakref.WeakSet()
        self.before: list[tuple[Any, int]] = []

    def enter(self, call: _Call, libraries: list[Any]) -> None:
        with self.lock:
            if not self.before:
                self.before = [(library, library.num_threads) for library in libraries]
            first = not self.calls
            self.calls.add(call)
            if first:
                for library in libraries:
                    _set_threads(library, 1)

    def leave(self, call: _Call) -> None:
        with self.lock:
            self.calls.discard(call)
            if not self.calls:
                for library, threads in self.before:
                    _set_threads(library, threads)
                self.before = []


_process_limit = _ProcessLimit()


def _start_anew() -> None:
    """In a forked child no call is under way, and the lock may have been held by a thread that is gone."""
    global _process_limit
    for library, threads in _process_limit.before:
        _set_threads(library, threads)
    _process_limit = _ProcessLimit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Hold BLAS to one thread; to be entered in the thread that calls it."""
    of_process, of_thread = _libraries()
    before = [(library, library.num_threads) for library in of_thread]
    limit, call = _process_limit, _Call()
    try:
        limit.enter(call, of_process)
        for library, _ in before:
            library.set_num_threads(1)
        yield
    finally:
        for library, threads in before:
            library.set_num_threads(threads)
        limit.leave(call)


@functools.cache
def _libraries() -> tuple[list[Any], list[Any]]:
    """Loaded BLAS libraries: those with a limit for the process, and those with one for each thread (OpenMP's)."""
    blas = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    of_thread = [library for library in blas if getattr(library, "threading_layer", None) == "openmp"]
    return [library for library in blas if library not in of_thread], of_thread


def _set_threads(library: Any, threads: int) -> None:
    # threadpoolctl lets the first thread that sets a limit keep all others from it, without an error.
    if hasattr(library, "clear_controlling_thread"):
        library.clear_controlling_thread(force=True)
    library.set_num_threads(threads)
    if hasattr(library, "clear_controlling_thread"):
        library.clear_controlling_thread(force=True)
