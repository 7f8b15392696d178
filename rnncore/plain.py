"""Inference with a few microseconds around it, where there is nothing special about a call."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore_kernels.contract import Array, Engine, Run, Stepper

from .architecture import Architecture
from .rows import DENSE


class Plain:
    """Steps and sequences of a network of one layer in one direction, on NumPy's arrays.

    Everything that follows from a batch is kept for the next step of the same one.
    """

    __slots__ = (
        "_batch_first", "_count", "_dtype", "_engine", "_hidden", "_inputs", "_most_rows", "_packed", "_prepared",
    )  # fmt: skip

    def __init__(self, architecture: Architecture, engine: Engine[Any, Any], packed: Any, most_rows: int) -> None:
        """Of all steps together, a sequence may have that many rows."""
        self._engine, self._packed, self._most_rows = engine, packed, most_rows
        self._batch_first = architecture.batch_first
        # NumPy's one object, which that of a copied or unpickled network is not.
        self._dtype, self._count = np.dtype(architecture.dtype.type), len(architecture.cell.states)
        self._inputs, self._hidden = architecture.input_size, architecture.hidden_size
        self._prepared: tuple[Any, ...] = (None,)

    def step(self, x_t: Any, state: Any) -> tuple[Array, Any] | None:
        """As `Frozen.step`, where the arguments are right and as the engine wants them; else None."""
        dtype, states = self._dtype, state if self._count > 1 else (state,)
        if type(x_t) is not np.ndarray or x_t.dtype is not dtype:
            return None
        prepared = self._prepared
        if x_t.shape != prepared[0]:
            if len(x_t.shape) not in (1, 2) or x_t.shape[-1] != self._inputs:
                return None
            prepared = self._prepared = self._prepare(x_t.shape)
        _, wanted, shape, step = prepared
        if not x_t.flags.carray:
            return None
        new = self._copied(states, wanted)
        if new is None:
            return None
        output = np.empty(shape, dtype)
        if step is None:
            self._infer(x_t, new, output)
        else:
            step(x_t, new, output)
        return output, tuple(new) if len(new) > 1 else new[0]

    def sequence(self, x: Any, state: Any) -> tuple[Array, Any] | None:
        """As `Frozen.__call__` where all rows have T steps, if arguments are right and as the engine wants them."""
        dtype, hidden = self._dtype, self._hidden
        if self._batch_first or type(x) is not np.ndarray or x.dtype is not dtype or x.ndim != 3 or not x.flags.carray:
            return None
        steps, batch, inputs = x.shape
        if inputs != self._inputs or steps * batch > self._most_rows:
            return None
        wanted = (1, batch, hidden)
        if state is None:
            new: list[Array] | None = [np.zeros(wanted, dtype) for _ in range(self._count)]
        else:
            new = self._copied(state if self._count > 1 else (state,), wanted)
        if new is None:
            return None
        output = np.empty((steps, batch, hidden), dtype)
        self._engine.infer((Run(self._packed, x, tuple([array[0] for array in new]), output, None, DENSE, False),))
        return output, tuple(new) if len(new) > 1 else new[0]

    def _copied(self, states: Any, wanted: tuple[int, ...]) -> list[Array] | None:
        """Copies of a tuple of states, if they are as many as the cell has, all of the shape that is wanted."""
        if type(states) is not tuple:
            return None
        new = []
        for array in states:
            if type(array) is not np.ndarray or array.dtype is not self._dtype or array.shape != wanted:
                return None
            new.append(array.copy())
        return new if len(new) == self._count else None

    def _prepare(self, shape: tuple[int, ...]) -> tuple[Any, ...]:
        """Shapes of the input, of a state and of the output, and what computes a step."""
        rows = shape[:-1]
        step: Stepper | None = self._engine.stepper(self._packed, *rows or (1,))
        return shape, (1, *rows, self._hidden), (*rows, self._hidden), step

    def _infer(self, x_t: Array, states: list[Array], output: Array) -> None:
        batch = len(x_t) if x_t.ndim > 1 else 1
        above, below = output.reshape(1, batch, self._hidden), x_t.reshape(1, batch, self._inputs)
        flat = tuple(state.reshape(batch, self._hidden) for state in states)
        self._engine.infer((Run(self._packed, below, flat, above, None, DENSE, False),))
