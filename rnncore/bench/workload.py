"""What is measured: a network on random values."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncore_kernels.cells import CELLS, GRU, Cell
from rnncore_kernels.contract import Array

from ..devices import namespace_of, on_host
from ..pytorch import is_tensor
from ..recurrent import Recurrent

MODES = ("inference", "training")
"""Of whole sequences."""
STEP, FROZEN_STEP = STEPS = ("step", "frozen-step")
"""One step of a stream: by the network, whose parameters may have changed since the last, and by its frozen copy."""

Task = Callable[[], Any]
"""What is timed: computes a workload once and returns all its results, arrays or tensors nested in lists and tuples."""


@dataclass(frozen=True)
class Workload:
    """One row of a report. Sizes and options as in `Recurrent`.

    `mode` is "inference" (with frozen weights), "training" (forward and backward), "step" or "frozen-step" (one step of
    a stream from a given state, by `Recurrent.step` and by `Frozen.step`).
    The GRU is update="carry", which all libraries have; the other update is the same work. With `ragged`, rows have
    lengths drawn evenly from 1 to `steps`. `threads` are the most that a call may use, None is one per core. `seed` is
    of all random values.
    """

    cell: str
    mode: str
    steps: int
    batch: int
    input_size: int
    hidden_size: int
    dtype: str
    num_layers: int = 1
    bidirectional: bool = False
    ragged: bool = False
    threads: int | None = None
    seed: int = 0

    def network(self, backend: str, dtype: str | None = None) -> Recurrent:
        """The network on a backend; the same parameters on each."""
        cell: str | Cell = GRU(update="carry") if CELLS[self.cell] is GRU else self.cell
        return Recurrent(
            cell,
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bidirectional,
            backend=backend,
            dtype=dtype or self.dtype,
            num_threads=self.threads,
            seed=self.seed,
        )

    @property
    def output_size(self) -> int:
        """Width of the output, D*H."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def flops(self) -> int:
        """Floating-point operations of the matrix products: 2 per multiply-add, training three times inference."""
        widths = self.input_size + (self.num_layers - 1) * self.output_size + self.num_layers * self.hidden_size
        passes = 3 if self.mode == "training" else 1
        return 2 * self._rows() * self._gates() * self.output_size * widths * passes

    def weight_bytes(self) -> int:
        """Of the recurrent weights of all layers and directions, which every step reads."""
        return self._gates() * self.hidden_size * self.output_size * self.num_layers * self._itemsize()

    def bytes(self) -> int:
        """Bytes that have to be read and written at least: the recurrent weights at every step, all else once.

        Training does so in the forward and in the backward pass, where gradients are as large as what they are of.
        """
        directions = self.output_size // self.hidden_size
        inputs = self.input_size + (self.num_layers - 1) * self.output_size
        weights = self._gates() * self.output_size * inputs * self._itemsize()
        ends = self._rows() * (self.input_size + directions * self.hidden_size) * self._itemsize()
        once = self._longest() * self.weight_bytes() + weights + ends
        return 2 * once + self.weight_bytes() + weights + ends if self.mode == "training" else once

    def _gates(self) -> int:
        return len(CELLS[self.cell]().gates)

    def _rows(self) -> int:
        """Of all steps together."""
        lengths = self.lengths()
        return self.steps * self.batch if lengths is None else int(lengths.sum())

    def _longest(self) -> int:
        """Steps of the longest row."""
        lengths = self.lengths()
        return self.steps if lengths is None else int(lengths.max(initial=0))

    def _itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize

    def inputs(self) -> tuple[Array, Array]:
        """x (T, B, I) and the cotangent of the output (T, B, D*H); those of the last workload asked for are kept."""
        return _inputs(self)

    def lengths(self) -> NDArray[Any] | None:
        """(B,) steps of each row; None if every row has T."""
        return np.random.default_rng(self.seed).integers(1, self.steps + 1, self.batch) if self.ragged else None

    def task(self, rnn: Recurrent) -> Task:
        """The workload on a network of this library; a call returns when all is computed, on a GPU too."""
        return finished(self.queued(rnn), namespace_of(rnn.parameters["weight_hh_l0"]))

    def queued(self, rnn: Recurrent) -> Task:
        """As `task`, but a call returns when all is queued on the GPU, if the network is on one."""
        xp = namespace_of(rnn.parameters["weight_hh_l0"])
        x, grad_output = (xp.asarray(values.astype(rnn.dtype)) for values in self.inputs())
        lengths = self.lengths()
        if self.mode == "training":

            def train() -> list[Array]:
                output, _, tape = rnn.forward(x, lengths=lengths)
                grads = rnn.backward(tape, grad_output)
                return [output, grads.x, *grads.parameters.values()]

            return train
        frozen = rnn.freeze()
        if self.mode in STEPS:
            x_t, step = x[0], rnn.step if self.mode == STEP else frozen.step
            _, before = step(x_t)
            return lambda: step(x_t, before)
        return lambda: frozen(x, lengths=lengths)


@functools.lru_cache(maxsize=1)
def _inputs(workload: Workload) -> tuple[Array, Array]:
    rng = np.random.default_rng(workload.seed)
    shapes = ((workload.steps, workload.batch, width) for width in (workload.input_size, workload.output_size))
    x, grad = (rng.standard_normal(shape).astype(workload.dtype) for shape in shapes)
    return x, grad


def finished(task: Task, xp: ModuleType) -> Task:
    """The task, and waiting for what it has queued on a GPU; what a task of NumPy's has computed is there."""
    if xp is np:
        return task

    def wait() -> Any:
        results = task()
        xp.cuda.get_current_stream().synchronize()
        return results

    return wait


def arrays_of(results: Any) -> list[Array]:
    """What a task returned, as a flat list of NumPy arrays."""
    if isinstance(results, (list, tuple)):
        return [array for part in results for array in arrays_of(part)]
    return [results.detach().cpu().numpy() if is_tensor(results) else on_host(results)]
