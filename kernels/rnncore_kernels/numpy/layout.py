"""Arrays of the NumPy engine.

Values of a step are (H, rows), transposed against the contract's (B, H): BLAS multiplies W_hh by a few columns up to
twice as fast as a few rows by its transpose, and each gate is one block of memory. Sequences are (features, T, rows).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..cells import Cell, Stage, Values
from ..contract import Array, LayerWeights, Rows, State


class StagePlan(NamedTuple):
    """A stage, and which of the G*H rows of the weights belong to it and to each of its gates."""

    stage: Stage
    rows: slice
    gate_rows: tuple[slice, ...]


@dataclass(frozen=True)
class NumpyPacked:
    """A layer's weights as they came, with the biases that are added to the same sum added up."""

    weights: LayerWeights
    plan: tuple[StagePlan, ...]
    num_states: int
    bias_x: Array | None  # (G*H, 1) added to W_ih x_t
    bias_h: Array | None  # (G*H, 1) added to W_hh u of the gates in `split`


@dataclass(frozen=True, eq=False)
class Tile:
    """Some rows of the batch, computed by one thread.

    Attributes:
        index: which rows; an array of indices, the longest row first, or a slice where all are equally long.
        sizes: (T,) how many of them are longer than t.
    """

    index: Array | slice
    sizes: Array

    def part(self, start: int, stop: int | None = None) -> Array | slice:
        """Index of the tile's rows from `start` to `stop`, or to the last."""
        if isinstance(self.index, slice):
            first = self.index.start
            return slice(first + start, self.index.stop if stop is None else first + stop)
        return self.index[start:stop]


def make_tiles(rows: Rows, steps: int, batch: int, count: int) -> list[Tile]:
    """The batch in `count` tiles. Rows of different lengths are dealt out in turn, so each tile has as much work."""
    if rows.batch_sizes is None:
        bounds = [batch * i // count for i in range(count + 1)]
        return [Tile(slice(*pair), np.full(steps, pair[1] - pair[0])) for pair in pairwise(bounds)]
    order = np.arange(batch) if rows.order is None else rows.order
    return [Tile(order[i::count], np.maximum(0, (rows.batch_sizes - i + count - 1) // count)) for i in range(count)]


def pack(cell: Cell, weights: LayerWeights, copy: bool) -> NumpyPacked:
    """See `contract.Engine.pack`."""
    if copy:
        weights = LayerWeights._make(None if w is None else w.copy() for w in weights)
    hidden = weights.weight_hh.shape[1]
    plan, start = [], 0
    for stage in cell.stages:
        bounds = [start + hidden * i for i in range(len(stage.gates) + 1)]
        gate_rows = tuple(slice(*pair) for pair in pairwise(bounds))
        plan.append(StagePlan(stage, slice(start, bounds[-1]), gate_rows))
        start = bounds[-1]
    bias_x = bias_h = None
    if weights.bias_ih is not None and weights.bias_hh is not None:
        split = np.repeat([gate in stage.split for stage in cell.stages for gate in stage.gates], hidden)
        bias_x = np.where(split, weights.bias_ih, weights.bias_ih + weights.bias_hh)[:, None]
        bias_h = weights.bias_hh[:, None]
    return NumpyPacked(weights, tuple(plan), len(cell.states), bias_x, bias_h)


def change_rows(current: Values, state: State, rows: int) -> Values:
    """The (H, have) values with `rows` columns instead.

    Rows past `rows` leave their values in `state` (rows of the tile, H); rows that are new bring theirs from it.
    """
    have = current[0].shape[1]
    if rows > have:
        pairs = zip(current, state, strict=True)
        return tuple(np.ascontiguousarray(np.concatenate([c, s[have:rows].T], axis=1)) for c, s in pairs)
    if rows == have:
        return current
    for c, s in zip(current, state, strict=True):
        s[rows:have] = c[:, rows:].T
    return tuple(c[:, :rows] for c in current)


def no_rows(state: State) -> Values:
    """(H, 0) values to begin with."""
    return tuple(s[:0].T for s in state)
