"""An engine of a GPU for arrays of the host: with it, every test of engines also holds the CUDA engine to account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnncore_kernels.contract import BackwardRun, Engine, LayerGradients, LayerWeights, Run, Sizes
from rnncore_kernels.program.program import Program


class Hosted(Engine[Any, Any]):
    """Copies arguments to the GPU before each call, and results back after it.

    What is written is copied there too, so that an element that was not written is found as it is on the host.
    """

    xp = np

    def __init__(self, engine: Engine[Any, Any]) -> None:
        self._engine = engine
        self.min_block_steps = engine.min_block_steps

    def pack(self, program: Program, sizes: Sizes, weights: LayerWeights, *, copy: bool, backward: bool) -> Any:
        return self._engine.pack(program, sizes, self._up(weights), copy=copy, backward=backward)

    def impl(self, program: Program, sizes: Sizes, steps: int, batch: int, *, training: bool) -> str:
        return self._engine.impl(program, sizes, steps, batch, training=training)

    def infer(self, runs: Sequence[Run[Any]]) -> None:
        lifted = [self._lifted(run) for run in runs]
        self._engine.infer(lifted)
        self._bring_back(lifted, runs)

    def forward(self, runs: Sequence[Run[Any]]) -> list[Any]:
        lifted = [self._lifted(run) for run in runs]
        residuals = self._engine.forward(lifted)
        self._bring_back(lifted, runs)
        return residuals

    def states(self, packed: Any, residuals: Any) -> Any:
        return _down(self._engine.states(packed, residuals))

    def backward(self, runs: Sequence[BackwardRun[Any, Any]]) -> list[LayerGradients]:
        lifted = [
            run._replace(**{name: self._up(getattr(run, name)) for name in ("grad_output", "grad_state", "inputs")})
            for run in runs
        ]
        results = self._engine.backward(lifted)
        for there, here in zip(lifted, runs, strict=True):
            for source, target in zip(there.grad_state, here.grad_state, strict=True):
                target[...] = _down(source)
        return [_down(grads) for grads in results]

    def _lifted(self, run: Run[Any]) -> Run[Any]:
        names = ("x", "state", "output", "last", "inputs")
        return run._replace(**{name: self._up(getattr(run, name)) for name in names})

    def _bring_back(self, lifted: Sequence[Run[Any]], runs: Sequence[Run[Any]]) -> None:
        for there, here in zip(lifted, runs, strict=True):
            pairs = ((there.output, here.output), (there.last, here.last), *zip(there.state, here.state, strict=True))
            for source, target in pairs:
                if target is not None:
                    target[...] = _down(source)

    def _up(self, value: Any) -> Any:
        return _mapped(value, lambda array: self._engine.xp.asarray(np.array(array, order="C")))


def _down(value: Any) -> Any:
    return _mapped(value, lambda array: array.get())


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """A function of each array of (named) tuples, and None for None."""
    if isinstance(value, tuple):
        parts = [_mapped(part, function) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return None if value is None else function(value)
