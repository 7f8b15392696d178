"""Everything that the definition of a cell of your own needs; docs/cells.md shows how."""

from rnncore_kernels.cells import GRU, LSTM, Cell, CellError, Elman, Stage, Values
from rnncore_kernels.cells.functions import clamp, exp, heaviside, relu, sigmoid, tanh, where_positive

from .gradcheck import check_gradients

__all__ = [
    "GRU",
    "LSTM",
    "Cell",
    "CellError",
    "Elman",
    "Stage",
    "Values",
    "check_gradients",
    "clamp",
    "exp",
    "heaviside",
    "relu",
    "sigmoid",
    "tanh",
    "where_positive",
]
