"""The states that calls without one begin with, where a network has its own: parameters, and their gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rnncore_kernels.contract import Array
from rnncore_kernels.quiet import quiet

from .layout import Layout

Own = Callable[[], Sequence[Array] | None]
"""A function that returns a network's own initial states, see `Architecture.initial_states`."""


def own_states(layout: Layout, own: Own, name: str = "state") -> list[Array] | None:
    """The network's own initial state for this batch, in the caller's shapes; None is zeros."""
    if (states := own()) is None:
        return None
    if (rows := layout.architecture.initial_batch) not in (None, layout.batch):
        raise ValueError(
            f"{name}: expected one for B={layout.batch}, got None: the network's own initial state is for B={rows}"
        )
    if layout.unbatched:
        states = [array[:, 0] for array in states]
    return [layout.xp.broadcast_to(array, shape) for array, shape in zip(states, layout.state_shapes, strict=True)]


def own_gradients(
    layout: Layout, own: Sequence[bool], cotangents: Sequence[Sequence[Array] | None]
) -> dict[str, Array]:
    """Gradients of the network's own initial states, by name: sums over the rows that began with them.

    Args:
        layout: of the call.
        own: whether the network's own were those of which there are the cotangents.
        cotangents: of states that rows began with, in the caller's shapes; None where there are none.
    """
    return _sums(layout, own, cotangents) if layout.architecture.initial_names else {}


@quiet
def _sums(layout: Layout, own: Sequence[bool], cotangents: Sequence[Sequence[Array] | None]) -> dict[str, Array]:
    arch, result = layout.architecture, dict[str, Array]()
    for number, (name, shape) in enumerate(zip(arch.initial_names, arch.state_shapes(layout.batch), strict=False)):
        total = layout.xp.zeros(shape, arch.dtype)
        for is_own, states in zip(own, cotangents, strict=True):
            if is_own and states is not None:
                total += states[number].reshape(shape)
        result[name] = total.sum(axis=1) if arch.initial_batch is None else total
    return result
