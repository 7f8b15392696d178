"""A state is one array, or a tuple where the cell has several."""

from __future__ import annotations

from typing import Any

from rnncore_kernels.contract import Array


def unwrap_state(arrays: tuple[Array, ...]) -> Any:
    """The arrays as the user has them."""
    return arrays if len(arrays) != 1 else arrays[0]


def as_tuple(state: Any) -> tuple[Array, ...]:
    """A user's state as a tuple."""
    return state if isinstance(state, tuple) else (state,)
