"""Networks without parameters by a text, with which graphs of other libraries name what they call."""

from __future__ import annotations

import functools
from ast import literal_eval
from collections.abc import Mapping
from typing import Any, NamedTuple

from .architecture import OPTIONS, Architecture
from .definition import DEFINITIONS
from .options import make_architecture


class How(NamedTuple):
    """How a pass is computed, beside its arrays: plain values, as they stand in the text of a graph.

    Attributes:
        every: whether every state of the last layer at each step is an output.
        flow: whether the backward pass also gives the norms of the cotangents of the states.
        burn_in, truncate, recompute: see `Recurrent.forward`.
        drawn: whether a key is given, by which zoneout and dropout are drawn, as in training.
    """

    every: bool = False
    flow: bool = False
    burn_in: int = 0
    truncate: int | None = None
    recompute: bool = False
    drawn: bool = False


PLAIN = How()


def text_of(cell: str, options: Mapping[str, Any]) -> str:
    """The text of a network: the key of its cell, see `cell_key`, its sizes and options."""
    return f"{cell}|{dict(options)!r}"


@functools.lru_cache(maxsize=1024)
def architecture_of(text: str, dtype: str) -> Architecture:
    """The network of a text.

    Raises:
        ValueError: this process has no such cell.
    """
    cell, _, options = text.rpartition("|")
    if cell not in DEFINITIONS:
        raise ValueError(
            f"rnncore: expected a graph of a cell that this process has, got one of {cell!r}, or of other equations "
            "under its name: make or call a network of that cell before the graph runs"
        )
    return make_architecture(DEFINITIONS[cell], dtype=dtype, **{**OPTIONS, **literal_eval(options)})
