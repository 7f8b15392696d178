"""A cell defined and trained: the minimal gated unit, which also ships as `rnncore.cells.MGU`.

    f_t = sigmoid(W_f x_t + b_f + U_f h_{t-1} + b'_f)
    n_t = tanh(W_n x_t + b_n + U_n (f_t h_{t-1}) + b'_n)
    h_t = (1 - f_t) h_{t-1} + f_t n_t

G.-B. Zhou, J. Wu, C.-L. Zhang and Z.-H. Zhou, Minimal Gated Unit for Recurrent Neural Networks, 2016, arXiv:1603.09420.
Run it to see it trained:  python examples/minimal_gated_unit.py
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore import Recurrent, clip_grad_norm
from rnncore.cells import Cell, sigmoid, tanh


class MinimalGatedUnit(Cell):
    """The product with U_n waits for f: `n.of` multiplies f h in the place of h."""

    name = "minimal_gated_unit"
    states, gates = "h", "f n"

    def step(self, h: Any, f: Any, n: Any) -> Any:
        f = sigmoid(f)
        n = tanh(n.of(f * h))
        return (1 - f) * h + f * n


def main() -> None:
    """Learn to say, at the end of a sequence of random bits, whether the last eight held more ones than zeros."""
    rng = np.random.default_rng(0)
    rnn = Recurrent(MinimalGatedUnit(), input_size=1, hidden_size=32, backend="numba", seed=0)
    decoder = rng.standard_normal(32).astype("float32") / 6
    for iteration in range(401):
        bits = rng.integers(0, 2, (20, 64, 1)).astype("float32")
        ones = bits[-8:, :, 0].sum(axis=0)
        target = np.sign(ones - 4.0).astype("float32")
        _, h, tape = rnn.forward(bits - 0.5)
        error = h[0] @ decoder - target
        grads = rnn.backward(tape, grad_state=(error[:, None] * decoder / 64)[None])
        norm = clip_grad_norm(grads, 1.0)
        decoder -= 0.1 * error @ h[0] / 64
        for name, values in rnn.parameters.items():
            values -= 0.5 * grads.parameters[name]
        if iteration % 100 == 0:
            print(f"iteration {iteration}: mean squared error {np.mean(error**2):.3f}, gradient norm {norm:.3f}")


if __name__ == "__main__":
    main()
