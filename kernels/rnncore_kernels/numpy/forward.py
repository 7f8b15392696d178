"""The forward pass of some rows of the batch, for inference and for training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..cells import Values
from ..contract import Array, State
from .layout import NumpyPacked, change_rows, no_rows

PROJECTION_BYTES = 1 << 21
"""The input projection is made for as many steps at a time as fit in this: few enough for the cache and enough for
BLAS."""


class Residuals(NamedTuple):
    """What the backward pass reads."""

    x: Array  # (T, B, I)
    sizes: Array  # (T,) rows at each step
    reverse: bool
    previous: State  # (H, T, B) per state: before each step
    new: State  # (H, T, B) per state: after each step; the memory of `previous`, shifted by a step
    kept: list[Values]  # per step, (H, rows) each
    operands: list[Array]  # (H, T, B) per stage: what W_hh is multiplied with


class _Step(NamedTuple):
    t: int
    rows: int
    previous: Values
    new: Values
    kept: Values
    operands: list[Array]


def infer(packed: NumpyPacked, x: Array, state: State, output: Array | None, sizes: Array, reverse: bool) -> None:
    """See `contract.Engine.infer`."""
    for step in _steps(packed, x, state, sizes, reverse):
        if output is not None:
            _write(output[step.t], step)


def forward(packed: NumpyPacked, x: Array, state: State, output: Array, sizes: Array, reverse: bool) -> Residuals:
    """See `contract.Engine.forward`."""
    residuals = _empty_residuals(packed, x, sizes, reverse)
    for step in _steps(packed, x, state, sizes, reverse):
        _write(output[step.t], step)
        for sequences, values in (
            (residuals.previous, step.previous),
            (residuals.new, step.new),
            (residuals.operands[1:], step.operands[1:]),
        ):
            for sequence, value in zip(sequences, values, strict=True):
                sequence[:, step.t, : step.rows] = value
        residuals.kept[step.t] = step.kept
    return residuals


def _write(destination: Array, step: _Step) -> None:
    destination[: step.rows] = step.new[0].T
    destination[step.rows :] = 0


def _steps(packed: NumpyPacked, x: Array, state: State, sizes: Array, reverse: bool) -> Iterator[_Step]:
    """Compute and yield each step, then leave the final state in `state`."""
    current = no_rows(state)
    for t, projected in _projections(packed, x, sizes, reverse):
        rows = projected.shape[1]
        previous = change_rows(current, state, rows)
        with np.errstate(all="ignore"):
            current, kept, operands = _step(packed, projected, previous)
        yield _Step(t, rows, previous, current, kept, operands)
    change_rows(current, state, 0)


def _projections(packed: NumpyPacked, x: Array, sizes: Array, reverse: bool) -> Iterator[tuple[int, Array]]:
    """Each step in the order of computation, with W_ih x_t + bias, (G*H, rows)."""
    steps, batch, inputs = x.shape
    weight, bias = packed.weights.weight_ih, packed.bias_x
    block = max(1, PROJECTION_BYTES // max(1, batch * len(weight) * x.itemsize))
    order = range(steps - 1, -1, -1) if reverse else range(steps)
    for first in range(0, steps, block):
        times = order[first : first + block]
        low, rows = min(times), int(sizes[min(times)])
        flat = x[low : low + len(times), :rows].reshape(len(times) * rows, inputs)
        with np.errstate(all="ignore"):
            projected = weight @ flat.T
            if bias is not None:
                projected += bias
        for t in times:
            start = (t - low) * rows
            yield t, projected[:, start : start + sizes[t]]


def _step(packed: NumpyPacked, projected: Array, state: Values) -> tuple[Values, Values, list[Array]]:
    """One time step: the new state, what the stages kept, and each stage's operand."""
    carry = state
    kept: Values = ()
    operands = []
    for stage, stage_rows, gate_rows in packed.plan:
        operands.append(carry[0])
        recurrent = packed.weights.weight_hh[stage_rows] @ carry[0]
        pre: list[Array] = []
        for gate, rows in zip(stage.gates, gate_rows, strict=True):
            of_x = projected[rows]
            of_h = recurrent[rows.start - stage_rows.start : rows.stop - stage_rows.start]
            if gate in stage.split:
                # A copy without bias: a cell may keep it, and should not keep all of `recurrent` with it.
                pre += [of_x, of_h.copy() if packed.bias_h is None else of_h + packed.bias_h[rows]]
            else:
                pre.append(of_x + of_h)
        carry, kept_here = stage.forward(tuple(pre), carry)
        kept += kept_here
    return carry, kept, operands


def _empty_residuals(packed: NumpyPacked, x: Array, sizes: Array, reverse: bool) -> Residuals:
    steps, batch, _ = x.shape
    hidden = packed.weights.weight_hh.shape[1]
    sequences = [np.zeros((hidden, steps + 1, batch), x.dtype) for _ in range(packed.num_states)]
    earlier, later = tuple(s[:, :-1] for s in sequences), tuple(s[:, 1:] for s in sequences)
    previous, new = (later, earlier) if reverse else (earlier, later)
    operands = [previous[0], *(np.zeros((hidden, steps, batch), x.dtype) for _ in packed.plan[1:])]
    return Residuals(x, sizes, reverse, previous, new, [()] * steps, operands)
