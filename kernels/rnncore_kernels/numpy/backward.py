"""Back-propagation through time of some rows of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cells import Values
from ..contract import Array, LayerGradients, State
from .forward import Residuals
from .layout import NumpyPacked, change_rows, no_rows


def backward(packed: NumpyPacked, residuals: Residuals, grad_output: Array | None, grad_state: State) -> LayerGradients:
    """See `contract.Engine.backward`."""
    x, sizes, reverse, previous, new, kept, operands = residuals
    steps, batch, inputs = x.shape
    weights = packed.weights
    has_split = any(stage.split for stage, _, _ in packed.plan)
    of_x = np.zeros((len(weights.weight_hh), steps, batch), x.dtype)
    of_h = np.zeros_like(of_x) if has_split else of_x
    grad = no_rows(grad_state)
    with np.errstate(all="ignore"):
        for t in range(steps) if reverse else range(steps - 1, -1, -1):
            rows = int(sizes[t])
            grad = change_rows(grad, grad_state, rows)
            if grad_output is not None:
                grad = (grad[0] + grad_output[t, :rows].T, *grad[1:])
            state, new_state = tuple(s[:, t, :rows] for s in previous), tuple(s[:, t, :rows] for s in new)
            of_x_t = of_x[:, t, :rows]
            of_h_t = of_h[:, t, :rows] if has_split else of_x_t
            grad = _step_backward(packed, grad, kept[t], state, new_state, of_x_t, of_h_t)
        change_rows(grad, grad_state, 0)

        flat_x, flat_h = (a.reshape(len(a), steps * batch) for a in (of_x, of_h))
        grad_hh = np.empty_like(weights.weight_hh)
        for (_, rows_of_stage, _), operand in zip(packed.plan, operands, strict=True):
            np.matmul(flat_h[rows_of_stage], operand.reshape(len(operand), steps * batch).T, out=grad_hh[rows_of_stage])
        return LayerGradients(
            x=(flat_x.T @ weights.weight_ih).reshape(x.shape),
            weight_ih=flat_x @ x.reshape(steps * batch, inputs),
            weight_hh=grad_hh,
            bias_ih=None if weights.bias_ih is None else flat_x.sum(axis=1),
            bias_hh=None if weights.bias_hh is None else flat_h.sum(axis=1),
        )


def _step_backward(
    packed: NumpyPacked, grad: Values, kept: Values, state: Values, new_state: Values, of_x: Array, of_h: Array
) -> Values:
    """Write the cotangents of one step's pre-activations to `of_x` and `of_h`; return that of the state before it."""
    for stage, stage_rows, gate_rows in reversed(packed.plan):
        grad_pre, grad_carry = stage.backward(grad, kept, state, new_state)
        parts = iter(grad_pre)
        for gate, rows in zip(stage.gates, gate_rows, strict=True):
            of_x[rows] = part = next(parts)
            if of_h is not of_x:
                of_h[rows] = next(parts) if gate in stage.split else part
        product = packed.weights.weight_hh[stage_rows].T @ of_h[stage_rows]
        grad = (
            product if grad_carry[0] is None else grad_carry[0] + product,
            *(np.zeros_like(product) if value is None else value for value in grad_carry[1:]),
        )
    return grad


def join(parts: list[LayerGradients]) -> LayerGradients:
    """Gradients of the whole batch from those of its tiles: rows side by side, weights summed in the tiles' order."""
    if len(parts) == 1:
        return parts[0]
    x, *weights = zip(*parts, strict=True)
    summed: list[Any] = [None if column[0] is None else sum(column[1:], column[0]) for column in weights]
    return LayerGradients(np.concatenate(x, axis=1), *summed)
