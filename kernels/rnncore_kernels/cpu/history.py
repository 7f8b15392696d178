"""The states of all steps, which the forward pass keeps for the backward pass, as a caller has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..contract import Array
from .jobs import Residuals
from .packed import CpuPacked
from .plan import state_places


def states(packed: CpuPacked, residuals: Residuals) -> tuple[Array, ...]:
    """See `contract.Engine.states`."""
    layer, (x, _, rows, reverse, count, memory) = packed.layer, residuals
    steps, batch, _ = x.shape
    sizes = [batch] * steps if rows.batch_sizes is None else rows.batch_sizes.tolist()
    kept, result = count + max(sizes, default=0), []
    for place, width in zip(state_places(layer, kept), layer.program.states, strict=True):
        flat = memory[place.offset : place.offset + kept * place.row].view(layer.shape.dtype)
        flat = flat.reshape(kept, place.row // flat.itemsize)[:, : layer.width(width)]
        every = np.zeros((steps, batch, flat.shape[1]), flat.dtype)
        first = n = 0
        for t in reversed(range(steps)) if reverse else range(steps):
            # Behind a step stand as many rows as before it, or more.
            first += max(n, sizes[t])
            n = sizes[t]
            here: Any = slice(n) if rows.order is None else rows.order[:n]
            every[t, here] = flat[first : first + n]
        result.append(every)
    return tuple(result)
