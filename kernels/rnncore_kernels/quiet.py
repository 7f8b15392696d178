"""Functions without NumPy's warnings of floating-point errors: NaN and infinity propagate, and nothing says so."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
Result = TypeVar("Result")


def quiet(function: Callable[P, Result]) -> Callable[P, Result]:
    """The function, as `call_quietly` calls it."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Result:
        return call_quietly(function, *args, **kwargs)

    return call


def call_quietly(function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """The result of the function, called with NumPy's error state "ignore".

    It runs in a context of its own, which is left in C; `np.errstate` restores the caller's state in Python, and an
    interruption may come just before.
    """
    return copy_context().run(_silenced, function, args, kwargs)


def _silenced(function: Callable[..., Result], args: Any, kwargs: Any) -> Result:
    np.seterr(all="ignore")
    return function(*args, **kwargs)
