"""Compare a cell's backward with finite differences of its forward."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rnncore_kernels.cells import Cell, CellError
from rnncore_kernels.contract import Array

from .devices import namespace_of
from .recurrent import Recurrent
from .states import as_given, as_tuple

STEP = 1e-6
TOLERANCE = 1e-6
"""Central differences in float64 with this step are good to about 1e-9; an error in an equation is far above."""


def check_gradients(cell: str | Cell, backend: str = "numpy", seed: int = 0) -> None:
    """Raise CellError unless the backward of `cell` is the gradient of its forward.

    Runs a small float64 network for three steps and compares the gradients of input, initial state and every parameter,
    for random cotangents of output and final state, with central differences. For the tests of a cell of your own.

    Args:
        cell: the cell, as for `Recurrent`.
        backend: the backend to run it on.
        seed: of the random values.

    Raises:
        CellError: names the gradient that is wrong, with both values.
    """
    rnn = Recurrent(cell, 2, 3, dtype="float64", backend=backend, seed=seed)
    rng = np.random.default_rng(seed)
    xp = namespace_of(rnn.parameters["weight_hh_l0"])

    def some(*shape: int) -> Array:
        values: Array = xp.asarray(rng.standard_normal(shape))
        return values

    def some_states() -> tuple[Array, ...]:
        return tuple(some(1, 2, 3) for _ in rnn.cell.states)

    x, state, grad_output, grad_state = some(3, 2, 2), some_states(), some(3, 2, 3), some_states()

    def loss() -> float:
        output, final = rnn(x, as_given(state))
        terms = zip((output, *as_tuple(final)), (grad_output, *grad_state), strict=True)
        return float(sum((value * grad).sum() for value, grad in terms))

    _, _, tape = rnn.forward(x, as_given(state))
    grads = rnn.backward(tape, grad_output, as_given(grad_state))

    def pairs() -> Iterator[tuple[str, Array, Array]]:
        yield "x", x, grads.x
        for name, values, grad in zip(rnn.cell.states, state, as_tuple(grads.state), strict=True):
            yield f"initial {name}", values, grad
        for name, values in rnn.parameters.items():
            yield name, values, grads.parameters[name]

    for name, values, grad in pairs():
        for at in np.ndindex(*values.shape):
            here = float(values[at])
            values[at] = here + STEP
            above = loss()
            values[at] = here - STEP
            numeric = (above - loss()) / (2 * STEP)
            values[at] = here
            if not abs(float(grad[at]) - numeric) <= TOLERANCE * max(1.0, abs(numeric)):
                raise CellError(
                    f"{rnn.cell!r}: backward: the gradient of {name} at {at} is {float(grad[at]):.8g}; "
                    f"finite differences of the forward give {numeric:.8g}"
                )
