"""Gated recurrent unit, in the four variants in use.

    r = sigmoid(...)    z = sigmoid(...)
    reset after         n = tanh(W_in x_t + b_in + r (W_hn h_{t-1} + b_hn))      cuDNN, PyTorch, Keras
    reset before        n = tanh(W_in x_t + b_in + W_hn (r h_{t-1}) + b_hn)      Cho 2014, the default of ONNX
    update candidate    h_t = (1 - z) h_{t-1} + z n                              Chung 2014
    update carry        h_t = (1 - z) n + z h_{t-1}                              Cho 2014, PyTorch, cuDNN, ONNX, Keras

K. Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014, arXiv:1406.1078;
J. Chung et al., Empirical Evaluation of Gated Recurrent Neural Networks, 2014, arXiv:1412.3555.

The code computes u, the weight of the candidate in h_t: z for update="candidate", 1 - z = sigmoid(-a_z) for "carry".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .cell import Cell, Stage, Values, check_option, chosen_stages, without_sizes
from .functions import sigmoid, tanh


def as_is(a: Any) -> Any:
    return a


def negated(a: Any) -> Any:
    return -a


def _reset_after(signed: Callable[[Any], Any]) -> tuple[Stage, ...]:
    def forward(pre: Values, state: Values) -> tuple[Values, Values]:
        a_r, a_z, n_x, n_h = pre
        h = state[0]
        r = sigmoid(a_r)
        u = sigmoid(signed(a_z))
        n = tanh(n_x + r * n_h)
        return ((1 - u) * h + u * n,), (r, u, n, n_h)

    def backward(grad: Values, kept: Values, state: Values, new_state: Values) -> tuple[Values, Values]:
        r, u, n, n_h = kept
        h = state[0]
        dh = grad[0]
        dn = dh * u * (1 - n * n)
        dr = dn * n_h * r * (1 - r)
        du = signed(dh * (n - h) * u * (1 - u))
        return (dr, du, dn, dn * r), (dh * (1 - u),)

    return (Stage(("r", "z", "n"), forward, backward, kept=("r", "u", "n", "n_h"), split=("n",)),)


def _reset_before(signed: Callable[[Any], Any]) -> tuple[Stage, ...]:
    def gates_forward(pre: Values, state: Values) -> tuple[Values, Values]:
        h = state[0]
        r = sigmoid(pre[0])
        u = sigmoid(signed(pre[1]))
        return (r * h, u, h), (r, u)

    def gates_backward(grad: Values, kept: Values, state: Values, new_state: Values) -> tuple[Values, Values]:
        d_operand, du, dh = grad
        r, u, _ = kept
        h = state[0]
        return (d_operand * h * r * (1 - r), signed(du * u * (1 - u))), (dh + d_operand * r,)

    def candidate_forward(pre: Values, carry: Values) -> tuple[Values, Values]:
        _, u, h = carry
        n = tanh(pre[0])
        return ((1 - u) * h + u * n,), (n,)

    def candidate_backward(grad: Values, kept: Values, state: Values, new_state: Values) -> tuple[Values, Values]:
        _, u, n = kept
        h = state[0]
        dh = grad[0]
        return (dh * u * (1 - n * n),), (None, dh * (n - h), dh * (1 - u))

    return (
        Stage(("r", "z"), gates_forward, gates_backward, kept=("r", "u")),
        Stage(("n",), candidate_forward, candidate_backward, kept=("n",)),
    )


STAGES = {
    ("after", "candidate"): _reset_after(as_is),
    ("after", "carry"): _reset_after(negated),
    ("before", "candidate"): _reset_before(as_is),
    ("before", "carry"): _reset_before(negated),
}


@without_sizes
@dataclass(frozen=True, repr=False)
class GRU(Cell):
    """The GRU cell with reset, update and candidate gate (rows of the weights in the order r, z, n), state h.

    Args:
        update: what the update gate z weighs: the "candidate" (h_t = (1-z) h_{t-1} + z n, Chung 2014) or the
            "carry" (h_t = (1-z) n + z h_{t-1}, Cho 2014; PyTorch, cuDNN, ONNX and Keras).
        reset: whether the reset gate acts "after" the product with W_hn (cuDNN, PyTorch) or "before" it (Cho 2014).

    Raises:
        ValueError: an option has another value.
        TypeError: sizes are given, which a network of the cell has.
    """

    update: str = "candidate"
    reset: str = "after"
    stages: tuple[Stage, ...] = chosen_stages()

    name = "gru"
    states = ("h",)

    def __post_init__(self) -> None:
        check_option("GRU", "update", self.update, ("candidate", "carry"))
        check_option("GRU", "reset", self.reset, ("after", "before"))
        object.__setattr__(self, "stages", STAGES[self.reset, self.update])
