"""Long short-term memory with a forget gate.

    i, f, o = sigmoid(...)    g = tanh(...)    c_t = f c_{t-1} + i g    h_t = o tanh(c_t)

S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, Neural Computation 9 (1997); the forget gate:
F. Gers, J. Schmidhuber and F. Cummins, Learning to Forget, Neural Computation 12 (2000).
"""

from __future__ import annotations

from dataclasses import dataclass

from .cell import Cell, Stage, Values, without_sizes
from .functions import sigmoid, tanh


def lstm_forward(pre: Values, state: Values) -> tuple[Values, Values]:
    _, c_prev = state
    i = sigmoid(pre[0])
    f = sigmoid(pre[1])
    g = tanh(pre[2])
    o = sigmoid(pre[3])
    c = f * c_prev + i * g
    return (o * tanh(c), c), (i, f, g, o)


def lstm_backward(grad: Values, kept: Values, state: Values, new_state: Values) -> tuple[Values, Values]:
    dh, dc = grad
    i, f, g, o = kept
    _, c_prev = state
    tanh_c = tanh(new_state[1])
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    di = dc * g * i * (1 - i)
    df = dc * c_prev * f * (1 - f)
    dg = dc * i * (1 - g * g)
    do = dh * tanh_c * o * (1 - o)
    return (di, df, dg, do), (None, dc * f)


@without_sizes
@dataclass(frozen=True, repr=False)
class LSTM(Cell):
    """The LSTM cell with input, forget, cell and output gate (rows of the weights in this order), state (h, c)."""

    name = "lstm"
    states = ("h", "c")
    stages = (Stage(("i", "f", "g", "o"), lstm_forward, lstm_backward, kept=("i", "f", "g", "o")),)
