"""A single-threaded BLAS for the time of an engine call.

A BLAS that splits a product over threads rounds differently for each number of them (measured: OpenBLAS, in a third to
nine tenths of random shapes), so products here run on one thread, and threads get rows of the batch instead.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import threadpoolctl


class _ProcessLimit:
    """The limit of libraries with one for the process: set by the first call to enter, lifted by the last to leave."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls = 0
        self.before: list[tuple[Any, int]] = []

    def enter(self, libraries: list[Any]) -> None:
        with self.lock:
            self.calls += 1
            if self.calls == 1:
                self.before = [(library, library.num_threads) for library in libraries]
                for library in libraries:
                    _set_threads(library, 1)

    def leave(self) -> None:
        with self.lock:
            self.calls -= 1
            if self.calls == 0:
                for library, threads in self.before:
                    _set_threads(library, threads)


_process_limit = _ProcessLimit()


def _start_anew() -> None:
    """In a forked child no call is under way, and the lock may have been held by a thread that is gone."""
    global _process_limit
    for library, threads in _process_limit.before if _process_limit.calls else []:
        _set_threads(library, threads)
    _process_limit = _ProcessLimit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Hold BLAS to one thread; to be entered in the thread that calls it."""
    of_process, of_thread = _libraries()
    before = [(library, library.num_threads) for library in of_thread]
    limit = _process_limit
    limit.enter(of_process)
    for library, _ in before:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, threads in before:
            library.set_num_threads(threads)
        limit.leave()


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
