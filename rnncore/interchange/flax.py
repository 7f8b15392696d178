"""Flax's names of the parameters of its cells, of flax.nnx and flax.linen, for arrays of any library.

A cell is a dense layer for each gate and side, `hi` say, or one for all gates of a side, `dense_h`. A kernel is the
transpose of ours, and most have a bias on one side only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SIDES = {"ih": "i", "hh": "h"}
"""Sides of the weights, ours and Flax's."""

Leaves = Mapping[tuple[str, str], Any]
"""Arrays by the names of their dense layer, without underscores at its end, and of themselves."""


def dense_layers(gates: Iterable[str], side: str) -> list[str]:
    """The names of the dense layers of a side, by gate; those of a cell without gates have the side's name."""
    return [f"{side}{gate}" for gate in gates] or [side]


def parameters_of(xp: Any, leaves: Leaves, gates: Iterable[str], *, bias: bool) -> dict[str, Any]:
    """Weights, and biases if there are to be any, by our names without an ending; weights without kernels are left out.

    Biases that Flax's cell does not have are zeros. `xp` is the arrays' namespace, NumPy's or JAX's.
    """
    gates = list(gates)
    kernels = {ours: _joined(xp, leaves, gates, side, "kernel") for ours, side in SIDES.items()}
    result = {f"weight_{ours}": kernel.T for ours, kernel in kernels.items() if kernel is not None}
    for ours, side in SIDES.items() if bias else ():
        if f"weight_{ours}" in result:
            weight, values = result[f"weight_{ours}"], _joined(xp, leaves, gates, side, "bias")
            result[f"bias_{ours}"] = xp.zeros(len(weight), weight.dtype) if values is None else values
    return result


def _joined(xp: Any, leaves: Leaves, gates: list[str], side: str, name: str) -> Any:
    """Kernels or biases of all gates of a side, (..., G*H), with zeros for biases that are missing; None if all are."""
    if (whole := leaves.get((f"dense_{side}", name))) is not None:
        return xp.asarray(whole)
    parts = [leaves.get((module, name)) for module in dense_layers(gates, side)]
    given = [xp.asarray(part) for part in parts if part is not None]
    if not given or (name == "kernel" and len(given) < len(parts)):
        return None
    return xp.concatenate([xp.zeros_like(given[0]) if part is None else xp.asarray(part) for part in parts], axis=-1)
