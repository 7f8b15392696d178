"""A record's parts from a file that anybody may have written: values of the types and ranges that code relies on."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from .workload import ALL_MODES, ROUNDED

Part = TypeVar("Part")

CHOICES: dict[str, Collection[str | None]] = {"mode": ALL_MODES, "dtype": ("float32", "float64"), "precision": ROUNDED}
"""Words that a workload's fields may have."""
AT_LEAST = {"seed": 0, "flops": 0, "weight_bytes": 0, "peak_bytes": 0}
"""The least value of whole numbers; 1 of all others."""
SHARES = ("resets", "zoneout")
"""Numbers from 0 to below 1."""
ANY = ("error",)
"""Numbers that may be 0, infinite or NaN; all others are finite and above 0."""


def from_json(part: type[Part], fields: Mapping[str, Any]) -> Part:
    """A dataclass from JSON.

    Raises:
        TypeError, ValueError: there is a field too many or too few, or one with another kind of value.
    """
    if not isinstance(fields, Mapping):
        raise TypeError(f"expected the fields of a {part.__name__}, got {fields!r:.60}")
    hints = typing.get_type_hints(part)
    for name, value in fields.items():
        hint = hints.get(name, Any)
        if not _fits(name, value, hint):
            raise ValueError(f"{name}: expected {format_expected(name, hint)}, got {value!r:.60}")
        if name in CHOICES and value not in CHOICES[name]:
            raise ValueError(f"{name}: expected {', '.join(map(str, CHOICES[name]))}, got {value!r:.60}")
    return part(**fields)


def _fits(name: str, value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return any(_fits(name, value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(name, part, arguments[0]) for part in value)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return name in ANY or (name in SHARES and 0 <= value < 1) or (math.isfinite(value) and value > 0)
    if hint is int:
        return type(value) is int and value >= AT_LEAST.get(name, 1)
    return hint is Any or isinstance(value, origin or hint)


def format_expected(name: str, hint: Any) -> str:
    """The kind of value that a field takes, in words."""
    if hint is int:
        return f"a whole number of at least {AT_LEAST.get(name, 1)}"
    if hint in (float, tuple[float, ...]):
        return "a number above 0" if hint is float else "numbers above 0"
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(typing.get_args(hint))
    return hint.__name__ if isinstance(hint, type) else str(hint)
