"""The state of a module's own, with which calls without one begin."""

from __future__ import annotations

import torch
from torch import Tensor

from ..architecture import Architecture


class InitialState(torch.nn.Module):
    """Buffers by the names of the cell's states, (L*D, 1, width) each; (L*D, B, width) for batches of B rows alone."""

    def __init__(self, architecture: Architecture, rows: int, like: Tensor) -> None:
        super().__init__()
        names = architecture.definition.states
        for name, shape in zip(names, architecture.state_shapes(rows), strict=True):
            self.register_buffer(name, like.new_zeros(shape, requires_grad=False))

    def of_rows(self, batch: int, name: str) -> list[Tensor]:
        """The states of a batch."""
        states = list(self.buffers())
        if (rows := states[0].shape[1]) not in (1, batch):
            raise ValueError(
                f"{name}: expected one for B={batch}, got None: the module's own initial state is for B={rows}"
            )
        return [state.expand(-1, batch, -1) for state in states]
