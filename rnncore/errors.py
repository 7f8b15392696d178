"""The library's own exceptions, and the wording that refusals share.

Everything else that is refused raises ValueError (a wrong value or shape), TypeError (a wrong type) or KeyError (a name
that no parameter has), before anything is computed or changed.
"""

from __future__ import annotations

from typing import Any

from rnncore_kernels.cells import CellError

__all__ = ["BackendUnavailableError", "CellError", "describe"]


class BackendUnavailableError(RuntimeError):
    """The backend that was asked for by name cannot run here; the message says why and what to do."""


def describe(value: Any) -> str:
    """A short account of what came: shape and dtype of an array, else type and value."""
    kind = type(value)
    if not isinstance(value, type) and hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{kind.__module__.split('.')[0]}.{kind.__name__} {tuple(value.shape)} of {value.dtype}"
    if isinstance(value, (tuple, list)) and any(hasattr(each, "shape") for each in value):
        return f"a {kind.__name__} of {len(value)} array{'s' * (len(value) > 1)}"
    return f"{kind.__name__} {value!r:.60}"
