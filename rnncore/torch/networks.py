"""The networks of modules and of graphs, found by their texts."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import torch

from rnncore_kernels.cells import GRU, LSTM, Elman

from ..definition import DEFINITIONS, define
from ..keyed import architecture_of
from ..registry import check_products, resolve_on_host
from .memory import memory_of
from .network import DTYPES, Network
from .single import SingleNetwork

CELLS: dict[str, Any] = {
    "LSTM": lambda projection: LSTM(projection=projection or None),
    "GRU": lambda _: GRU(update="carry"),
    "RNN_TANH": lambda _: Elman("tanh"),
    "RNN_RELU": lambda _: Elman("relu"),
}
"""The cells of PyTorch's modules by their modes, with a projection of some width, which 0 is none of."""


def cell_of(mode: str, projection: int) -> str:
    """The key of the cell of a module of PyTorch's."""
    key = f"{mode} {projection}"
    if key not in DEFINITIONS:
        DEFINITIONS[key] = define(CELLS[mode](projection))
    return key


@functools.lru_cache(maxsize=1024)
def find_network(text: str, dtype: torch.dtype, device: torch.device, dropout: float | None = None) -> Network:
    """The one network of a text, see `keyed.text_of`, of a dtype, on a device.

    The dropout between its layers is apart, as a graph has no text of a number that may change; None is the text's.
    """
    mode, _, projection = text.partition("|")[0].partition(" ")
    if mode in CELLS and projection.isdecimal():
        cell_of(mode, int(projection))  # a graph may be read from a file by a process without such a module
    architecture = architecture_of(text, DTYPES[dtype].name)
    check_products("compute", architecture.precision, "cuda" if device.type == "cuda" else resolve_on_host())
    architecture = architecture if dropout is None else replace(architecture, dropout=dropout)
    single = architecture.num_layers * architecture.num_directions == 1 and architecture.input_size is not None
    return (SingleNetwork if single else Network)(architecture, memory_of(device))
