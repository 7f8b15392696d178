"""Rows of different lengths: put in the order that engines want, longest first, and back."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from rnncore_kernels.contract import Array


@dataclass(frozen=True)
class Rows:
    """Where each row of the batch goes and when it ends.

    Attributes:
        lengths: (B,) steps of each row, in the caller's order.
        order: the caller's index of each of the engine's rows; None where both orders are the same.
        batch_sizes: (T,) number of rows longer than t; None where every row has T steps.
    """

    lengths: NDArray[np.int64]
    order: NDArray[np.int64] | None
    batch_sizes: NDArray[np.int64] | None

    @property
    def sorted_lengths(self) -> NDArray[np.int64]:
        """(B,) steps of each of the engine's rows."""
        return self.lengths if self.order is None else self.lengths[self.order]

    def sort(self, xp: ModuleType, array: Array, axis: int = 1) -> Array:
        """`array` with its rows in the engine's order; itself where that changes nothing."""
        return array if self.order is None else xp.take(array, xp.asarray(self.order), axis=axis)

    def unsort(self, xp: ModuleType, array: Array, axis: int = 1) -> Array:
        """`array` with its rows in the caller's order; itself where that changes nothing."""
        return array if self.order is None else xp.take(array, xp.asarray(np.argsort(self.order)), axis=axis)


def arrange(lengths: NDArray[np.int64] | None, steps: int, batch: int) -> Rows:
    """The arrangement of rows of these lengths, or, for None, of rows that all have `steps` steps."""
    if lengths is None or (lengths == steps).all():
        return Rows(np.full(batch, steps, np.int64), None, None)
    order = np.argsort(-lengths, kind="stable")
    ended = np.bincount(lengths, minlength=steps + 1)[:steps].cumsum()
    in_order = bool((order[1:] > order[:-1]).all())
    return Rows(lengths, None if in_order else order, batch - ended)
