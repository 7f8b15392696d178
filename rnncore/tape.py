"""What `Recurrent.forward` keeps for `Recurrent.backward`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rnncore_kernels.program.transform import NOTHING, Changes

from .inputs import Given
from .layers import LayerTape
from .layout import Layout
from .segments import Segments
from .stack import Stack


@dataclass(frozen=True, eq=False, repr=False)
class Tape:
    """One forward pass: its residuals, and the weights as they were, so a later update does not falsify its gradients.

    `own` says whether calls, and rows that began anew, began with the network's own state.

    A tape may be used more than once. It holds memory in proportion to T*B*H until it is deleted.
    """

    stack: Stack
    layout: Layout
    layers: tuple[LayerTape, ...] | Segments
    return_sequence: bool
    given: dict[str, Given]
    own: tuple[bool, bool]
    changes: Changes = NOTHING

    def __copy__(self) -> Tape:
        return self

    def __deepcopy__(self, memo: object) -> Tape:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a tape does not pickle: it belongs to its network; send the gradients of backward instead")

    def __repr__(self) -> str:
        return f"Tape(T={self.layout.steps}, B={self.layout.batch})"
