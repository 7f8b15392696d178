"""The cells: equations of one time step, written once, run by every engine."""

from .cell import Cell, CellError, Stage, Values
from .check import check_cell, pre_names
from .elman import Elman
from .gru import GRU
from .lstm import LSTM

__all__ = ["GRU", "LSTM", "Cell", "CellError", "Elman", "Stage", "Values", "check_cell", "pre_names"]
