"""The forward pass of a tile of rows, for inference and for training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..cells import Values
from ..contract import Array, Run, State
from .layout import NumpyPacked, Tile, change_rows, no_rows

PROJECTION_BYTES = 1 << 21
"""The input projection is made for as many steps at a time as fit in this: few for the cache, enough for BLAS."""


class Residuals(NamedTuple):
    """What the backward pass reads of a tile."""

    x: Array  # (T, B, I) of the whole batch
    tile: Tile
    reverse: bool
    previous: State  # (H, T, rows) per state: before each step
    new: State  # (H, T, rows) per state: after each step; the memory of `previous`, shifted by a step
    kept: list[Values]  # per step, (H, rows at that step) each
    operands: list[Array]  # (H, T, rows) per stage: what W_hh is multiplied with


class _Step(NamedTuple):
    t: int
    rows_before: int  # how many of its rows were there at the step before
    rows: int
    previous: Values
    new: Values
    kept: Values
    operands: list[Array]


def infer(run: Run[NumpyPacked], tile: Tile) -> None:
    """See `contract.Engine.infer`."""
    for step in _steps(run, tile):
        _write(run, tile, step)


def forward(run: Run[NumpyPacked], tile: Tile) -> Residuals:
    """See `contract.Engine.forward`."""
    residuals = _empty_residuals(run, tile)
    for step in _steps(run, tile):
        _write(run, tile, step)
        for sequences, values in (
            (residuals.previous, step.previous),
            (residuals.new, step.new),
            (residuals.operands[1:], step.operands[1:]),
        ):
            for sequence, value in zip(sequences, values, strict=True):
                sequence[:, step.t, : step.rows] = value
        residuals.kept[step.t] = step.kept
    return residuals


def _write(run: Run[NumpyPacked], tile: Tile, step: _Step) -> None:
    h = step.new[0].T
    if run.output is not None:
        run.output[step.t, tile.part(0, step.rows)] = h
        run.output[step.t, tile.part(step.rows)] = 0
    if run.last is not None and run.reverse:
        run.last[tile.part(step.rows_before, step.rows)] = h[step.rows_before :]


def _steps(run: Run[NumpyPacked], tile: Tile) -> Iterator[_Step]:
    """Compute and yield each step, then leave the final state in `run.state`."""
    state = tuple(s[tile.index].copy() for s in run.state)
    current = no_rows(state)
    for t, projected in _projections(run, tile):
        before, rows = current[0].shape[1], projected.shape[1]
        previous = change_rows(current, state, rows)
        current, kept, operands = _step(run.packed, projected, previous)
        yield _Step(t, min(before, rows), rows, previous, current, kept, operands)
    change_rows(current, state, 0)
    for destination, values in zip(run.state, state, strict=True):
        destination[tile.index] = values
    if run.last is not None and not run.reverse and len(tile.sizes):
        rows = int(tile.sizes[0])
        run.last[tile.part(0, rows)] = state[0][:rows]


def _projections(run: Run[NumpyPacked], tile: Tile) -> Iterator[tuple[int, Array]]:
    """Each step in the order of computation, with W_ih x_t + bias, (G*H, rows)."""
    steps, _, inputs = run.x.shape
    weight, bias = run.packed.weights.weight_ih, run.packed.bias_x
    most = int(tile.sizes.max(initial=0))
    block = max(1, PROJECTION_BYTES // max(1, most * len(weight) * run.x.itemsize))
    order = range(steps - 1, -1, -1) if run.reverse else range(steps)
    for first in range(0, steps, block):
        times = order[first : first + block]
        low, rows = min(times), int(tile.sizes[min(times)])
        flat = run.x[low : low + len(times), tile.part(0, rows)].reshape(len(times) * rows, inputs)
        projected = weight @ flat.T
        if bias is not None:
            projected += bias
        for t in times:
            start = (t - low) * rows
            yield t, projected[:, start : start + tile.sizes[t]]


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


def _empty_residuals(run: Run[NumpyPacked], tile: Tile) -> Residuals:
    steps = len(run.x)
    hidden = run.packed.weights.weight_hh.shape[1]
    rows = len(run.state[0][tile.index])
    sequences = [np.zeros((hidden, steps + 1, rows), run.x.dtype) for _ in range(run.packed.num_states)]
    earlier, later = tuple(s[:, :-1] for s in sequences), tuple(s[:, 1:] for s in sequences)
    previous, new = (later, earlier) if run.reverse else (earlier, later)
    operands = [previous[0], *(np.zeros((hidden, steps, rows), run.x.dtype) for _ in run.packed.plan[1:])]
    return Residuals(run.x, tile, run.reverse, previous, new, [()] * steps, operands)
