"""Recurrent weights in heads, beside whole ones and beside loops in PyTorch: `python benchmarks/heads.py`.

`slstm` is inference with ready pre-activations (T=64, B=64, 4 heads of 128): of this library, and of the loop over
steps that xLSTM and TiRex run on processors, in eager mode and with its step in `torch.compile`, which takes PyTorch
and a C++ compiler. `lstm` and `gru` are networks of this library (T=50, B=16, H=512) with 4 heads and with one,
inference and training. Prints medians of calls in turns, in milliseconds and in multiples of the first; what computes
the same is compared before.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from rnncore import Recurrent

GATES = 4
"""i, f, z, o, in this order."""

Call = Callable[[], Any]
"""A call of a network, which returns the output (T, B, H)."""


def step(x: Any, weights: Any, h: Any, c: Any, n: Any, m: Any) -> Any:
    """One step of all heads: x (heads, B, 4*d), weights (heads, d, 4*d), states (heads, B, d), d units to a head."""
    i, f, z, o = torch.baddbmm(x, h, weights).chunk(GATES, dim=-1)
    log_f = m + torch.nn.functional.logsigmoid(f)
    m = torch.maximum(log_f, i)
    i, f = torch.exp(i - m), torch.exp(log_f - m)
    c, n = f * c + i * torch.tanh(z), f * n + i
    return torch.sigmoid(o) * (c / n), c, n, m


def looped(one: Callable[..., Any], x: Any, weights: Any) -> Call:
    """The loop over the steps of x (T, heads, B, 4 * H/heads), with a function for one of them."""
    shape = (*x.shape[1:3], x.shape[3] // GATES)

    def call() -> Any:
        states, outputs = [x.new_zeros(shape) for _ in range(4)], []
        with torch.no_grad():
            for x_t in x:
                states = one(x_t, weights, *states)
                outputs.append(states[0])
        return torch.stack(outputs).permute(0, 2, 1, 3).flatten(2).numpy()

    return call


def of_slstm() -> dict[str, Call]:
    """Inference of 4 heads of 128 units, T=64, B=64: of this library first."""
    steps, batch, heads, size = 64, 64, 4, 128
    rnn = Recurrent("slstm", None, heads * size, heads=heads, bias=False, backend="numba", seed=0)
    x = np.random.default_rng(0).standard_normal((steps, batch, GATES * heads * size)).astype("float32")
    # Heads first, as their products take them.
    by_head = torch.from_numpy(x).view(steps, batch, GATES, heads, size).permute(0, 3, 1, 2, 4).flatten(3).contiguous()
    weights = torch.from_numpy(rnn.parameters["weight_hh_l0"].copy()).view(GATES, heads, size, size)
    weights = weights.permute(1, 3, 0, 2).flatten(2).contiguous()
    measured = {
        "rnncore": lambda: rnn(x)[0],
        "PyTorch, eager": looped(step, by_head, weights),
        "PyTorch, compiled": looped(torch.compile(step), by_head, weights),
    }
    expected = measured["rnncore"]()
    for name, call in measured.items():
        np.testing.assert_allclose(call(), expected, rtol=0, atol=1e-5, err_msg=name)
    return measured


def of(cell: str, input_size: int) -> dict[str, Call]:
    """Inference and training with 4 heads and with one, T=50, B=16, H=512."""
    rng, measured = np.random.default_rng(0), dict[str, Call]()
    x, grad = (rng.standard_normal((50, 16, width)).astype("float32") for width in (input_size, 512))

    def trained(rnn: Recurrent) -> Any:
        output, _, tape = rnn.forward(x)
        rnn.backward(tape, grad)
        return output

    for mode in ("inference", "training"):
        for heads in (4, 1):
            rnn = Recurrent(cell, input_size, 512, heads=heads, backend="numba", seed=0)
            call = partial(trained, rnn) if mode == "training" else partial(rnn, x)
            measured[f"{cell}, I={input_size}, {mode}, {'4 heads' if heads == 4 else 'one'}"] = call
    return measured


def main() -> None:
    """Measure in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["slstm", "lstm", "gru"], help="slstm, lstm, gru (all)")
    parser.add_argument("--repeats", type=int, default=21)
    options = parser.parse_args()
    for what in options.what:
        for measured in [of_slstm()] if what == "slstm" else [of(what, size) for size in (64, 512)]:
            times: dict[str, list[float]] = {name: [] for name in measured}
            for call in measured.values():
                call()
            for _ in range(options.repeats):
                for name, call in measured.items():
                    start = time.perf_counter()
                    call()
                    times[name].append(time.perf_counter() - start)
            medians = {name: statistics.median(values) for name, values in times.items()}
            first = 0.0
            for name, median in medians.items():
                # Others stand behind what they are compared with.
                first = median if name == "rnncore" or name.endswith("4 heads") else first
                print(f"{name:34} {median * 1e3:8.1f} ms {median / first:6.2f}")


if __name__ == "__main__":
    main()
