"""sLSTM with heads and ready pre-activations, inference, beside a loop in PyTorch: `python benchmarks/slstm.py`.

Prints the median time of a call in milliseconds and in multiples of this library's: of this library, with one head for
comparison, and of the loop over steps that xLSTM and TiRex run on processors, in eager mode and with its step in
`torch.compile`. All compute the same, which is compared first. It takes PyTorch, and its compiler a C++ compiler.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from rnncore import Recurrent

GATES = 4
"""i, f, z, o, in this order."""

Call = Callable[[], Any]
"""A call of a network, which returns the output (T, B, H)."""


def step(x: Any, weights: Any, h: Any, c: Any, n: Any, m: Any) -> Any:
    """One step of all heads: x (heads, B, 4*d), weights (heads, d, 4*d), states (heads, B, d), d units to a head."""
    i, f, z, o = torch.baddbmm(x, h, weights).chunk(GATES, dim=-1)
    log_f = m + logsigmoid(f)
    m = torch.maximum(log_f, i)
    i, f = torch.exp(i - m), torch.exp(log_f - m)
    c, n = f * c + i * torch.tanh(z), f * n + i
    return torch.sigmoid(o) * (c / n), c, n, m


def looped(one: Callable[..., Any], x: Any, weights: Any) -> Call:
    """The loop over the steps of x (T, heads, B, 4 * H/heads), with a function for one of them."""
    shape = (*x.shape[1:3], x.shape[3] // GATES)

    @torch.no_grad()
    def call() -> Any:
        states, outputs = [x.new_zeros(shape) for _ in range(4)], []
        for x_t in x:
            states = one(x_t, weights, *states)
            outputs.append(states[0])
        return torch.stack(outputs).permute(0, 2, 1, 3).flatten(2).numpy()

    return call


def calls(steps: int, batch: int, heads: int, size: int) -> dict[str, Call]:
    """What is measured, by name; the first is this library."""
    hidden, rng = heads * size, np.random.default_rng(0)
    rnn = Recurrent("slstm", None, hidden, heads=heads, bias=False, backend="numba", seed=0)
    dense = Recurrent("slstm", None, hidden, bias=False, backend="numba", seed=0)
    x = rng.standard_normal((steps, batch, GATES * hidden)).astype("float32")
    # Heads first, as their products take them.
    by_head = torch.from_numpy(x).view(steps, batch, GATES, heads, size).permute(0, 3, 1, 2, 4).flatten(3).contiguous()
    weights = torch.from_numpy(rnn.parameters["weight_hh_l0"].copy()).view(GATES, heads, size, size)
    weights = weights.permute(1, 3, 0, 2).flatten(2).contiguous()
    return {
        "rnncore": lambda: rnn(x)[0],
        "rnncore, one head": lambda: dense(x)[0],
        "PyTorch, eager": looped(step, by_head, weights),
        "PyTorch, compiled": looped(torch.compile(step), by_head, weights),
    }


def main() -> None:
    """Measure in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"steps": 64, "batch": 64, "heads": 4, "size": 128, "repeats": 21}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    measured = calls(options.steps, options.batch, options.heads, options.size)
    expected = measured["rnncore"]()
    for name, call in measured.items():
        if name != "rnncore, one head":
            np.testing.assert_allclose(call(), expected, rtol=0, atol=1e-5, err_msg=name)
    times: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(options.repeats):
        for name, call in measured.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    ours = statistics.median(times["rnncore"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:20} {median * 1e3:8.1f} ms {median / ours:6.2f}")


if __name__ == "__main__":
    main()
