"""rnncore inside PyTorch: modules on its engines, with autograd, and `accelerate` for the modules of a model."""

from __future__ import annotations

from .accelerated import Report, accelerate
from .fallback import fallbacks
from .modules import GRU, LSTM, RNN
from .recurrent import Recurrent

__all__ = ["GRU", "LSTM", "RNN", "Recurrent", "Report", "accelerate", "fallbacks"]
