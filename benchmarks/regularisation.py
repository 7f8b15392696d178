"""The cost of zoneout and dropout in training: `python -m benchmarks.regularisation`.

Prints for each cell the median time of a training step of one layer, gradients of the weights and of x, in milliseconds
and in multiples of that without, measured in turns.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks.turns import Step, measure
from rnncore import Recurrent

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "zoneout=0.1": {"zoneout": 0.1},
    "recurrent_dropout=0.2": {"recurrent_dropout": 0.2},
    "input_dropout=0.2": {"input_dropout": 0.2},
    "input_dropout=0.2, variational": {"input_dropout": 0.2, "variational": True},
}


def make_step(rnn: Recurrent, x: Any, grad: Any) -> Step:
    """A training step."""

    def step() -> None:
        _, _, tape = rnn.forward(x)
        rnn.backward(tape, grad)

    return step


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-T", type=int, default=100, help="steps")
    parser.add_argument("-B", type=int, default=32, help="rows")
    parser.add_argument("-H", type=int, default=256, help="input and hidden size")
    parser.add_argument("--cell", nargs="+", default=["lstm", "gru"], help="names of cells")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--seconds", type=float, default=20, help="time for each cell")
    chosen = parser.parse_args()
    rng = np.random.default_rng(0)
    x, grad = (rng.standard_normal((chosen.T, chosen.B, chosen.H)).astype("float32") for _ in range(2))
    print("| cell | with | ms | of its own without |\n|---|---|---|---|")
    for cell in chosen.cell:
        steps = {
            name: make_step(Recurrent(cell, chosen.H, chosen.H, seed=0, backend=chosen.backend, **options), x, grad)
            for name, options in OPTIONS.items()
        }
        for step in steps.values():
            step()
        for name, milliseconds in (found := measure(steps, chosen.seconds)).items():
            print(f"| {cell} | {name} | {milliseconds:.1f} | {milliseconds / found['none']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
