"""How gradients shrink or grow on their way back through time."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore_kernels.contract import Array

from ..devices import on_host
from ..recurrent import Recurrent
from . import sequences


def gradient_flow(
    rnn: Recurrent,
    x: Array,
    grad_output: Any = None,
    *,
    grad_state: Any = None,
    grad_last: Array | None = None,
    label: str = "",
    ax: Any = None,
    **options: Any,
) -> Array:
    """The size of the cotangent of the state at each step: how strongly that state is told what to change.

    It falls towards the first step where the gradient vanishes, and rises where it explodes; a fall by a factor of a
    thousand from the end to the start means that what was read at the start is hardly learnt. Drawn on a logarithmic
    axis, a line for each layer and direction; call it again with the same axes to compare networks.

    Args:
        rnn: the network; dropout is left out.
        x: as of a call of it.
        grad_output, grad_state, grad_last: cotangents, as in `Recurrent.backward`: those of your loss. Where all are
            None, random signs of the outputs of each row's last step, scaled to a norm of 1.
        label: the network's name in the legend.
        ax: axes of matplotlib's to draw in; None draws nothing.
        options: of the call, as in `Recurrent.forward`.

    Returns:
        The Euclidean norms over rows, units and, where the cell has several, states, (L*D, T). They are those of
        `Recurrent.forward(flow=True)`, which has them for each state in a loop of your own.

    Raises:
        ValueError, TypeError: an argument is wrong; the message says which.

    Source: S. Hochreiter, Untersuchungen zu dynamischen neuronalen Netzen, 1991; Y. Bengio, P. Simard and P. Frasconi,
    Learning long-term dependencies with gradient descent is difficult, 1994.
    """
    sequences.check_network(rnn)
    plain = sequences.undropped(rnn)
    given = (grad_output, grad_state, grad_last)
    alone = all(cotangent is None for cotangent in given)
    output, _, tape = plain.forward(x, return_sequence=grad_output is not None, flow=True, **options)
    if alone:
        grad_last = sequences.signs(output)
    flow = plain.backward(tape, grad_output, grad_state, grad_last).flow
    states = flow if isinstance(flow, tuple) else (flow,)
    norms: Array = np.sqrt(sum(np.square(np.asarray(on_host(state), float)) for state in states))
    if ax is not None:
        _draw(ax, rnn, norms, label)
    return norms


def _draw(ax: Any, rnn: Recurrent, norms: Array, label: str) -> None:
    names = rnn._architecture.parameter_suffixes()
    for name, norm in zip(names, norms, strict=True):
        words = " ".join([label, *([name] if len(names) > 1 else [])]).strip()
        # A logarithmic axis has no place for 0.
        ax.semilogy(np.where(norm > 0, norm, np.nan), label=words or None)
    # Without mathematical text, which the settings of `figure` leave out.
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set(xlabel="step", ylabel="norm of the gradient of the state")
    ax.grid(True)
    if label or len(names) > 1:
        ax.legend()
