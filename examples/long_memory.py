"""Long memory: two tasks whose answer lies many steps back, for several cells (many-to-one and many-to-many).

Adding: of T random numbers two are marked; their sum is asked for at the end. Copy: two of eight symbols are shown,
then nothing for T steps, then they are asked for. An Elman network loses its gradient on the way (Y. Bengio, P. Simard
and P. Frasconi, 1994). The gates of GRU and LSTM keep it, and keep it better if their biases begin where a unit
remembers for 1 to T steps ("chrono": C. Tallec and Y. Ollivier, Can Recurrent Neural Networks Warp Time?, ICLR 2018).

Data: made here, after S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, 1997. Every sequence is new.
Result: the table that is printed, of losses in parts of that of the best guess without memory: with 1.00 nothing is
learnt, with 0.00 all.

    python examples/long_memory.py             about a minute on two cores
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shared import options

from rnncore import Recurrent, clip_grad_norm, insight
from rnncore.training import Adam, Linear, collect, cross_entropy

Array = NDArray[Any]

HIDDEN, BATCH, RATE = 32, 16, 1.5e-2
CELLS = ["Elman", "GRU", "LSTM", "GRU chrono", "LSTM chrono"]
RUNS = {("adding", 50): 800, ("adding", 200): 800, ("adding", 1000): 600, ("copy", 50): 800, ("copy", 200): 800}
"""Iterations of each task with each T."""
SYMBOLS, SHOWN = 8, 2


def network(cell: str, inputs: int, steps: int, seed: int, backend: str) -> Recurrent:
    """The network; "chrono" draws a memory of 1 to T steps for each unit."""
    kind, _, chrono = cell.partition(" ")
    rnn = Recurrent({"Elman": "rnn"}.get(kind, kind.lower()), inputs, HIDDEN, seed=seed, backend=backend)
    if chrono:
        memory = np.log(np.random.default_rng(seed).uniform(1, steps - 1, HIDDEN))
        bias = rnn.parameters["bias_ih_l0"]
        if kind == "LSTM":  # c' = f c + i g, gates i, f, g, o
            bias[HIDDEN : 2 * HIDDEN], bias[:HIDDEN] = memory, -memory
        else:  # h' = (1 - z) h + z n, gates r, z, n
            bias[HIDDEN : 2 * HIDDEN] = -memory
    return rnn


def adding(steps: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Numbers from 0 to 1 and marks (T, B, 2), and the sums of the marked (B, 1)."""
    x = np.zeros((steps, BATCH, 2), "float32")
    x[..., 0] = rng.random((steps, BATCH))
    rows = np.arange(BATCH)
    first, second = rng.integers(0, steps // 2, BATCH), rng.integers(steps // 2, steps, BATCH)
    x[first, rows, 1] = x[second, rows, 1] = 1
    return x, (x[first, rows, 0] + x[second, rows, 0])[:, None]


def copying(steps: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """One-hot symbols, a pause and the call for them (T + 2 SHOWN, B, SYMBOLS + 1), and the symbols (SHOWN, B)."""
    symbols = rng.integers(0, SYMBOLS, (SHOWN, BATCH))
    x = np.zeros((steps + 2 * SHOWN, BATCH, SYMBOLS + 1), "float32")
    x[:SHOWN, :, :SYMBOLS] = np.eye(SYMBOLS)[symbols]
    x[-SHOWN:, :, SYMBOLS] = 1
    return x, symbols


def train(task: str, cell: str, steps: int, iterations: int, seed: int, backend: str) -> Iterator[float]:
    """Yield the loss of each iteration, on sequences that are new, in parts of that of the best guess."""
    rng = np.random.default_rng(seed)
    inputs, outputs, guess = (2, 1, 1 / 6) if task == "adding" else (SYMBOLS + 1, SYMBOLS, np.log(SYMBOLS))
    rnn, head = network(cell, inputs, steps, seed, backend), Linear(HIDDEN, outputs, seed=seed)
    adam = Adam(collect(rnn=rnn, head=head))
    for iteration in range(iterations):
        adam.rate = RATE * min(1, 4 * (1 - iteration / iterations))  # falls in the last quarter
        if task == "adding":
            x, target = adding(steps, rng)
            last, _, tape = rnn.forward(x, return_sequence=False)
            error = head(last) - target
            loss, (grad_last, head_grads) = float(np.mean(error**2)), head.backward(last, error * 2 / BATCH)
            grads = rnn.backward(tape, grad_last=grad_last)
        else:
            x, target = copying(steps, rng)
            output, _, tape = rnn.forward(x)
            loss, grad_logits = cross_entropy(head(output[-SHOWN:]), target)
            grad_output = np.zeros_like(output)
            grad_output[-SHOWN:], head_grads = head.backward(output[-SHOWN:], grad_logits)
            grads = rnn.backward(tape, grad_output)
        together = collect(rnn=grads, head=head_grads)
        clip_grad_norm(together, 1.0)
        adam.step(together)
        yield loss / guess


def main() -> None:
    """Train every cell on every task, and print the table."""
    arguments = options(__doc__)
    curves: dict[tuple[str, int, str], list[float]] = {}
    print(f"{'task':8} {'T':>5} " + "".join(f"{cell:>13}" for cell in CELLS), flush=True)
    start = time.perf_counter()
    for (task, steps), iterations in RUNS.items():
        print(f"{task:8} {steps:5} ", end="", flush=True)
        for cell in CELLS:
            number = max(iterations // 100, 4) if arguments.quick else iterations
            losses = list(train(task, cell, steps, number, arguments.seed, arguments.backend))
            curves[task, steps, cell] = losses
            print(f"{np.mean(losses[-number // 20 - 1 :]):13.2f}", end="", flush=True)
        print(f"  {time.perf_counter() - start:4.0f} s")
    print("mean of the last twentieth of the iterations, in parts of the loss of the best guess without memory (1.00)")
    if arguments.plot:
        with insight.figure(arguments.plot, columns=3, width=7, height=2.4) as axes:
            for axis, (task, steps) in zip(axes, [("adding", 50), ("adding", 1000), ("copy", 200)], strict=True):
                for cell in CELLS:
                    smooth = np.convolve(curves[task, steps, cell], np.ones(20) / 20, "valid")[::5]
                    axis.plot(5 * np.arange(len(smooth)), smooth, label=cell)
                axis.set(title=f"{task}, T = {steps}", xlabel="iteration", ylim=(0, 1.3))
            axes[0].set_ylabel("loss / best guess")
            axes[1].legend(fontsize=7)


if __name__ == "__main__":
    main()
