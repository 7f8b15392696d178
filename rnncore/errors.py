"""The library's own exceptions, and the wording that refusals share.

Everything else that is refused raises ValueError (a wrong value or shape), TypeError (a wrong type) or KeyError (a name
that no parameter has), before anything is computed or changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rnncore_kernels.cells import CellError

__all__ = ["BackendUnavailableError", "CellError", "describe", "did_you_mean", "one_of"]

SHOWN = 60
"""Characters of a value in a message."""


class BackendUnavailableError(RuntimeError):
    """The backend that was asked for by name cannot run here; the message says why and what to do."""


def describe(value: Any) -> str:
    """A short account of what came: shape and dtype of an array, else type and value."""
    kind = type(value)
    if not isinstance(value, type) and hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{kind.__module__.split('.')[0]}.{kind.__name__} {tuple(value.shape)} of {value.dtype}"
    if isinstance(value, (tuple, list)) and any(hasattr(each, "shape") for each in value):
        return f"a {kind.__name__} of {len(value)} array{'s' * (len(value) > 1)}"
    text = repr(value)
    return f"{kind.__name__} {text if len(text) <= SHOWN else text[:SHOWN] + '...'}"


def one_of(names: Sequence[str]) -> str:
    """The names, for a message: `'h'`, `'h' or 'c'`, `'h', 'c' or 'n'`."""
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}" if others else last


def did_you_mean(name: str, known: Iterable[str], rest: str = "") -> str:
    """The known name that `name` looks like, with the rest of a spelling, to end a message; empty if there is none."""
    # Here, as hardly any process needs it.
    import difflib

    close = difflib.get_close_matches(name.lower(), known, n=1)
    return f": did you mean '{close[0]}{rest}'?" if close else ""
