"""The network of one layer in one direction, with less around the engine's calls: most of what a small one costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rnncore_kernels.contract import Array, BackwardRun, Inputs, LayerWeights, Needs, Rows, Run
from rnncore_kernels.program.transform import NOTHING, Changes

from ..architecture import Architecture
from ..draws import Draws
from ..layers import States
from ..resets import Resets
from ..stack import ALL, Stack
from .memory import Memory
from .network import Network


class SingleNetwork(Network):
    """See `Network`."""

    def __init__(self, architecture: Architecture, memory: Memory) -> None:
        super().__init__(architecture, memory)
        self._program, self._sizes = architecture.program, architecture.sizes(0)
        self._reverse = architecture.runs_back(0)

    def compute(
        self,
        weights: Sequence[LayerWeights],
        x: Array,
        states: States,
        rows: Rows,
        output: Array | None,
        inputs: Inputs,
        resets: Resets | None,
        changes: Changes,
        *,
        draws: Draws | None,
        drop: Callable[[int, Array], Array] | None,
    ) -> Any:
        """Dropout by masks is of what layers above would read."""
        if changes is not NOTHING:
            return super().compute(weights, x, states, rows, output, inputs, resets, changes, draws=draws, drop=drop)
        packed = self.engine.pack(self._program, self._sizes, weights[0], copy=True, backward=True)
        run = Run(packed, x, tuple([s[0] for s in states]), output, None, rows, self._reverse, inputs)
        return packed, self.engine.forward((run,))[0]

    def compute_back(
        self,
        kept: Any,
        grad_output: Array | None,
        grad_states: States,
        needs: Sequence[Needs] | None,
        grad_resets: States | None,
        grad_every: Sequence[Sequence[Array]],
        flow: States | None,
    ) -> tuple[Array, list[LayerWeights], Inputs]:
        """See `Network.compute_back`."""
        packed, residuals = kept
        if isinstance(packed, Stack):
            return super().compute_back(kept, grad_output, grad_states, needs, grad_resets, grad_every, flow)
        states = tuple([s[0] for s in grad_states])
        run = BackwardRun(packed, residuals, grad_output, states, ALL if needs is None else needs[0])
        (gradients,) = self.engine.backward((run,))
        return gradients.x, [gradients.weights], gradients.inputs
