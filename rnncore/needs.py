"""Which gradients of layers and directions are computed, for callers who need only some."""

from __future__ import annotations

from collections.abc import Sequence

from rnncore_kernels.contract import Needs

from .architecture import Architecture


def needed(architecture: Architecture, of_x: bool, of_parameters: Sequence[bool]) -> list[Needs]:
    """The needs of each layer and direction, where gradients of x and of some parameters are wanted.

    The latter are in the order of `Architecture.layer_names`.
    """
    needs, first = list[Needs](), 0
    for layer in range(architecture.num_layers):
        # Not as many in each: where x holds the gates' parts of it, the first has no input weights.
        count = len([*architecture.layer_parameters(layer)])
        for _ in range(architecture.num_directions):
            needs.append(Needs(of_x or layer > 0, any(of_parameters[first : first + count])))
            first += count
    return needs
