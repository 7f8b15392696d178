"""The engine of `backend="numpy"`: tiles of rows, each computed by one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from ..cells import Cell
from ..contract import BackwardRun, Engine, LayerGradients, LayerWeights, Run
from .backward import backward, join
from .forward import Residuals, forward, infer
from .layout import NumpyPacked, Tile, make_tiles, pack
from .threads import run_in_threads, tile_count

_Run = Run[NumpyPacked]
_BackwardRun = BackwardRun[NumpyPacked, list[Residuals]]
Result = TypeVar("Result")


class NumpyEngine(Engine[NumpyPacked, list[Residuals]]):
    """See `contract.Engine`."""

    xp: ModuleType = np
    min_block_steps = 16
    compared_bytes = 1 << 20

    def __init__(self, num_threads: int | None = None) -> None:
        self.num_threads = num_threads

    def pack(self, cell: Cell, weights: LayerWeights, *, copy: bool, backward: bool) -> NumpyPacked:
        return pack(cell, weights, copy)

    def impl(self, cell: Cell, weights: LayerWeights, steps: int, batch: int, *, training: bool) -> str:
        tiles = tile_count(batch, 2 * weights.weight_hh.size * batch)
        return f"{tiles} tiles of rows" if tiles > 1 else "1 tile"

    def infer(self, runs: Sequence[_Run]) -> None:
        pairs = [(run, tile) for run in runs for tile in _tiles(run)]
        self._compute(infer, runs, pairs)

    def forward(self, runs: Sequence[_Run]) -> list[list[Residuals]]:
        tiles = [_tiles(run) for run in runs]
        pairs = [(run, tile) for run, tiles_of_run in zip(runs, tiles, strict=True) for tile in tiles_of_run]
        results = iter(self._compute(forward, runs, pairs))
        return [[next(results) for _ in tiles_of_run] for tiles_of_run in tiles]

    def backward(self, runs: Sequence[_BackwardRun]) -> list[LayerGradients]:
        pairs = [(run, residuals) for run in runs for residuals in run.residuals]
        results = iter(self._compute(backward, runs, pairs))
        return [join([next(results) for _ in run.residuals], run.residuals) for run in runs]

    def _compute(
        self, work: Callable[..., Result], runs: Sequence[_Run | _BackwardRun], pairs: Sequence[tuple[Any, Any]]
    ) -> list[Result]:
        """`work` on each pair of a run and a tile of it."""
        return run_in_threads(work, pairs, sum(_step_flops(run) for run in runs), self.num_threads)


def _tiles(run: _Run) -> list[Tile]:
    steps, batch, _ = run.x.shape
    return make_tiles(run.rows, steps, batch, tile_count(batch, _step_flops(run)))


def _step_flops(run: _Run | _BackwardRun) -> int:
    """Of the recurrent product of one time step of the whole batch."""
    state = run.state if isinstance(run, Run) else run.grad_state
    return 2 * run.packed.weights.weight_hh.size * len(state[0])
