"""The reference for a cell that the oracle lacks: the NumPy engine in float64, held against finite differences.

Where products are less precise than float32, it is the NumPy engine with the same products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore_kernels.cells.cell import names

from ..architecture import options_of
from ..devices import on_host
from ..recurrent import Recurrent
from ..states import as_tuple, unwrap_state
from .oracle import Array, Result

if TYPE_CHECKING:
    from .networks import Call

STEP = 1e-6
"""The step of central differences in float64, whose error is then about 1e-9 of numbers near 1."""


def reference(call: Call) -> Result:
    """The results of the NumPy engine in float64 on a call's values."""
    return _Reference(call).result()


def derivative_errors(call: Call, seed: int = 0) -> Iterator[tuple[str, float]]:
    """The name of each tensor of the reference, and how far its gradient is from finite differences.

    The derivative is that along a random direction, and the error relative to it or to 1.
    """
    found, rng = _Reference(call), np.random.default_rng(seed)
    grads = found.result()
    pairs = {"x": (found.x, grads.grad_x)}
    for name, values, grad in zip(names(found.rnn.cell.states), found.state, grads.grad_state, strict=True):
        pairs[f"initial {name}"] = values, grad
    pairs |= {name: (values, grads.grad_parameters[name]) for name, values in found.rnn.parameters.items()}
    for name, values, grad in zip(
        names(found.rnn.cell.states), found.reset_state, grads.grad_reset_state, strict=False
    ):
        pairs[f"reset {name}"] = values, grad
    pairs |= {name: (values, grads.grad_inputs[name]) for name, values in found.inputs.items()}
    for name, (values, grad) in pairs.items():
        direction, before, sides = rng.standard_normal(values.shape), values.copy(), []
        for sign in (1, -1):
            values[...] = before + sign * STEP * direction
            sides.append(found.loss())
        values[...] = before
        expected = (sides[0] - sides[1]) / (2 * STEP)
        yield name, abs(float((grad * direction).sum()) - expected) / max(1.0, abs(expected))


class _Reference:
    """A call's network and values in float64, on the NumPy engine."""

    def __init__(self, call: Call) -> None:
        rnn = call.rnn
        self.seed, self.how = call.seed, call.how
        exact = call.precision == rnn.dtype.name
        self.rnn = Recurrent(
            rnn.cell,
            rnn.input_size,
            rnn.hidden_size,
            **{
                n: value
                for n, value in options_of(rnn).items()
                if n not in ("batch_first", "compute", "learn_initial_state")
            },
            dtype="float64" if exact else rnn.dtype,
            backend="numpy",
            compute=None if rnn.compute == rnn.dtype.name else rnn.compute,
        )
        for name, values in self.rnn.parameters.items():
            values[...] = on_host(rnn.parameters[name])
        self.network = self.rnn if call.weights is None else self.rnn.freeze(call.weights)
        self.x, *self.grad_output = (a.astype(self.rnn.dtype) for a in (call.x, call.grad_output, *call.grad_states))
        self.state, self.grad_state = (
            tuple(a.astype(self.rnn.dtype) for a in arrays) for arrays in (call.state, call.grad_state)
        )
        self.inputs = {name: values.astype(self.rnn.dtype) for name, values in call.inputs.items()}
        self.reset_state = tuple(a.astype(self.rnn.dtype) for a in call.reset_state)
        self.options: dict[str, Any] = {"lengths": call.lengths, "inputs": self.inputs or None, "resets": call.resets}
        if self.reset_state:
            self.options["reset_state"] = unwrap_state(self.reset_state)

    def result(self) -> Result:
        """Outputs, states and gradients."""
        self.rnn.reseed(self.seed)
        initial = unwrap_state(self.state)
        states, final, tape = self.rnn.forward(self.x, initial, **self.options, states="all", **self.how)
        cotangents: tuple[Any, ...] = (*self.grad_output, *[None] * (len(self.state) - len(self.grad_output)))
        grads = self.rnn.backward(tape, unwrap_state(cotangents), unwrap_state(self.grad_state))
        still, still_final = self.network(self.x, unwrap_state(self.state), **self.options, states="all")
        result = Result(
            as_tuple(states)[0],
            as_tuple(final),
            grads.x,
            as_tuple(grads.state),
            dict(grads.parameters),
            dict(grads.inputs),
            as_tuple(grads.reset_state) if self.reset_state else (),
            as_tuple(states),
        )
        every = as_tuple(still)
        result.inference = replace(result, output=every[0], state=as_tuple(still_final), states=every)
        return result

    def loss(self) -> float:
        """The sum of outputs and final states times their cotangents."""
        self.rnn.reseed(self.seed)
        states, final, _ = self.rnn.forward(self.x, unwrap_state(self.state), **self.options, states="all")
        terms: list[tuple[Array, Array]] = list(zip(as_tuple(states), self.grad_output, strict=False))
        terms += zip(as_tuple(final), self.grad_state, strict=True)
        return float(sum((value * cotangent).sum() for value, cotangent in terms))
