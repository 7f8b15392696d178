"""What a network says of itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore_kernels.cells import Cell

from .architecture import Architecture


class Described:
    """The constructor's arguments as read-only attributes."""

    _architecture: Architecture

    @property
    def cell(self) -> Cell:
        """The cell, an instance of Cell also where its name was given."""
        return self._architecture.cell

    @property
    def input_size(self) -> int:
        """I, the width of x."""
        return self._architecture.input_size

    @property
    def hidden_size(self) -> int:
        """H."""
        return self._architecture.hidden_size

    @property
    def num_layers(self) -> int:
        """L."""
        return self._architecture.num_layers

    @property
    def bidirectional(self) -> bool:
        """Whether each layer runs in both directions."""
        return self._architecture.bidirectional

    @property
    def bias(self) -> bool:
        """Whether there are biases."""
        return self._architecture.bias

    @property
    def batch_first(self) -> bool:
        """Whether sequences are (B, T, ...)."""
        return self._architecture.batch_first

    @property
    def dropout(self) -> float:
        """Probability of zeroing an element between layers in training."""
        return self._architecture.dropout

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self._architecture.dtype
