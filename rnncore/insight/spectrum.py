"""Eigenvalues of recurrent weights: whether a step makes states longer or shorter."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore_kernels.contract import Array

from ..devices import on_host
from ..recurrent import Recurrent
from . import sequences

POINTS = 256
"""Points of the unit circle."""


def eigenvalues(rnn: Recurrent, *, layer: int = 0, direction: int = 0, ax: Any = None) -> dict[str, Array]:
    """The eigenvalues of W_hh of each gate of a layer.

    In an Elman network a step multiplies gradients by W_hh, transposed, and by the slopes of tanh, which are 1 at most:
    with all eigenvalues well inside the unit circle they vanish, with some outside they may explode. Gates that
    remember have ways around W_hh. Drawn as points, with the unit circle.

    Args:
        rnn: the network.
        layer: which layer, from 0; -1 is the last.
        direction: 1 for the second direction of a bidirectional network.
        ax: axes of matplotlib's to draw in; None draws nothing.

    Returns:
        For each gate that has recurrent weights, (H,) complex numbers, the largest magnitude first.

    Raises:
        ValueError, TypeError: an argument is wrong, or no W_hh is square, as the cell has none or a projection.

    Source: R. Pascanu, T. Mikolov and Y. Bengio, On the difficulty of training recurrent neural networks, ICML 2013.
    """
    sequences.check_network(rnn)
    arch = rnn._architecture
    layer = sequences.index("layer", layer, arch.num_layers)
    direction = sequences.index("direction", direction, arch.num_directions)
    suffix = arch.parameter_suffixes()[arch.state_index(layer, direction)]
    names = [arch.definition.gates[gate] for gate in arch.program.h_gates]
    if not names:
        raise ValueError(f"rnn: expected a cell with recurrent weights W_hh, got {rnn.cell!r}, which has none")
    if arch.output_width != arch.hidden_size:
        raise ValueError(
            f"rnn: expected a square W_hh for each gate, got ({arch.hidden_size}, {arch.output_width}): {rnn.cell!r} "
            f"has a projection"
        )
    weights = np.asarray(on_host(rnn.parameters[f"weight_hh_{suffix}"]), float)
    width = arch.hidden_size // arch.heads
    found = {}
    for name, block in zip(names, np.split(weights, len(names)), strict=True):
        # The blocks of the heads on the diagonal of W_hh have its eigenvalues.
        values = np.linalg.eigvals(block.reshape(arch.heads, width, width)).astype(complex).ravel()
        found[name] = values[np.argsort(-np.abs(values), kind="stable")]
    if ax is not None:
        _draw(ax, found)
    return found


def _draw(ax: Any, found: dict[str, Array]) -> None:
    turn = np.linspace(0, 2 * np.pi, POINTS)
    ax.plot(np.cos(turn), np.sin(turn), color=ax.spines["left"].get_edgecolor(), linewidth=1, label="_unit circle")
    for name, values in found.items():
        ax.plot(np.real(values), np.imag(values), ".", markersize=4, label=name)
    ax.set_aspect("equal")
    ax.set(xlabel="real part", ylabel="imaginary part")
    ax.grid(True)
    if len(found) > 1:
        ax.legend()
