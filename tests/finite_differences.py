"""Gradients of a network against central differences of what it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnncore import Recurrent
from rnncore.cells import Cell
from rnncore.states import as_tuple, unwrap_state
from rnncore_kernels.cells.cell import names

STEP = 1e-6
TOLERANCE = 1e-6
"""Central differences in float64 with this step are good to about 1e-9; an error in a gradient is far above."""

INPUTS, HIDDEN, STEPS, BATCH = 2, 3, 3, 2


def check_gradients(
    cell: str | Cell, backend: str = "numpy", inputs: Mapping[str, tuple[int, ...]] | None = None, **options: Any
) -> None:
    """Compare all gradients of a small float64 network, for random cotangents, with central differences.

    Args:
        cell, backend, options: of the network.
        inputs: shapes of the cell's inputs, of STEPS steps and BATCH rows, those of all steps if not given; drawn from
            0.5 to 1.5.
    """
    if inputs is None and isinstance(cell, Cell):
        inputs = dict.fromkeys(names(cell.row_inputs), (STEPS, BATCH))
        inputs |= dict.fromkeys(names(cell.unit_inputs), (STEPS, BATCH, HIDDEN))
    rnn = Recurrent(cell, INPUTS, HIDDEN, dtype="float64", backend=backend, seed=0, **options)
    rng = np.random.default_rng(0)
    for name, parameter in rnn.parameters.items():
        if "weight" not in name:
            parameter[...] = rng.uniform(0.2, 0.8, parameter.shape)
    x = rng.standard_normal((STEPS, BATCH, INPUTS))
    given = {name: np.asarray(rng.uniform(0.5, 1.5, shape)) for name, shape in (inputs or {}).items()}
    shapes = [s.shape for s in as_tuple(rnn(x, inputs=given)[1])]
    state, grad_state = (tuple(rng.standard_normal(shape) for shape in shapes) for _ in range(2))
    output, _, tape = rnn.forward(x, unwrap_state(state), inputs=given)
    grad_output = rng.standard_normal(output.shape)
    grads = rnn.backward(tape, grad_output, unwrap_state(grad_state))

    def loss() -> float:
        values, final = rnn(x, unwrap_state(state), inputs=given)
        terms = zip((values, *as_tuple(final)), (grad_output, *grad_state), strict=True)
        return float(sum((value * grad).sum() for value, grad in terms))

    compare("x", x, grads.x, loss)
    for number, (values, grad) in enumerate(zip(state, as_tuple(grads.state), strict=True)):
        compare(f"state {number}", values, grad, loss)
    for name, values in rnn.parameters.items():
        compare(name, values, grads.parameters[name], loss)
    assert set(grads.inputs) == set(given)
    for name, values in given.items():
        compare(name, values, grads.inputs[name], loss)


def compare(name: str, values: Any, grad: Any, loss: Callable[[], float]) -> None:
    """The gradient of some values against central differences of the loss."""
    assert grad.shape == values.shape
    for at in np.ndindex(*values.shape):
        here = float(values[at])
        values[at] = here + STEP
        above = loss()
        values[at] = here - STEP
        numeric = (above - loss()) / (2 * STEP)
        values[at] = here
        assert abs(float(grad[at]) - numeric) <= TOLERANCE * max(1.0, abs(numeric)), f"{name} at {at}"
