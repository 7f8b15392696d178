"""Workarounds for Numba's compiler for GPUs: names that NumPy lacks, slow look-ups, functions without names."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

REMOVED = {"row_stack": np.vstack}
"""Names that numba-cuda looks up when it first compiles, and NumPy 2.5 lacks; and the functions that had them."""

_operators: dict[Any, Any] = {}
"""Signatures of operators by typing context and types, see `with_remembered_operators`."""


@contextlib.contextmanager
def removed_names() -> Iterator[None]:
    """Give NumPy the names of `REMOVED` that it lacks, as numba-cuda does not load without them; take them away again.

    The caller sees to it that no other thread does so meanwhile.
    """
    missing = {name: function for name, function in REMOVED.items() if not hasattr(np, name)}
    for name, function in missing.items():
        setattr(np, name, function)
    try:
        yield
    finally:
        for name in missing:
            delattr(np, name)


def with_remembered_operators(typing: Any, compiled: Callable[[], Any]) -> Any:
    """The result of `compiled`; meanwhile a typing context looks up an operator once for its types, not at each place.

    That saves a fifth of the time. The caller sees to it that no other thread compiles meanwhile.
    """
    resolve = typing.resolve_function_type

    def remember(function: Any, arguments: Any, named: Any) -> Any:
        key = getattr(function, "typing_key", None)
        if named or getattr(key, "__module__", None) != "_operator":
            return resolve(function, arguments, named)
        place = id(typing), key, tuple(arguments)
        if place not in _operators:
            _operators[place] = resolve(function, arguments, named)
        return _operators[place]

    typing.resolve_function_type = remember
    try:
        return compiled()
    finally:
        del typing.resolve_function_type


def named(typing_of: Callable[..., Any], name: str, parameters: Sequence[str]) -> Callable[..., Any]:
    """The function that types an intrinsic, with a name, and the parameters' names in its signature."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = ["context", *parameters]
    typing_of.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])  # type: ignore[attr-defined]
    typing_of.__name__ = typing_of.__qualname__ = name
    return typing_of
