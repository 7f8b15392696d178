"""Inference without `freeze`: `python benchmarks/kept_weights.py`.

Microseconds of a call of a frozen network, and how many times that a call of the network itself takes: while nobody
holds a parameter, somebody one (the variable of a loop over all of them), or all; and where the weights are packed for
every call. LSTM, B=1, I=64, float32. docs/performance.md quotes it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from rnncore import Recurrent
from rnncore.bench import clock

HELD: dict[str, Callable[[Recurrent], object]] = {
    "nobody": lambda rnn: None,
    "one": lambda rnn: [*rnn.parameters.values()][-1],
    "all": lambda rnn: [*rnn.parameters.values()],
}


def call_of(network: Callable[[], Any], steps: int | None) -> Callable[[], object]:
    """A step of a stream, or a sequence, of the network that `network` gives for each call."""
    if steps is not None:
        x = np.ones((steps, 1, 64), np.float32)
        return lambda: network()(x)
    x_t = np.ones((1, 64), np.float32)
    _, state = network().step(x_t)
    return lambda: network().step(x_t, state)


def seconds_of(tasks: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    for task in tasks.values():
        task()
    turns = {name: partial(clock.sample, task) for name, task in tasks.items()}
    samples = clock.take_turns(turns, rounds=9, seconds=seconds / 9)
    return {name: statistics.median(values) for name, values in samples.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="numba")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each line")
    arguments = parser.parse_args()
    print(f"| call | H | frozen, us | {' | '.join(HELD)} | packed anew |")
    print(f"|---|{'---:|' * (len(HELD) + 3)}")
    for steps in (None, 1, 10):
        for hidden in (128, 256, 512):
            make = partial(Recurrent, "lstm", 64, hidden, backend=arguments.backend, seed=0)
            networks: dict[str, Any] = {name: make() for name in HELD}
            held = [hold(networks[name]) for name, hold in HELD.items()]
            networks["frozen"] = make().freeze()
            tasks = {name: call_of(partial(networks.get, name), steps) for name in networks}
            tasks["packed anew"] = call_of(make().freeze, steps)
            seconds = seconds_of(tasks, arguments.seconds)
            del held
            frozen = seconds.pop("frozen")
            ratios = " | ".join(f"{value / frozen:.2f}" for value in seconds.values())
            name = "step" if steps is None else f"rnn(x), T={steps}"
            print(f"| {name} | {hidden} | {frozen * 1e6:.1f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
