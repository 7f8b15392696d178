"""The engines' contract: arguments, results, ownership. Every engine implements `Engine`; all above calls only it.

An engine computes runs: one layer in one direction over a whole sequence. T is the number of steps, B of rows (the
batch), I and H the input and hidden size, P the width of the output; T, B and I may be 0. Arrays belong to the
engine's array namespace (NumPy's on the CPU, CuPy's on a GPU) and have the dtype of the weights, `Rows` apart. NaN and
infinity propagate to what depends on them (an engine may take infinity for a number of 3e38 or more); results have the
same bits from run to run and for any number of threads.

Ownership: an engine writes only to what is named as written, keeps no reference to an argument after it returned unless
that is said here, and returns arrays that nobody else refers to. Arrays may have any strides but that of the last axis,
which is one element; `state` and `grad_state` are C-contiguous; what is read may be read-only, and is aligned. Arrays
that are written overlap no other argument. Calls may come from several threads at once, sharing packed weights and
residuals, but no array that is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .codegen.philox import Dropout, drop
from .program.program import Block, Program, rows_of

Array = NDArray[Any]
State = tuple[Array, ...]
"""One (B, width) array for each of the cell's states; a width is H, or that of a projection."""

Packed = TypeVar("Packed")
Residuals = TypeVar("Residuals")


class Sizes(NamedTuple):
    """Sizes of a layer: H, I, the dtype of all its arrays, the number of heads, and the precision of its products.

    With n heads the recurrent weights of a gate are n blocks on the diagonal of a matrix: units of the first n-th are
    computed from the first n-th of what is multiplied, and so on. Projections are not divided. A precision is that of
    both factors of every product, whose sums have the dtype; see `precision`. None is the dtype.
    """

    hidden: int
    inputs: int
    dtype: np.dtype[Any]
    heads: int = 1
    precision: str | None = None


class LayerWeights(NamedTuple):
    """Weights of one layer and direction, in the order of the program; P is the width of the output state.

    Rows of W_ih are of the program's `x_gates`, those of W_hh of its `h_gates`, H to a gate; None where there are none.
    """

    weight_ih: Array | None  # (Gx*H, I)
    weight_hh: Array | None  # (Gh*H, P / heads)
    bias_ih: Array | None  # (Gx*H,)
    bias_hh: Array | None  # (Gh*H,)
    projections: tuple[Array, ...] = ()  # (width of the result, width of the operand) each
    units: tuple[Array, ...] = ()  # (H,) each
    scalars: tuple[Array, ...] = ()  # () each

    def of_block(self, block: Block, hidden: int) -> Array:
        """The rows of a block of a product: of W_hh (H, P / heads), or a projection (its width, the operand's)."""
        if block.projection is not None:
            return self.projections[block.projection]
        assert self.weight_hh is not None
        assert block.gate is not None
        return self.weight_hh[rows_of(block.gate, hidden)]

    def with_matrices(self, function: Callable[[Array], Array]) -> LayerWeights:
        """The weights with a function of each matrix in its place."""
        ih, hh = (None if m is None else function(m) for m in (self.weight_ih, self.weight_hh))
        return self._replace(weight_ih=ih, weight_hh=hh, projections=tuple(map(function, self.projections)))


def block_diagonal(xp: ModuleType, weight: Array, heads: int, gates: int = 1) -> Array:
    """(gates*H, P) recurrent weights of (gates*H, P / heads): of each gate the heads on the diagonal, and zeros."""
    rows, inner = weight.shape
    shape = gates, heads, rows // (gates * heads), heads, inner
    whole, each = xp.zeros(shape, weight.dtype), weight.reshape(*shape[:3], inner)
    for head in range(heads):
        whole[:, head, :, head] = each[:, head]
    flat: Array = whole.reshape(rows, heads * inner)
    return flat


class Inputs(NamedTuple):
    """A call's inputs beside x. Axes T and B may have any strides, 0 for values that do not change with time."""

    rows: tuple[Array, ...] = ()  # (T, B) each
    units: tuple[Array, ...] = ()  # (T, B, width) each; the last axis is contiguous


class LayerGradients(NamedTuple):
    """Cotangents of a layer's inputs and weights, in the shapes of these; 0 past a row's end."""

    x: Array  # (T, B, I)
    weights: LayerWeights
    inputs: Inputs


class Rows(NamedTuple):
    """When each row of the batch ends. NumPy arrays of int64, also where the engine's arrays are on a GPU.

    Step t concerns the rows `order[:batch_sizes[t]]`, those that are longer than t. In the reverse direction steps run
    from T-1 down to 0, and a row enters, with its initial state, at its own last step.

    Attributes:
        order: (B,) all rows, the longest first; None if that is 0, 1, 2, ...
        batch_sizes: (T,) number of rows longer than t; None if every row has T steps (then `order` is None too).
    """

    order: NDArray[Any] | None = None
    batch_sizes: NDArray[Any] | None = None


class Run(NamedTuple, Generic[Packed]):
    """One layer in one direction over a sequence; `infer` and `forward` compute it.

    Attributes:
        packed: from `Engine.pack`.
        x: (T, B, I), read. What it holds past a row's end affects nothing in `infer`, and must be 0 in `forward`.
        state: the initial state, read, then overwritten with each row's final state.
        output: (T, B, P), every element written: h_t, and 0 past a row's end. None where nobody wants it.
        last: (B, P), h at each row's own last step, written for rows that have a step. None where nobody wants it.
        rows: when rows end.
        reverse: whether to run from the last step to the first.
        inputs: read. What they hold past a row's end affects nothing.
        tape: bytes from a cache line on, `Engine.tape_bytes` of them, in which `forward` keeps what `recall` finds;
            None to keep it elsewhere.
    """

    packed: Packed
    x: Array
    state: State
    output: Array | None
    last: Array | None
    rows: Rows
    reverse: bool
    inputs: Inputs = Inputs()
    tape: Array | None = None


class Needs(NamedTuple):
    """Which gradients of a run somebody needs: others may hold anything, and an engine may leave out their work."""

    x: bool = True
    weights: bool = True


class BackwardRun(NamedTuple, Generic[Packed, Residuals]):
    """The backward pass of a run.

    Attributes:
        packed: as given to `forward`, unchanged since.
        residuals: returned by `forward`.
        grad_output: (T, B, P) cotangent of `output`, read; what it holds past a row's end affects nothing. None is 0.
        grad_state: cotangent of the final state, read, then overwritten with that of the initial state.
        needs: which gradients are needed.
        inputs: read in the place of those of `forward`, some of which are cotangents; None for the same.
        grad_units: (T, B, width) each, written: cotangents of the first unit inputs, which are results, too; those of
            others are new.
    """

    packed: Packed
    residuals: Residuals
    grad_output: Array | None
    grad_state: State
    needs: Needs = Needs()
    inputs: Inputs | None = None
    grad_units: tuple[Array, ...] = ()


class Prepared(Protocol):
    """Inference of one layer in one direction for T steps of B rows, see `Engine.prepare`."""

    def __call__(self, x: Array, state: Sequence[Array], output: Array) -> None:
        """Compute a run whose rows all have T steps. Arrays are C-contiguous; axes of one element may be missing.

        Args:
            x: (T, B, I).
            state: the cell's states, (B, width) each, overwritten.
            output: (T, B, P), written.
        """
        ...


@dataclass(frozen=True)
class Probe:
    """Whether a backend can run here.

    Attributes:
        available: whether it can.
        reason: why not; empty when it can.
        fix: the remedy, a command say; empty when it can.
        device: e.g. the processor's name; empty when it cannot run.
    """

    available: bool
    reason: str = ""
    fix: str = ""
    device: str = ""


@dataclass(frozen=True)
class Limits:
    """Rates that a device was seen to reach, per second; None where an engine does not measure them.

    Attributes:
        gemm: operations of a large matrix product, by the library of the engine's products.
        fma: operations of multiply-adds in registers.
        bandwidth: bytes read of an array, again and again, from whichever cache or memory holds it; on a GPU, read and
            written in a copy.
    """

    gemm: float | None = None
    fma: float | None = None
    bandwidth: float | None = None


Compilation = tuple[str, Callable[[], object]]
"""Something to compile: its name for a report, and a function that loads it and compiles it where it is not kept."""


class Engine(Protocol, Generic[Packed, Residuals]):
    """The operations of a backend. The runs of one call are independent: an engine may compute them at once."""

    xp: ModuleType
    """Array namespace that the engine's arrays belong to: `numpy` or `cupy`."""

    min_block_steps: int
    """Fewest steps of a run that are worth a call, where a deep network is computed in blocks of steps."""

    compared_bytes: int = 4 << 20
    """Most bytes of weights that are compared with a copy in less time than packing with copy=False takes."""

    def pack(self, program: Program, sizes: Sizes, weights: LayerWeights, *, copy: bool, backward: bool) -> Packed:
        """Arrange weights for the calls below.

        With copy=True the result shares no memory with `weights`. With copy=False it may, and should be cheap: it is
        used for one call, while the weights do not change. With backward=False, not for `backward`.
        """
        ...

    def impl(self, program: Program, sizes: Sizes, steps: int, batch: int, *, training: bool) -> str:
        """The engine's choice for a run of these sizes, in a few words for reports."""
        ...

    def infer(self, runs: Sequence[Run[Packed]]) -> None:
        """Compute the runs and keep nothing. Beyond the results it allocates memory in proportion to B*H, not to T."""
        ...

    def prepare(self, packed: Packed, steps: int, batch: int) -> Prepared | None:
        """A function that does with less around it what `infer` does; None where there is none, as with inputs."""
        return None

    def forward(self, runs: Sequence[Run[Packed]]) -> list[Residuals]:
        """Compute the runs and return the residuals of each; these may refer to x and inputs, which do not change."""
        ...

    def states(self, packed: Packed, residuals: Residuals) -> State:
        """(T, B, width) each, new: every state behind each step of a run of `forward`, 0 past a row's end."""
        ...

    def tape_bytes(self, program: Program, sizes: Sizes, steps: int, batch: int) -> int:
        """Size of the tape of a run, whenever its rows end; 0 where `recall` computes the run again."""
        return 0

    def recall(self, runs: Sequence[Run[Packed]]) -> list[Residuals]:
        """What `forward` returned for the same runs, from a copy of their tapes; may overwrite their states."""
        return self.forward(runs)

    def drop(self, values: Array, dropout: Dropout) -> None:
        """Drop elements of a sequence (T, B, width) in place."""
        drop(self.xp, values, dropout)

    def backward(self, runs: Sequence[BackwardRun[Packed, Residuals]]) -> list[LayerGradients]:
        """Back-propagation through time. May be called again with the same residuals."""
        ...


class EngineModule(Protocol):
    """The module of a backend. All but `probe` is called where the backend is available alone."""

    on_gpu: bool
    """Whether it computes on a GPU, whose limits are not the processor's."""

    precisions: Collection[str]
    """The precisions of products, beside the dtype, that it computes with."""

    def probe(self) -> Probe:
        """Whether the backend can run here; cheap where it cannot, and never an exception."""
        ...

    def make_engine(self, num_threads: int | None) -> Engine[Any, Any]:
        """An engine that uses at most `num_threads` threads, for None as many as there are cores."""
        ...

    def describe(self) -> dict[str, str]:
        """Facts of the machine that change the engine's speed, by their names in reports."""
        ...

    def limits(self, dtype: str, num_threads: int, read_bytes: int, gemm_size: int) -> Limits:
        """The rates that the device reaches, as far as the engine can measure them.

        Args:
            dtype: "float32" or "float64".
            num_threads: threads of a processor.
            read_bytes: size of the array that is read.
            gemm_size: rows of the square matrices that are multiplied.
        """
        ...

    def warm_up(
        self, programs: Mapping[str, Program], dtypes: Sequence[str], precisions: Sequence[str], training: bool
    ) -> Iterator[Compilation]:
        """All that the engine compiles for some programs, by name; training includes inference.

        `precisions` are those of `EngineModule.precisions` that are wanted beside the dtypes' own.
        """
        ...
