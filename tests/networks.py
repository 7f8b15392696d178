"""Random networks and calls, with what the oracle says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import oracle
from minimal_gated_unit import MinimalGatedUnit
from numpy.typing import NDArray

from rnncore import GRU, LSTM, Elman, Recurrent
from rnncore.cells import Cell

Array = NDArray[Any]

CELLS: dict[str, tuple[Cell, oracle.Step]] = {
    **{f"elman_{name}": (Elman(name), oracle.elman(name)) for name in ("tanh", "relu", "sigmoid", "identity")},
    "lstm": (LSTM(), oracle.lstm),
    **{
        f"gru_{update}_{reset}": (GRU(update, reset), oracle.gru(update, reset))
        for update in ("candidate", "carry")
        for reset in ("after", "before")
    },
    "minimal_gated_unit": (MinimalGatedUnit(), oracle.minimal_gated_unit),
}


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
        return oracle.run(
            self.step,
            dict(self.rnn.parameters),
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
    name: str, steps: int, batch: int, *, lengths: list[int] | None = None, seed: int = 0, **options: Any
) -> Call:
    """A call on random values; `options` go to `Recurrent`, with small sizes where they name none."""
    cell, step = CELLS[name]
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
        [steps] * batch if lengths is None else lengths,
        some(steps, batch, directions * rnn.hidden_size),
        states[1],
    )
