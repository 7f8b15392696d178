"""The team of OpenMP's threads that PyTorch computes with, where PyTorch is loaded.

Its workers stay awake for milliseconds after their work, on the cores that threads of ours would need. So tasks run on
this team: right after a product of PyTorch's they begin at once, and so does PyTorch's next. The functions are those of
the OpenMP runtime that PyTorch was linked with, GNU's or LLVM's, which has GNU's interface too.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

LIBRARY = "libtorch_cpu.so"
"""The library of PyTorch's whose runtime it is, itself or among those that it needs."""


class Team(NamedTuple):
    """What runs a function in all threads of a team.

    Attributes:
        most_threads: threads that the calling thread's next team has: PyTorch's number.
        addresses: of OpenMP's functions, and of Python's for a thread that waits, by their names in `TeamArguments`.
    """

    most_threads: Callable[[], int]
    addresses: dict[str, int]


_found: dict[str, Team | None] = {}
"""The team of this process, once PyTorch is there."""


def team() -> Team | None:
    """The team of the PyTorch that is loaded; None if none is, or its threads are of another kind."""
    if "torch" not in sys.modules:
        return None
    try:
        return _found["torch"]
    except KeyError:
        pass
    # While PyTorch is being imported it has no threads yet.
    if not hasattr(sys.modules["torch"], "get_num_threads"):
        return None
    return _found.setdefault("torch", _find())


def most_threads() -> int | None:
    """Threads that PyTorch computes with; None where its threads are not used."""
    there = team()
    return None if there is None else there.most_threads()


def _find() -> Team | None:
    folder = Path(getattr(sys.modules["torch"], "__file__", None) or "").parent
    python = ctypes.pythonapi
    try:
        # Only what is loaded already: a second runtime would have a team of its own.
        library = ctypes.CDLL(str(folder / "lib" / LIBRARY), os.RTLD_NOLOAD | os.RTLD_NOW)
        functions = {
            "parallel": library.GOMP_parallel,
            "size": library.omp_get_num_threads,
            "number": library.omp_get_thread_num,
            "save_thread": python.PyEval_SaveThread,
            "restore_thread": python.PyEval_RestoreThread,
            "check_signals": python.PyErr_CheckSignals,
        }
        return Team(library.omp_get_max_threads, {name: _address(f) for name, f in functions.items()})
    except (AttributeError, OSError):
        return None


def _address(function: Any) -> int:
    value = ctypes.cast(function, ctypes.c_void_p).value
    assert value is not None
    return value


def after_fork() -> None:
    """In a forked child the team's threads are gone, and the runtime would wait for them: it is not used there."""
    _found["torch"] = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork)
