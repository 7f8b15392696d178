"""All results of a network at once, for tests that compare one way to compute them with another."""

from __future__ import annotations

from typing import Any

import numpy as np
from own_cells import irregular, partial_gates

from rnncore import GRU, LSTM, Recurrent
from rnncore.cells import Cell, cell, project, sigmoid, tanh
from rnncore.states import as_tuple


@cell(states="h k", gates="a b", row_inputs="dt", unit_inputs="gain", scalars="s")
def tangled(h: Any, k: Any, a: Any, b: Any, dt: Any, gain: Any, s: Any) -> Any:
    """A gate that multiplies two operands, products with a new state and with a value, states that change places."""
    k = k + dt * (tanh(b) * gain - k)
    return s * k + tanh(project("q", k)) + sigmoid(a) * tanh(a.of(tanh(h) * 0.5)), h


CELLS: dict[str, str | Cell] = {
    "rnn": "rnn",
    "lstm": "lstm",
    "gru": "gru",
    "gru_before": GRU(reset="before"),
    "irregular": irregular,
    "sums": partial_gates,
    "projected": LSTM(projection=1),
    "tangled": tangled,
}


def make_cell(name: str, hidden: int) -> str | Cell:
    """A cell by its name; a projection is half as wide as the state."""
    return LSTM(projection=(hidden + 1) // 2) if name == "projected" else CELLS[name]


def everything(backend: str, cell: str, sizes: tuple[int, int, int, int], **options: Any) -> list[Any]:
    """Outputs, states and gradients of a bidirectional layer of sizes (T, B, I, H), with and without ragged rows."""
    steps, batch, inputs, hidden = sizes
    rnn = Recurrent(make_cell(cell, hidden), inputs, hidden, bidirectional=True, backend=backend, seed=0, **options)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, inputs)).astype(rnn.dtype)
    given = extra_inputs(cell, (steps, batch, hidden), rnn.dtype)
    lengths = rng.integers(0, steps + 1, batch)
    output, state, tape = rnn.forward(x, lengths=lengths, inputs=given)
    grads = rnn.backward(tape, rng.standard_normal(output.shape).astype(rnn.dtype), state)
    inferred, final = rnn(x, lengths=lengths, inputs=given)
    dense, _ = rnn(x, inputs=given)
    last, _ = rnn(x, lengths=lengths, inputs=given, return_sequence=False)
    return [
        *(output, inferred, dense, last, grads.x, *as_tuple(state), *as_tuple(final)),
        *(*as_tuple(grads.state), *grads.inputs.values(), *grads.parameters.values()),
    ]


def extra_inputs(cell: str, sizes: tuple[int, ...], dtype: Any, *, rows: slice = slice(None)) -> dict[str, Any] | None:
    """Inputs beside x of a cell for sizes (T, B, H), or those of some rows of the batch."""
    rng, given = np.random.default_rng(1), {}
    if cell in ("irregular", "tangled"):
        given["dt"] = rng.uniform(0.1, 1, sizes[:2]).astype(dtype)[:, rows]
    if cell == "tangled":
        given["gain"] = rng.standard_normal(sizes).astype(dtype)[:, rows]
    return given or None
