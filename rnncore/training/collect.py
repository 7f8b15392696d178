"""Parameters and gradients of several parts under one roof."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnncore.errors import describe

from .checks import Array


def collect(**parts: Any) -> dict[str, Array]:
    """All arrays of the parts of a model by name: `collect(rnn=rnn, head=head)` has "rnn.weight_ih_l0", "head.bias".

    Args:
        parts: what has `parameters` (a network, a layer, the result of a network's `backward`), or a mapping of arrays
            by name. Parameters and gradients that are collected under the same names fit together.

    Returns:
        The arrays themselves, not copies.

    Raises:
        TypeError: a part is neither.
    """
    collected: dict[str, Array] = {}
    for part, value in parts.items():
        arrays = getattr(value, "parameters", value)
        if not isinstance(arrays, Mapping):
            raise TypeError(
                f"{part}: expected something with parameters, or a mapping of arrays, got {describe(value)}"
            )
        collected |= {f"{part}.{name}": array for name, array in arrays.items()}
    return collected
