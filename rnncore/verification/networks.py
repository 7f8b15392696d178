"""Random networks and calls, with what the oracle says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore_kernels.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.contract import Array

from ..devices import on_host
from ..recurrent import Recurrent
from . import oracle

CELLS: dict[str, tuple[Cell, oracle.Step]] = {
    **{f"elman_{name}": (Elman(name), oracle.elman(name)) for name in ("tanh", "relu", "sigmoid", "identity")},
    "lstm": (LSTM(), oracle.lstm),
    **{
        f"gru_{update}_{reset}": (GRU(update, reset), oracle.gru(update, reset))
        for update in ("candidate", "carry")
        for reset in ("after", "before")
    },
}
"""Every variant of the library's cells, and the oracle's step of it."""


@dataclass
class Call:
    """A network with the arguments of a forward and backward pass, time first; states are always tuples here."""

    rnn: Recurrent
    step: oracle.Step
    x: Array
    state: tuple[Array, ...]
    lengths: list[int]
    grad_output: Array
    grad_state: tuple[Array, ...]

    def expected(self, masks: list[Array] | None = None) -> oracle.Result:
        """What the oracle computes, in float64."""
        return oracle.run(
            self.step,
            {name: on_host(values) for name, values in self.rnn.parameters.items()},
            self.x,
            self.state,
            self.lengths,
            self.grad_output,
            self.grad_state,
            num_layers=self.rnn.num_layers,
            bidirectional=self.rnn.bidirectional,
            masks=masks,
        )


def make_call(
    cell: Cell,
    step: oracle.Step,
    steps: int,
    batch: int,
    *,
    lengths: Sequence[int] | None = None,
    seed: int = 0,
    **options: Any,
) -> Call:
    """A call on random values, the same on every backend.

    Args:
        cell: of the network.
        step: the oracle's step of that cell.
        steps: T.
        batch: B.
        lengths: steps of each row; None for T of each.
        seed: of parameters and values.
        options: go to `Recurrent`, with small sizes where they name none.
    """
    rnn = Recurrent(cell, **{"input_size": 3, "hidden_size": 4, "seed": seed, **options})
    rng = np.random.default_rng(seed)

    def some(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(rnn.dtype)

    directions = 2 if rnn.bidirectional else 1
    depth = rnn.num_layers * directions
    states = [tuple(some(depth, batch, rnn.hidden_size) for _ in cell.states) for _ in range(2)]
    return Call(
        rnn,
        step,
        some(steps, batch, rnn.input_size),
        states[0],
        [steps] * batch if lengths is None else list(lengths),
        some(steps, batch, directions * rnn.hidden_size),
        states[1],
    )
