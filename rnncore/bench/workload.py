"""Workloads: networks on random values."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncore_kernels.contract import Array
from rnncore_kernels.precision import BFLOAT16, INT8

from ..architecture import Architecture
from ..cells_by_name import parse_cell
from ..devices import namespace_of, on_host
from ..options import make_architecture
from ..pytorch import is_tensor
from ..recurrent import Recurrent

MODES = ("inference", "training")
"""Modes of whole sequences."""
BACKWARD = "backward"
"""The backward pass alone, of a forward pass that is computed once."""
STEP, FROZEN_STEP = STEPS = ("step", "frozen-step")
"""One step of a stream: by the network, whose parameters may have changed since the last, and by its frozen copy."""

ALL_MODES = (*MODES, BACKWARD, *STEPS)

FROZEN = ("inference", FROZEN_STEP)
"""Modes that a frozen copy of the network computes."""

ROUNDED = (None, BFLOAT16, INT8)
"""Precisions of products, the highest first; None is that of the dtype."""
PRECISION_BYTES = {BFLOAT16: 2, INT8: 1}
"""Bytes of a rounded weight."""

Task = Callable[[], Any]
"""The work that is timed: it computes a workload once and returns all its results, arrays or tensors, or functions that
give them, nested in lists and tuples."""


@dataclass(frozen=True)
class Counts:
    """The work of a workload: see its methods of the same names."""

    flops: int
    bytes: int
    weight_bytes: int


@dataclass(frozen=True)
class Workload:
    """One row of a report. Sizes and options as in `Recurrent`.

    `mode` is "inference" (with frozen weights), "training" (forward and backward), "backward" (that alone), "step" or
    "frozen-step" (one step of a stream from a given state, by `Recurrent.step` and by `Frozen.step`).
    `cell` is spelled as in `cells_by_name`. With `ragged`, rows have lengths drawn evenly from 1 to `steps`. `threads`
    are the most that a call may use, None is one per core. `seed` is of all random values. Rows begin anew at a share
    `resets` of the steps, drawn evenly. With `states`, every state of the last layer is a result, and in training gets
    a cotangent. `precision` is that of products: None for that of the dtype, "bfloat16", or "int8" with frozen weights.
    `shape` is the name in `shapes.SHAPES` by which it was asked for; the work is the same without it.
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
    resets: float = 0.0
    states: bool = False
    heads: int = 1
    zoneout: float = 0.0
    precision: str | None = None
    shape: str = field(default="", compare=False)

    @functools.cached_property
    def unrounded(self) -> Workload:
        """The same work with products of the dtype."""
        return self if self.precision is None else replace(self, precision=None)

    @property
    def products(self) -> str:
        """The precision of products, by name."""
        return self.precision or self.dtype

    @property
    def extras(self) -> list[str]:
        """Words for what the workload has beside layers on whole rows, for messages and tables."""
        return [
            *([f"resets={self.resets:g}"] if self.resets else []),
            *(["every state"] if self.states else []),
            *([f"{self.heads} heads"] if self.heads > 1 else []),
            *([f"zoneout={self.zoneout:g}"] if self.zoneout else []),
        ]

    def network(self, backend: str, dtype: str | None = None) -> Recurrent:
        """The network on a backend; the same parameters on each. Products are of the dtype where that is named."""
        return Recurrent(
            parse_cell(self.cell),
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bidirectional,
            backend=backend,
            dtype=dtype or self.dtype,
            num_threads=self.threads,
            seed=self.seed,
            heads=self.heads,
            zoneout=self.zoneout,
            compute=None if dtype or self.mode in FROZEN else self.precision,
        )

    @property
    def architecture(self) -> Architecture:
        """The network's sizes, without parameters; ValueError where they do not suit the cell."""
        return _architecture(self)

    def counts(self) -> Counts:
        """Operations and bytes."""
        return Counts(self.flops(), self.bytes(), self.weight_bytes())

    def flops(self) -> int:
        """Floating-point operations of the matrix products: 2 per multiply-add, backward twice inference."""
        passes = {"training": 3, BACKWARD: 2}.get(self.mode, 1)
        return 2 * self._rows() * (self._input_weights() + self._step_weights()) * passes

    def weight_bytes(self) -> int:
        """Bytes of the weights that every step reads, recurrent and projections, of all layers and directions."""
        return self._step_weights() * self._weight_size()

    def bytes(self) -> int:
        """Bytes that have to be read and written at least: those weights at every step, all else once.

        Training does so in the forward and in the backward pass, whose gradients are as large as the parameters.
        Rounded weights count with the bytes that they are kept in.
        """
        arch = self.architecture
        inputs = arch.program.row_inputs + sum(map(arch.units, arch.program.unit_inputs))
        weights = self._input_weights() * self._weight_size()
        ends = self._rows() * (arch.x_size + inputs + arch.output_size) * self._itemsize()
        once = self._longest() * self.weight_bytes() + weights + ends
        back = once + (self._step_weights() + self._input_weights()) * self._itemsize() + ends
        return {"training": once + back, BACKWARD: back}.get(self.mode, once)

    def _input_weights(self) -> int:
        """Multiply-adds of a row and step with the input weights of all layers and directions."""
        arch = self.architecture
        columns = sum(map(arch.layer_input_size, range(arch.num_layers)))
        return arch.num_directions * len(arch.program.x_gates) * arch.hidden_size * columns

    def _step_weights(self) -> int:
        """Multiply-adds of a row and step with all other weights."""
        arch = self.architecture
        products = arch.program.products
        each = (
            arch.units(p.width)
            * arch.units(p.operand_width)
            // (1 if arch.program.blocks[block].gate is None else self.heads)
            for p in products
            for block in p.blocks
        )
        return arch.num_layers * arch.num_directions * sum(each)

    def _rows(self) -> int:
        """Rows of all steps together."""
        lengths = self.lengths()
        return self.steps * self.batch if lengths is None else int(lengths.sum())

    def _longest(self) -> int:
        """Steps of the longest row."""
        lengths = self.lengths()
        return self.steps if lengths is None else int(lengths.max(initial=0))

    def _itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize

    def _weight_size(self) -> int:
        return self._itemsize() if self.precision is None else PRECISION_BYTES[self.precision]

    def inputs(self) -> tuple[Array, Array]:
        """x (T, B, I) and the cotangent of the output (T, B, D*P); those of the last workload asked for are kept."""
        return _inputs(self)

    def cell_inputs(self) -> dict[str, Array]:
        """Inputs of the cell by name: (T, B) around 1, as elapsed times are, and of units (T, B, H) from 0 to 1."""
        rng, cell = np.random.default_rng([self.seed, 1]), self.architecture.definition
        shape = self.steps, self.batch
        named = {name: rng.uniform(0.5, 1.5, shape) for name in cell.row_inputs}
        named |= {name: rng.uniform(0, 1, (*shape, self.hidden_size)) for name in cell.unit_inputs}
        return {name: values.astype(self.dtype) for name, values in named.items()}

    def lengths(self) -> NDArray[Any] | None:
        """(B,) steps of each row; None if every row has T."""
        return np.random.default_rng(self.seed).integers(1, self.steps + 1, self.batch) if self.ragged else None

    def begins(self) -> NDArray[Any] | None:
        """(T, B) of bool, where rows begin anew; None for nowhere."""
        rng = np.random.default_rng([self.seed, 2])
        return rng.random((self.steps, self.batch)) < self.resets if self.resets else None

    def task(self, rnn: Recurrent) -> Task:
        """The workload on a network of this library; a call returns when all is computed, on a GPU too."""
        xp = namespace_of(next(iter(rnn.parameters.values())))

        def given(values: Array) -> Array:
            array: Array = xp.asarray(values.astype(rnn.dtype))
            return array

        x, grad_output = map(given, self.inputs())
        inputs = {name: given(values) for name, values in self.cell_inputs().items()}
        begins = self.begins()
        how: dict[str, Any] = {"lengths": self.lengths(), "inputs": inputs, "states": "all" if self.states else None}
        how |= {"resets": None if begins is None else xp.asarray(begins)}
        if self.mode == "training":

            def train() -> list[Any]:
                output, _, tape = rnn.forward(x, **how)
                # A state is as good a cotangent of itself as any, of its own width.
                grads = rnn.backward(tape, output if self.states else grad_output)
                return [output, grads.x, *grads.parameters.values(), *grads.inputs.values()]

            return finished(train, xp)
        if self.mode == BACKWARD:
            output, _, tape = rnn.forward(x, **how)

            def back() -> list[Array]:
                grads = rnn.backward(tape, output if self.states else grad_output)
                return [grads.x, *grads.parameters.values(), *grads.inputs.values()]

            return finished(back, xp)
        # The reference is a network of another dtype, whose products are not rounded.
        frozen = rnn.freeze(self.precision if rnn.dtype == self.dtype else None)
        if self.mode in STEPS:
            x_t, step = x[0], rnn.step if self.mode == STEP else frozen.step
            here = {name: values[0] for name, values in inputs.items()}
            _, before = step(x_t, None, here)
            return finished(lambda: step(x_t, before, here), xp)
        return finished(lambda: frozen(x, **how), xp)


@functools.lru_cache(maxsize=64)
def _architecture(workload: Workload) -> Architecture:
    return make_architecture(
        parse_cell(workload.cell),
        input_size=workload.input_size,
        hidden_size=workload.hidden_size,
        num_layers=workload.num_layers,
        bidirectional=workload.bidirectional,
        bias=True,
        batch_first=False,
        dropout=0.0,
        dtype=workload.dtype,
        heads=workload.heads,
    )


@functools.lru_cache(maxsize=1)
def _inputs(workload: Workload) -> tuple[Array, Array]:
    rng = np.random.default_rng(workload.seed)
    shapes = ((workload.steps, workload.batch, n) for n in (workload.input_size, workload.architecture.output_size))
    x, grad = (rng.standard_normal(shape).astype(workload.dtype) for shape in shapes)
    return x, grad


def finished(task: Task, xp: ModuleType) -> Task:
    """The task, and waiting for its work on a GPU; a task on NumPy's arrays leaves none behind."""
    if xp is np:
        return task

    def wait() -> Any:
        results = task()
        xp.cuda.get_current_stream().synchronize()
        return results

    return wait


def arrays_of(results: Any) -> list[Array]:
    """The results of a task as a flat list of NumPy arrays."""
    if callable(results):
        results = results()
    if isinstance(results, (list, tuple)):
        return [array for part in results for array in arrays_of(part)]
    return [results.detach().cpu().numpy() if is_tensor(results) else on_host(results)]
