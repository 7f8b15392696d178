"""All results of a network at once, for tests that compare one way to compute them with another."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore import GRU, Recurrent
from rnncore.states import as_tuple
from rnncore_kernels.cells import Cell

CELLS: dict[str, str | Cell] = {"rnn": "rnn", "lstm": "lstm", "gru": "gru", "gru_before": GRU(reset="before")}


def everything(backend: str, cell: str, sizes: tuple[int, int, int, int], **options: Any) -> list[Any]:
    """Outputs, states and gradients of a bidirectional layer of sizes (T, B, I, H), with and without ragged rows."""
    steps, batch, inputs, hidden = sizes
    rnn = Recurrent(CELLS[cell], inputs, hidden, bidirectional=True, backend=backend, seed=0, **options)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, inputs)).astype(rnn.dtype)
    lengths = rng.integers(0, steps + 1, batch)
    output, state, tape = rnn.forward(x, lengths=lengths)
    grads = rnn.backward(tape, rng.standard_normal(output.shape).astype(rnn.dtype), state)
    inferred, final = rnn(x, lengths=lengths)
    dense, _ = rnn(x)
    last, _ = rnn(x, lengths=lengths, return_sequence=False)
    return [
        *(output, inferred, dense, last, grads.x, *as_tuple(state), *as_tuple(final)),
        *(*as_tuple(grads.state), *grads.parameters.values()),
    ]
