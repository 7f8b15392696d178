"""What Numba's compiler for GPUs is told about functions and their types."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

_operators: dict[Any, Any] = {}
"""Signatures of operators by typing context and types, see `with_remembered_operators`."""


def with_remembered_operators(typing: Any, compiled: Callable[[], Any]) -> Any:
    """What `compiled` returns, for which a typing context looks up an operator once for its types, not at each place.

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
