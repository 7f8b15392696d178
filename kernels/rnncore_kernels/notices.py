"""Warnings about a machine or an installation: each is given once in a process."""

from __future__ import annotations

import sys
import warnings

OURS = ("rnncore", "rnncore_kernels")

_given: set[str] = set()


def warn_once(message: str) -> None:
    """Give a RuntimeWarning at the caller's place outside of this library, unless the process has had it.

    Where warnings are errors, it is raised once, too.
    """
    if message in _given:
        return
    _given.add(message)
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in OURS:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RuntimeWarning, stacklevel=level)
