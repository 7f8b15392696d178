"""The engine of `backend="numpy"`: tiles of rows, each computed by one thread."""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType

import numpy as np

from ..cells import Cell
from ..contract import Array, Engine, LayerGradients, LayerWeights, State
from .backward import backward, join
from .forward import Residuals, forward, infer
from .layout import NumpyPacked, pack
from .threads import row_tiles, run_tiles


class NumpyEngine(Engine[NumpyPacked, list[Residuals]]):
    """See `contract.Engine`. Results are the same, to the bit, for any number of threads."""

    xp: ModuleType = np

    def __init__(self, num_threads: int | None = None) -> None:
        self.num_threads = num_threads

    def pack(self, cell: Cell, weights: LayerWeights, *, copy: bool) -> NumpyPacked:
        return pack(cell, weights, copy)

    def infer(
        self,
        packed: NumpyPacked,
        x: Array,
        state: State,
        output: Array | None,
        batch_sizes: Array | None,
        reverse: bool,
    ) -> None:
        def work(tile: slice) -> None:
            out = None if output is None else output[:, tile]
            infer(packed, x[:, tile], _rows(state, tile), out, _sizes(batch_sizes, x, tile), reverse)

        run_tiles(work, _tiles(packed, x), self.num_threads)

    def forward(
        self, packed: NumpyPacked, x: Array, state: State, output: Array, batch_sizes: Array | None, reverse: bool
    ) -> list[Residuals]:
        def work(tile: slice) -> Residuals:
            sizes = _sizes(batch_sizes, x, tile)
            return forward(packed, x[:, tile], _rows(state, tile), output[:, tile], sizes, reverse)

        return run_tiles(work, _tiles(packed, x), self.num_threads)

    def backward(
        self, packed: NumpyPacked, residuals: list[Residuals], grad_output: Array | None, grad_state: State
    ) -> LayerGradients:
        def work(item: tuple[slice, Residuals]) -> LayerGradients:
            tile, kept = item
            grad = None if grad_output is None else grad_output[:, tile]
            return backward(packed, kept, grad, _rows(grad_state, tile))

        bounds = np.cumsum([0] + [part.x.shape[1] for part in residuals]).tolist()
        tiles = [slice(start, stop) for start, stop in pairwise(bounds)]
        return join(run_tiles(work, list(zip(tiles, residuals, strict=True)), self.num_threads))


def _tiles(packed: NumpyPacked, x: Array) -> list[slice]:
    return row_tiles(x.shape[1], 2 * packed.weights.weight_hh.size)


def _rows(state: State, tile: slice) -> State:
    return tuple(s[tile] for s in state)


def _sizes(batch_sizes: Array | None, x: Array, tile: slice) -> Array:
    rows = tile.stop - tile.start
    return np.full(len(x), rows) if batch_sizes is None else np.clip(batch_sizes - tile.start, 0, rows)
