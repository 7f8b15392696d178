"""An engine of a GPU for arrays of the host: with it, every test of engines also holds the CUDA engine to account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnncore_kernels.contract import Array, BackwardRun, Engine, LayerGradients, LayerWeights, Run


class Hosted(Engine[Any, Any]):
    """Copies arguments to the GPU before each call, and results back after it.

    What is written is copied there too, so that an element that was not written is found as it is on the host.
    """

    xp = np

    def __init__(self, engine: Engine[Any, Any]) -> None:
        self._engine = engine
        self.min_block_steps = engine.min_block_steps

    def pack(self, cell: Any, weights: LayerWeights, *, copy: bool, backward: bool) -> Any:
        return self._engine.pack(cell, LayerWeights(*map(self._up, weights)), copy=copy, backward=backward)

    def impl(self, cell: Any, weights: LayerWeights, steps: int, batch: int, *, training: bool) -> str:
        return self._engine.impl(cell, weights, steps, batch, training=training)

    def infer(self, runs: Sequence[Run[Any]]) -> None:
        lifted = [self._lifted(run) for run in runs]
        self._engine.infer(lifted)
        self._bring_back(lifted, runs)

    def forward(self, runs: Sequence[Run[Any]]) -> list[Any]:
        lifted = [self._lifted(run) for run in runs]
        residuals = self._engine.forward(lifted)
        self._bring_back(lifted, runs)
        return residuals

    def backward(self, runs: Sequence[BackwardRun[Any, Any]]) -> list[LayerGradients]:
        lifted = [
            run._replace(grad_output=self._up(run.grad_output), grad_state=tuple(map(self._up, run.grad_state)))
            for run in runs
        ]
        results = self._engine.backward(lifted)
        for there, here in zip(lifted, runs, strict=True):
            for source, target in zip(there.grad_state, here.grad_state, strict=True):
                target[...] = _down(source)
        return [LayerGradients(_down(grads.x), LayerWeights(*map(_down, grads.weights))) for grads in results]

    def _lifted(self, run: Run[Any]) -> Run[Any]:
        state = tuple(map(self._up, run.state))
        return run._replace(x=self._up(run.x), state=state, output=self._up(run.output), last=self._up(run.last))

    def _bring_back(self, lifted: Sequence[Run[Any]], runs: Sequence[Run[Any]]) -> None:
        for there, here in zip(lifted, runs, strict=True):
            pairs = ((there.output, here.output), (there.last, here.last), *zip(there.state, here.state, strict=True))
            for source, target in pairs:
                if target is not None:
                    target[...] = _down(source)

    def _up(self, array: Array | None) -> Any:
        return None if array is None else self._engine.xp.asarray(np.ascontiguousarray(array))


def _down(array: Any) -> Any:
    return None if array is None else array.get()
