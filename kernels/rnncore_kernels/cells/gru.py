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

from dataclasses import dataclass
from typing import Any

from .cell import Cell, check_option, without_sizes
from .functions import observe, sigmoid, tanh


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

    states, gates = "h", "r z n"

    def __post_init__(self) -> None:
        check_option("GRU", "update", self.update, ("candidate", "carry"))
        check_option("GRU", "reset", self.reset, ("after", "before"))

    def step(self, h: Any, r: Any, z: Any, n: Any) -> Any:
        r, u = observe("r", sigmoid(r)), sigmoid(z if self.update == "candidate" else -z)
        observe("z", u if self.update == "candidate" else 1 - u)
        n = observe("n", tanh(n.x + r * n.h) if self.reset == "after" else tanh(n.of(r * h)))
        return (1 - u) * h + u * n
