"""The cells: equations of one time step, written once, run by every engine."""

from .cell import Cell, CellError, Stage, Values
from .check import check_cell
from .elman import Elman
from .gru import GRU
from .lstm import LSTM

CELLS: dict[str, type[Cell]] = {"rnn": Elman, "elman": Elman, "lstm": LSTM, "gru": GRU}
"""The library's cells by name."""

__all__ = ["CELLS", "GRU", "LSTM", "Cell", "CellError", "Elman", "Stage", "Values", "check_cell"]
