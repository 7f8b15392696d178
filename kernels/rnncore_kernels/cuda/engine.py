"""The engine of `backend="cuda"`: products of whole sequences by cuBLAS, and one launch for all steps of a layer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from types import ModuleType

from ..contract import Array, BackwardRun, Engine, LayerGradients, LayerWeights, Run, Sizes
from ..program.program import Program
from ..quiet import quiet
from .backward import backward
from .device import Device
from .forward import Residuals, forward, infer, states
from .launch import plan_of
from .pack import CudaPacked, pack
from .steps import backward_steps, forward_steps


class CudaEngine(Engine[CudaPacked, Residuals]):
    """See `contract.Engine`. Arrays are on a GPU; all work is queued on the current stream, and none is waited for."""

    min_block_steps = 256

    def __init__(self, device: Device) -> None:
        self._device = device
        self.xp: ModuleType = device.xp

    @quiet
    def pack(self, program: Program, sizes: Sizes, weights: LayerWeights, *, copy: bool, backward: bool) -> CudaPacked:
        return pack(self.xp, program, sizes, weights, copy=copy, backward=backward)

    def impl(self, program: Program, sizes: Sizes, steps: int, batch: int, *, training: bool) -> str:
        passes = [forward_steps(program), *([backward_steps(program)] if training else [])]
        return ", back ".join(plan_of(self._device.limits, steps, sizes, batch).impl for steps in passes)

    def infer(self, runs: Sequence[Run[CudaPacked]]) -> None:
        for run in runs:
            with _memory_for("inference", run.x, run.packed):
                infer(self._device, run)

    @quiet
    def forward(self, runs: Sequence[Run[CudaPacked]]) -> list[Residuals]:
        residuals = []
        for run in runs:
            with _memory_for("the forward pass", run.x, run.packed):
                residuals.append(forward(self._device, run))
        return residuals

    def states(self, packed: CudaPacked, residuals: Residuals) -> tuple[Array, ...]:
        return states(self._device, packed, residuals)

    @quiet
    def backward(self, runs: Sequence[BackwardRun[CudaPacked, Residuals]]) -> list[LayerGradients]:
        gradients = []
        for run in runs:
            with _memory_for("the backward pass", run.residuals.x, run.packed):
                gradients.append(backward(self._device, run))
        return gradients


@contextlib.contextmanager
def _memory_for(what: str, x: Array, packed: CudaPacked) -> Iterator[None]:
    """Say in a MemoryError what there was no memory for, and what to do."""
    try:
        yield
    except MemoryError as error:
        steps, batch, inputs = x.shape
        raise MemoryError(
            f"not enough memory on the GPU for {what} of a layer with T={steps}, B={batch}, I={inputs}, "
            f"H={packed.sizes.hidden} in {x.dtype}: {error} Use fewer rows or steps at a time, or delete tapes and "
            f"arrays that nobody needs; cupy.get_default_memory_pool().free_all_blocks() returns what CuPy keeps for "
            f"later."
        ) from error
