"""Back-propagation through time of a tile of rows."""

from __future__ import annotations

import numpy as np

from ..cells import Values
from ..contract import Array, BackwardRun, LayerGradients, LayerWeights
from .forward import Residuals
from .layout import NumpyPacked, change_rows, no_rows


def backward(run: BackwardRun[NumpyPacked, list[Residuals]], residuals: Residuals) -> LayerGradients:
    """See `contract.Engine.backward`; x of the result is that of the tile, (T, rows, I)."""
    x, tile, reverse, previous, new, kept, operands = residuals
    steps, _, inputs = x.shape
    weights = run.packed.weights
    grad_state = tuple(g[tile.index].copy() for g in run.grad_state)
    tile_rows = len(grad_state[0])
    has_split = any(stage.split for stage, _, _ in run.packed.plan)
    d_pre_x = np.zeros((len(weights.weight_hh), steps, tile_rows), x.dtype)
    d_pre_h = np.zeros_like(d_pre_x) if has_split else d_pre_x
    grad = no_rows(grad_state)
    for t in range(steps) if reverse else range(steps - 1, -1, -1):
        rows = int(tile.sizes[t])
        grad = change_rows(grad, grad_state, rows)
        if run.grad_output is not None:
            grad = (grad[0] + run.grad_output[t, tile.part(0, rows)].T, *grad[1:])
        state, new_state = tuple(s[:, t, :rows] for s in previous), tuple(s[:, t, :rows] for s in new)
        at_x = d_pre_x[:, t, :rows]
        at_h = d_pre_h[:, t, :rows] if has_split else at_x
        grad = _step_backward(run.packed, grad, kept[t], state, new_state, at_x, at_h)
    change_rows(grad, grad_state, 0)
    for destination, values in zip(run.grad_state, grad_state, strict=True):
        destination[tile.index] = values

    # The products over all steps leave out what is past a row's end: 0 times an infinite state would be NaN.
    columns, dense = steps * tile_rows, isinstance(tile.index, slice)
    active = slice(None) if dense else np.flatnonzero(np.arange(tile_rows) < tile.sizes[:, None])
    flat_x, flat_h = (d_pre.reshape(len(d_pre), columns)[:, active] for d_pre in (d_pre_x, d_pre_h))
    grad_hh = np.empty_like(weights.weight_hh)
    for (_, stage_rows, _), operand in zip(run.packed.plan, operands, strict=True):
        np.matmul(flat_h[stage_rows], operand.reshape(len(operand), columns)[:, active].T, out=grad_hh[stage_rows])
    grad_x = flat_x.T @ weights.weight_ih
    if not dense:
        grad_x_active, grad_x = grad_x, np.zeros((columns, inputs), x.dtype)
        grad_x[active] = grad_x_active
    grad_weights = LayerWeights(
        weight_ih=flat_x @ x[:, tile.index].reshape(columns, inputs)[active],
        weight_hh=grad_hh,
        bias_ih=None if weights.bias_ih is None else flat_x.sum(axis=1),
        bias_hh=None if weights.bias_hh is None else flat_h.sum(axis=1),
    )
    return LayerGradients(grad_x.reshape(steps, tile_rows, inputs), grad_weights)


def _step_backward(
    packed: NumpyPacked, grad: Values, kept: Values, state: Values, new_state: Values, d_pre_x: Array, d_pre_h: Array
) -> Values:
    """Write the cotangents of one step's pre-activations; return that of the state before it."""
    for stage, stage_rows, gate_rows in reversed(packed.plan):
        grad_pre, grad_carry = stage.backward(grad, kept, state, new_state)
        parts = iter(grad_pre)
        for gate, rows in zip(stage.gates, gate_rows, strict=True):
            d_pre_x[rows] = part = next(parts)
            if d_pre_h is not d_pre_x:
                d_pre_h[rows] = next(parts) if gate in stage.split else part
        product = packed.weights.weight_hh[stage_rows].T @ d_pre_h[stage_rows]
        grad = (
            product if grad_carry[0] is None else grad_carry[0] + product,
            *(np.zeros_like(product) if value is None else value for value in grad_carry[1:]),
        )
    return grad


def join(parts: list[LayerGradients], residuals: list[Residuals]) -> LayerGradients:
    """Gradients of the whole batch from those of its tiles: rows in their places, weights summed in order."""
    if len(parts) == 1 and isinstance(residuals[0].tile.index, slice):
        return parts[0]
    grad_x = np.empty_like(residuals[0].x, order="C")
    for part, residual in zip(parts, residuals, strict=True):
        grad_x[:, residual.tile.index] = part.x
    columns = zip(*(part.weights for part in parts), strict=True)
    summed = (None if column[0] is None else sum(column[1:], column[0]) for column in columns)
    return LayerGradients(grad_x, LayerWeights._make(summed))
