"""What an engine is given and what it must return. Every engine implements `Engine`; everything above calls only it.

An engine works on one layer and one direction over a whole sequence. T is the number of steps, B of rows (the batch),
I and H the input and hidden size, G the number of the cell's gates. Arrays belong to the engine's array namespace
(NumPy's on the CPU, CuPy's on a GPU), all of one dtype.

Rows of different lengths: rows come sorted by length, longest first, and `batch_sizes[t]` counts the rows that are
longer than t, so step t works on the first `batch_sizes[t]` rows. `batch_sizes=None` means all rows at every step.
In the reverse direction steps run from T-1 down to 0; a row enters, with its initial state, at its own last step.

Ownership: an engine writes only to what is named as written below, keeps no reference to an argument after it returned
(a `Packed` made with copy=False apart, which refers to its weights), and returns arrays that nobody else refers to.
An array that is read may be read-only and may have any strides but the last, which is one element. No two arguments
overlap in memory where one is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from numpy.typing import NDArray

from .cells import Cell

Array = NDArray[Any]
State = tuple[Array, ...]
"""One (B, H) array for each of the cell's states."""

Packed = TypeVar("Packed")
Residuals = TypeVar("Residuals")


class LayerWeights(NamedTuple):
    """Weights of one layer and direction; rows in the order of the cell's gates, H to a gate."""

    weight_ih: Array  # (G*H, I)
    weight_hh: Array  # (G*H, H)
    bias_ih: Array | None  # (G*H,)
    bias_hh: Array | None  # (G*H,)


class LayerGradients(NamedTuple):
    """Cotangents of a layer's input and weights, in the shapes of what they belong to."""

    x: Array  # (T, B, I); zero past a row's end
    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None
    bias_hh: Array | None


@dataclass(frozen=True)
class Probe:
    """Whether a backend can run here.

    Attributes:
        available: whether it can.
        reason: why not; empty when it can.
        fix: what to do about it; empty when it can.
        device: what it runs on, e.g. the processor's name; empty when it cannot run.
    """

    available: bool
    reason: str = ""
    fix: str = ""
    device: str = ""


class Engine(Protocol, Generic[Packed, Residuals]):
    """The operations of a backend. Thread-safe: calls may run at once on different arrays."""

    xp: ModuleType
    """Array namespace that the engine's arrays belong to: `numpy` or `cupy`."""

    def pack(self, cell: Cell, weights: LayerWeights, *, copy: bool) -> Packed:
        """Arrange weights for the calls below.

        With copy=True the result shares no memory with `weights`; with copy=False it may, and is then used only while
        the caller guarantees that they do not change.
        """
        ...

    def infer(
        self, packed: Packed, x: Array, state: State, output: Array | None, batch_sizes: Array | None, reverse: bool
    ) -> None:
        """Run the layer and keep nothing.

        Args:
            packed: from `pack`.
            x: (T, B, I), read. What it holds past a row's end, NaN included, affects nothing.
            state: the initial state, read, then overwritten with each row's final state. C-contiguous.
            output: (T, B, H), every element written: h_t, and 0 past a row's end. None where nobody wants it.
            batch_sizes: (T,) int64, not increasing; see above.
            reverse: run from the last step to the first.
        """
        ...

    def forward(
        self, packed: Packed, x: Array, state: State, output: Array, batch_sizes: Array | None, reverse: bool
    ) -> Residuals:
        """As `infer`, and return what `backward` needs.

        x must be 0 past a row's end, and must not change while the residuals live: they may refer to it.
        """
        ...

    def backward(
        self, packed: Packed, residuals: Residuals, grad_output: Array | None, grad_state: State
    ) -> LayerGradients:
        """Back-propagation through time. May be called again with the same residuals.

        Args:
            packed: as given to `forward`, unchanged since.
            residuals: from `forward`.
            grad_output: (T, B, H) cotangent of `output`, read; what it holds past a row's end does not matter. None is
                0.
            grad_state: cotangent of the final state, read, then overwritten with that of the initial one. C-contiguous.
        """
        ...
