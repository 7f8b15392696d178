"""The cells: equations of one time step, written once, run by every engine."""

from .cell import Cell, CellError, cell
from .continuous import CTRNN, LEM, CfC, CoRNN
from .elman import Elman
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
from .gated import JANET, MGU, RAN, SLSTM, STAR, UGRNN, FastGRNN, IndRNN, LiGRU, MinGRU
from .gru import GRU
from .lstm import LSTM
from .normalized import LayerNormGRU, LayerNormLSTM
from .spiking import LIF

SHIPPED: tuple[type[Cell], ...] = (
    *(Elman, LSTM, GRU, MGU, LayerNormLSTM, LayerNormGRU, IndRNN, MinGRU, LiGRU, CTRNN, SLSTM, FastGRNN, JANET),
    *(LEM, CoRNN, CfC, STAR, RAN, LIF, UGRNN),
)
"""The library's cells."""

CELLS: dict[str, type[Cell]] = {"rnn": Elman, **{shipped.name: shipped for shipped in SHIPPED}}
"""The same by name, "rnn" for Elman's as well."""

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
