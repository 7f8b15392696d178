"""Which inputs a result depends on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnncore_kernels.contract import Array

from ..devices import on_host
from ..options import check_integer
from ..recurrent import Recurrent
from . import sequences
from .figures import check_labels, label_steps


def saliency(
    rnn: Recurrent,
    x: Array,
    grad_output: Any = None,
    *,
    grad_state: Any = None,
    grad_last: Array | None = None,
    times_input: bool = False,
    points: int = 1,
    row: int = 0,
    labels: Sequence[object] | None = None,
    ax: Any = None,
    **options: Any,
) -> Array:
    """How much each step's input weighs in a number that was computed from the network's results.

    The number is yours, a class's score less another's say; its cotangents for the results come from the layers behind
    the network (for a `Linear` head, `head.backward(last, one_hot)[0]`).

    Args:
        rnn: the network; dropout is left out.
        x: as of a call of it: the vectors of words, where it reads those.
        grad_output, grad_state, grad_last: cotangents of the number, as in `Recurrent.backward`; one at least.
        times_input: False for the norm of the gradient, the change of the number for a small change of the step's
            input; True for gradient times input, summed, which has a sign: above 0 where the input speaks for the
            number, below where against it.
        points: with more than 1, the gradient is the mean of those at so many points on the way from zeros to x
            (integrated gradients). A network that is sure of itself hardly changes its mind at x, and its gradient
            there says little; this one still does. Times input, it adds up to the number less that for zeros.
        row: which row of the batch is drawn.
        labels: the steps' names of that row, tokens say.
        ax: axes of matplotlib's to draw in; None draws nothing.
        options: of the call, as in `Recurrent.forward`.

    Returns:
        A number for each row and step, (T, B), with batch_first (B, T), without a batch (T,). It is 0 past a row's end.

    Raises:
        ValueError, TypeError: an argument is wrong; the message says which.

    Source: K. Simonyan, A. Vedaldi and A. Zisserman, Deep inside convolutional networks, arXiv:1312.6034; A. Shrikumar
    et al., Not just a black box, arXiv:1605.01713; M. Sundararajan, A. Taly and Q. Yan, Axiomatic attribution for deep
    networks, ICML 2017.
    """
    sequences.check_network(rnn)
    plain = sequences.undropped(rnn)
    points = check_integer("points", points, 1)
    total: Any = 0.0
    for point in range(points):
        scaled = x if points == 1 else x * x.dtype.type((point + 0.5) / points)
        _, _, tape = plain.forward(scaled, return_sequence=grad_output is not None, **options)
        total = total + plain.backward(tape, grad_output, grad_state, grad_last).x
    grad, inputs = np.asarray(on_host(total)) / points, np.asarray(on_host(x))
    # Past a row's end the gradient is 0, and x may be NaN.
    parts = np.multiply(grad, inputs, where=grad != 0, out=np.zeros_like(grad))
    values: Array = parts.sum(axis=-1) if times_input else np.linalg.norm(grad, axis=-1)
    table = sequences.time_first(rnn, x, values)
    row = sequences.index("row", row, table.shape[1])
    steps = int(sequences.ends(options.get("lengths"), *table.shape)[row])
    texts = check_labels(labels, steps)
    if ax is not None:
        _draw(ax, table[:steps, row], texts, times_input)
    return values


def _draw(ax: Any, values: Array, labels: Sequence[str] | None, times_input: bool) -> None:
    ax.bar(np.arange(len(values)), values, color=["C0" if value > 0 else "C3" for value in values])
    if times_input:
        ax.axhline(0, color=ax.spines["left"].get_edgecolor(), linewidth=0.8)
    label_steps(ax, labels, len(values))
    ax.set_ylabel("gradient x input" if times_input else "norm of the gradient")
