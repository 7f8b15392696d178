"""How the sequences of a call lie in PyTorch's tensors: padded, or packed as a PackedSequence has them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnncore_kernels.contract import Rows

from ..rows import DENSE
from ..shapes import check_ends


class Packing(NamedTuple):
    """How the rows of a PackedSequence, (rows of all steps together, ...), lie in (T, B, ...).

    Attributes:
        steps, batch: T and B.
        places: of each row among T * B; None if there are as many.
    """

    steps: int
    batch: int
    places: Tensor | None


class Sequences(NamedTuple):
    """How the sequences of a call lie, and when rows end.

    Attributes:
        batch_first: whether they are (B, T, ...) instead of (T, B, ...).
        rows: when rows end.
        packing: of the PackedSequence that x and the output are the data of; None if they are padded.
    """

    batch_first: bool = False
    rows: Rows = DENSE
    packing: Packing | None = None

    def padded(self, values: Tensor) -> Tensor:
        """A sequence (T, B, ...), or (B, T, ...), with a contiguous last axis, 0 past a row's end."""
        values = values.detach()
        if self.packing is not None:
            steps, batch, places = self.packing
            if places is not None:
                whole = values.new_zeros(steps * batch, values.shape[-1])
                values = whole.index_copy_(0, places.to(values.device), values)
            return values.contiguous().view(steps, batch, -1)
        return values if values.stride(-1) == 1 else values.contiguous()

    def as_given(self, values: Tensor) -> Tensor:
        """The inverse of `padded`."""
        if self.packing is None:
            return values
        rows, places = values.reshape(-1, values.shape[-1]), self.packing.places
        return rows if places is None else rows.index_select(0, places.to(rows.device))


def packed_sequences(batch_sizes: Tensor) -> Sequences:
    """How the rows of a PackedSequence with these batch sizes lie."""
    sizes = batch_sizes.numpy()
    steps, batch = len(sizes), int(sizes[0])
    if int(sizes[-1]) == batch:
        return Sequences(packing=Packing(steps, batch, None))
    places = torch.from_numpy(np.flatnonzero(np.arange(batch) < sizes[:, None]))
    return Sequences(rows=Rows(None, sizes), packing=Packing(steps, batch, places))


def read_ends(lengths: Tensor, steps: int) -> NDArray[np.int64]:
    """The steps of each row, checked."""
    values = np.asarray(lengths.numpy(), np.int64)
    check_ends(values, steps)
    return values
