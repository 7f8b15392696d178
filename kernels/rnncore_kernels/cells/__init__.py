"""The cells: equations of one time step, written once, run by every engine.

A class of cells is loaded when it is first asked for: to make all of them takes as long as to load the rest.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .cell import Cell, CellError, cell
from .functions import (
    abs,
    clamp,
    cos,
    exp,
    heaviside,
    layer_norm,
    log,
    log_sigmoid,
    maximum,
    mean,
    minimum,
    observe,
    project,
    relu,
    sigmoid,
    silu,
    sin,
    softplus,
    sqrt,
    tanh,
    total,
    where,
)

if TYPE_CHECKING:
    from .continuous import CTRNN, LEM, CfC, CoRNN
    from .elman import Elman
    from .gated import JANET, MGU, RAN, SLSTM, STAR, UGRNN, FastGRNN, IndRNN, LiGRU, MinGRU
    from .gru import GRU
    from .lstm import LSTM
    from .normalized import LayerNormGRU, LayerNormLSTM
    from .spiking import LIF

    SHIPPED: tuple[type[Cell], ...]
    """The library's cells."""

_PLACES = {
    "elman": ("elman", "Elman"),
    "lstm": ("lstm", "LSTM"),
    "gru": ("gru", "GRU"),
    "mgu": ("gated", "MGU"),
    "layernorm_lstm": ("normalized", "LayerNormLSTM"),
    "layernorm_gru": ("normalized", "LayerNormGRU"),
    "indrnn": ("gated", "IndRNN"),
    "mingru": ("gated", "MinGRU"),
    "ligru": ("gated", "LiGRU"),
    "ctrnn": ("continuous", "CTRNN"),
    "slstm": ("gated", "SLSTM"),
    "fastgrnn": ("gated", "FastGRNN"),
    "janet": ("gated", "JANET"),
    "lem": ("continuous", "LEM"),
    "cornn": ("continuous", "CoRNN"),
    "cfc": ("continuous", "CfC"),
    "star": ("gated", "STAR"),
    "ran": ("gated", "RAN"),
    "lif": ("spiking", "LIF"),
    "ugrnn": ("gated", "UGRNN"),
}
"""Module and class of each of the library's cells, by the cell's name."""

_MODULES = {kind: module for module, kind in _PLACES.values()}


class _Cells(Mapping[str, type[Cell]]):
    """The library's cells by name, "rnn" for Elman's as well."""

    def __getitem__(self, name: str) -> type[Cell]:
        found: type[Cell] = __getattr__(_PLACES["elman" if name == "rnn" else name][1])
        return found

    def __contains__(self, name: object) -> bool:
        return name == "rnn" or name in _PLACES

    def __iter__(self) -> Iterator[str]:
        return iter(("rnn", *_PLACES))

    def __len__(self) -> int:
        return len(_PLACES) + 1


CELLS: Mapping[str, type[Cell]] = _Cells()


def __getattr__(name: str) -> Any:
    if name == "SHIPPED":
        found: Any = tuple(CELLS[cell] for cell in _PLACES)
    elif name in _MODULES:
        found = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "CELLS",
    "CTRNN",
    "GRU",
    "JANET",
    "LEM",
    "LIF",
    "LSTM",
    "MGU",
    "RAN",
    "SHIPPED",
    "SLSTM",
    "STAR",
    "UGRNN",
    "Cell",
    "CellError",
    "CfC",
    "CoRNN",
    "Elman",
    "FastGRNN",
    "IndRNN",
    "LayerNormGRU",
    "LayerNormLSTM",
    "LiGRU",
    "MinGRU",
    "abs",
    "cell",
    "clamp",
    "cos",
    "exp",
    "heaviside",
    "layer_norm",
    "log",
    "log_sigmoid",
    "maximum",
    "mean",
    "minimum",
    "observe",
    "project",
    "relu",
    "sigmoid",
    "silu",
    "sin",
    "softplus",
    "sqrt",
    "tanh",
    "total",
    "where",
]
