"""What is measured: a network of one layer on random values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rnncore_kernels.cells import CELLS
from rnncore_kernels.contract import Array

from ..recurrent import Recurrent
from ..states import as_tuple

MODES = ("inference", "training")


@dataclass(frozen=True)
class Workload:
    """One row of a report. Sizes as in `Recurrent`; `mode` is "inference" or "training" (forward and backward)."""

    cell: str
    mode: str
    steps: int
    batch: int
    input_size: int
    hidden_size: int
    dtype: str

    def network(self, backend: str, num_threads: int | None = None, dtype: str | None = None) -> Recurrent:
        """The network on a backend; the same parameters on each."""
        sizes = self.input_size, self.hidden_size
        return Recurrent(self.cell, *sizes, backend=backend, dtype=dtype or self.dtype, num_threads=num_threads, seed=0)

    def flops(self) -> int:
        """Floating-point operations of the matrix products: 2 per multiply-add, training three times inference."""
        gates = len(CELLS[self.cell]().gates)
        products = 2 * self.steps * self.batch * gates * self.hidden_size * (self.input_size + self.hidden_size)
        return products * (3 if self.mode == "training" else 1)

    def inputs(self) -> tuple[Array, Array]:
        """x (T, B, I) and the cotangent of the output (T, B, H)."""
        rng = np.random.default_rng(0)
        widths = self.input_size, self.hidden_size
        x, grad = (rng.standard_normal((self.steps, self.batch, width)).astype(self.dtype) for width in widths)
        return x, grad

    def task(self, rnn: Recurrent) -> Callable[[], list[Array]]:
        """What is timed: a function that computes the workload and returns all results."""
        x, grad_output = self.inputs()
        x, grad_output = x.astype(rnn.dtype), grad_output.astype(rnn.dtype)
        if self.mode == "inference":
            frozen = rnn.freeze()

            def infer() -> list[Array]:
                output, state = frozen(x)
                return [output, *as_tuple(state)]

            return infer

        def train() -> list[Array]:
            output, _, tape = rnn.forward(x)
            grads = rnn.backward(tape, grad_output)
            return [output, grads.x, *grads.parameters.values()]

        return train
