"""What both of Numba's compilers, for processors and for GPUs, are told about functions and their types."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_signatures: dict[Any, Any] = {}
"""Signatures of operators and functions by typing context and types, see `remembered_signatures`."""
NAMED = "_rnncore_named"
"""Attribute of what types our own intrinsics; Numba passes it on to the intrinsic."""


@contextlib.contextmanager
def remembered_signatures(typing: Any) -> Iterator[None]:
    """Let a typing context look up what operators and functions return once for their types, and not at each place.

    Otherwise that is a fifth of the time. The caller sees to it that no other thread compiles meanwhile.
    """
    from numba.core.types import unliteral

    resolve = typing.resolve_function_type

    def remember(function: Any, arguments: Any, named: Any) -> Any:
        key = getattr(function, "typing_key", None)
        is_ours = hasattr(key, NAMED)
        if named or not (is_ours or getattr(key, "__module__", None) in ("_operator", "builtins")):
            return resolve(function, arguments, named)
        if is_ours:
            # Which number is written there makes no difference.
            arguments = tuple(map(unliteral, arguments))
        place = id(typing), key, tuple(arguments)
        if place not in _signatures:
            _signatures[place] = resolve(function, arguments, named)
        return _signatures[place]

    typing.resolve_function_type = remember
    try:
        yield
    finally:
        del typing.resolve_function_type


def named(typing_of: Callable[..., Any], name: str, parameters: Sequence[str]) -> Callable[..., Any]:
    """The function that types an intrinsic, with a name, and the parameters' names in its signature."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = ["context", *parameters]
    typing_of.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])  # type: ignore[attr-defined]
    typing_of.__name__ = typing_of.__qualname__ = name
    setattr(typing_of, NAMED, True)
    return typing_of
