"""A single-threaded BLAS for the time of an engine call.

A BLAS that splits a product over threads rounds differently for each number of them (measured: OpenBLAS, in a third to
nine tenths of random shapes), so products here run on one thread, and threads get rows of the batch instead.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import threadpoolctl

Result = TypeVar("Result")

SETTERS = {
    "openblas": "openblas_set_num_threads",
    "mkl": "MKL_Set_Num_Threads_Local",
    "blis": "bli_thread_set_num_threads",
    "flexiblas": "flexiblas_set_num_threads",
}
"""Functions that set the number of threads, by threadpoolctl's name of a library."""

AFFIXES = tuple(itertools.product(("", "scipy_"), ("", "64_", "_64")))
"""Prefixes and suffixes of the names of OpenBLAS's functions."""


@dataclass(frozen=True, eq=False)
class Library:
    """A BLAS.

    Attributes:
        threads: returns how many it uses.
        limit: a function of C that sets how many; it ignores its second argument, and keeps the GIL.
    """

    threads: Callable[[], int]
    limit: Callable[[int, object], None]


class _Limit:
    """A limit on libraries, for as long as anyone refers to it.

    Its end takes no Python: the callbacks of the references to it, in C, give each library its threads back. So a call
    that an interruption ends, wherever it comes, leaves nothing behind.
    """

    __slots__ = ("__weakref__", "before")

    def __init__(self) -> None:
        self.before: dict[Library, weakref.ref[_Limit]] = {}


_SHARED = "limit"
_limits: dict[str, weakref.ref[_Limit]] = {}
"""The one limit, while there is one, of all calls under way on libraries with a number of threads for the process."""


def single_threaded(work: Callable[..., Result], *arguments: Any) -> Result:
    """work(*arguments) with BLAS held to one thread; to be called in the thread that calls BLAS."""
    of_process, of_thread = _libraries()
    shared = own = None
    try:
        shared = _limited(of_process, _limits)
        own = _limited(of_thread, {})
        return work(*arguments)
    finally:
        # Not left to the frame, which lives as long as the traceback of an exception.
        del shared, own


def _limited(libraries: Sequence[Library], limits: dict[str, weakref.ref[_Limit]]) -> _Limit | None:
    """The limit in `limits`, or a new one, in force.

    Several threads may come here at once, and each step may be the last: the first thread to ask a library for its
    threads does so before any has limited it.
    """
    if not libraries:
        return None
    limit = _Limit()
    try:
        limit = limits.setdefault(_SHARED, weakref.ref(limit, functools.partial(limits.pop, _SHARED)))() or limit
        for library in libraries:
            if library not in limit.before:
                give_back = functools.partial(library.limit, library.threads())
                limit.before.setdefault(library, weakref.ref(limit, give_back))
            library.limit(1, None)
        return limit
    finally:
        del limit


@functools.cache
def _libraries() -> tuple[list[Library], list[Library]]:
    """Loaded BLAS libraries: those with a number of threads for the process, and those with one for each thread."""
    of_process: list[Library] = []
    of_thread: list[Library] = []
    for found in threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers:
        by_thread = found.internal_api == "mkl" or getattr(found, "threading_layer", None) == "openmp"
        limit = _setter(found)
        if limit is not None:
            (of_thread if by_thread else of_process).append(Library(found.get_num_threads, limit))
    return of_process, of_thread


def _setter(found: Any) -> Callable[[int, object], None] | None:
    """The function of a library that sets its number of threads, not by threadpoolctl's, which are in Python.

    threadpoolctl also lets the first thread that sets a limit keep all others from it, without an error.
    """
    name = SETTERS.get(found.internal_api)
    if found.internal_api == "openblas" and found.threading_layer == "openmp":
        name = "omp_set_num_threads"
    for prefix, suffix in AFFIXES if name else ():
        if hasattr(found.dynlib, f"{prefix}{name}{suffix}"):
            setter = ctypes.PYFUNCTYPE(None, ctypes.c_int, ctypes.py_object)
            return setter((f"{prefix}{name}{suffix}", found.dynlib))
    return None


def _start_anew() -> None:
    """In a forked child no call is under way."""
    reference = _limits.pop(_SHARED, None)
    limit = None if reference is None else reference()
    if limit is not None:
        for each in limit.before.values():
            each.__callback__(each)
        limit.before.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
