"""Which gradients of layers and directions are computed, for callers who need only some."""

from __future__ import annotations

from collections.abc import Sequence

from rnncore_kernels.contract import Needs

from .architecture import Architecture


def needed(architecture: Architecture, of_x: bool, of_parameters: Sequence[bool]) -> list[Needs]:
    """The needs of each layer and direction, where gradients of x and of some parameters are wanted."""
    directions = architecture.num_directions
    count = len(of_parameters) // (architecture.num_layers * directions)
    layers = [any(of_parameters[first : first + count]) for first in range(0, len(of_parameters), count)]
    return [Needs(of_x or index >= directions, each) for index, each in enumerate(layers)]
