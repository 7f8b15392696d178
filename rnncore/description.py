"""`Described`: what a network says of itself - its cell, sizes and options, and how it is computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore_kernels.cells import Cell
from rnncore_kernels.contract import Engine

from .architecture import Architecture
from .stack import impl


class Described:
    """An architecture and the engine that computes it; see `Recurrent`."""

    _architecture: Architecture
    _backend: str
    _engine: Engine[Any, Any]
    _num_threads: int | None

    @property
    def cell(self) -> Cell:
        """The cell, an instance of Cell also where its name was given."""
        return self._architecture.cell

    @property
    def input_size(self) -> int | None:
        """I, the width of x; None where x holds the gates' parts of it."""
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
    def zoneout(self) -> float | dict[str, float]:
        """Probability that a unit of a state keeps its value in a step of training, of all states or by their names."""
        own = self._architecture.zoneout
        return dict(own) if isinstance(own, dict) else own

    @property
    def recurrent_dropout(self) -> float:
        """Probability of zeroing a unit of what recurrent weights multiply, for a sequence of training."""
        return self._architecture.recurrent_dropout

    @property
    def input_dropout(self) -> float:
        """Probability of zeroing an element of x in training."""
        return self._architecture.input_dropout

    @property
    def variational(self) -> bool:
        """Whether `dropout` and `input_dropout` zero the same elements of a row at all steps."""
        return self._architecture.variational

    @property
    def direction(self) -> str:
        """In which direction the layers run, "forward" or "reverse"; the first of both where `bidirectional`."""
        return self._architecture.direction

    @property
    def heads(self) -> int:
        """The number of blocks on the diagonal of W_hh that are not 0, of each gate."""
        return self._architecture.heads

    @property
    def learn_initial_state(self) -> bool:
        """Whether the state that calls without one begin with is among the parameters."""
        return self._architecture.learn_initial_state

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self._architecture.dtype

    @property
    def compute(self) -> str:
        """The precision of products: that of `dtype`, or "bfloat16"."""
        return self._architecture.compute

    @property
    def backend(self) -> str:
        """The backend that computes: "cuda", "numba" or "numpy"."""
        return self._backend

    @property
    def num_threads(self) -> int | None:
        """Most threads that a call uses, as asked for; None if nothing was."""
        return self._num_threads

    def impl(self, steps: int, batch: int, *, training: bool = False) -> str:
        """How the backend computes the first layer, one direction with all threads, in a few words for reports.

        The Numba engine says how wide its vectors are, or "AMX" where it multiplies on tile registers, into how many
        groups of rows x groups of hidden units its threads divide a step, and whether both products of a step are one
        pass ("fused"); the CUDA engine whether weights stay in shared memory, and the same of its blocks. With
        `training` both say how steps are divided in the backward pass, too ("back").

        Args:
            steps: T, at least 1.
            batch: B, at least 1.
            training: of `forward` and `backward`, instead of inference.

        Raises:
            ValueError, TypeError: `steps` or `batch` is not such an integer.
        """
        return impl(self._architecture, self._engine, steps, batch, training=training)

    def __repr__(self) -> str:
        return f"Recurrent({self._architecture.describe()}, backend={self._backend!r})"
