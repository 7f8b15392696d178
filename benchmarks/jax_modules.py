"""Training steps of Flax's cells and of `rnncore.jax` with their parameters, each in a process of its own, in turns.

`python benchmarks/jax_modules.py` prints, for each cell, medians in milliseconds and their ratio. A step is the
gradient of the parameters and of x under jit, on the processor; `-T`, `-B`, `-H` give other sizes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

CELLS = {"LSTMCell": "lstm", "OptimizedLSTMCell": "lstm", "GRUCell": "gru", "SimpleCell": "rnn"}
"""Flax's cells, and ours with their parameters."""

CONTENDERS = ("flax", "rnncore")
ROUNDS, SECONDS = 5, 0.5
"""Turns of each contender, and seconds of each turn."""


def training_step(contender: str, name: str, steps: int, batch: int, hidden: int) -> Callable[[], Any]:
    import jax
    from flax import nnx

    import rnncore.jax

    rnn = nnx.RNN(getattr(nnx, name)(hidden, hidden, rngs=nnx.Rngs(0)), time_major=True)
    graph, params, rest = nnx.split(rnn, nnx.Param, ...)
    x = jax.random.normal(jax.random.key(0), (steps, batch, hidden))
    zeros = jax.numpy.zeros((batch, hidden))
    carry = (zeros, zeros) if "LSTM" in name else zeros
    weights = jax.random.normal(jax.random.key(1), (steps, batch, hidden))

    def loss(params: Any, x: Any) -> Any:
        if contender == "flax":
            output = nnx.merge(graph, params, rest)(x, initial_carry=carry)
        else:
            output, _ = rnncore.jax.recurrent(params, x, cell=CELLS[name])
        return (output * weights).sum()

    compiled = jax.jit(jax.grad(loss, (0, 1)))
    return lambda: jax.block_until_ready(compiled(params, x))


def serve(arguments: list[str]) -> None:
    """Measure a turn for each line that comes."""
    contender, name, *sizes = arguments
    step = training_step(contender, name, *map(int, sizes))
    for _ in range(3):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        times, end = [], time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        print(*times, flush=True)


def compare(name: str, *sizes: int) -> list[float]:
    """Medians of the contenders, in milliseconds."""
    command = [sys.executable, __file__, "--serve"]
    children = [
        subprocess.Popen(
            [*command, contender, name, *map(str, sizes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for contender in CONTENDERS
    ]
    times: list[list[float]] = [[] for _ in children]

    def read(child: subprocess.Popen[str]) -> str:
        assert child.stdout is not None
        return child.stdout.readline()

    for child in children:
        assert read(child).strip() == "ready"
    for _ in range(ROUNDS):
        for child, samples in zip(children, times, strict=True):
            assert child.stdin is not None
            print(file=child.stdin, flush=True)
            samples += map(float, read(child).split())
    for child in children:
        child.communicate()
    return [1e3 * statistics.median(samples) for samples in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option, default in (("T", 100), ("B", 32), ("H", 128)):
        parser.add_argument(f"-{option}", type=int, default=default)
    parser.add_argument("cells", nargs="*", default=[*CELLS], metavar="CELL")
    options = parser.parse_args()
    for name in options.cells:
        theirs, mine = compare(name, options.T, options.B, options.H)
        print(f"{name:18} flax {theirs:8.2f} ms   rnncore {mine:8.2f} ms   {theirs / mine:5.2f}x", flush=True)


if __name__ == "__main__":
    serve(sys.argv[2:]) if sys.argv[1:2] == ["--serve"] else main()
