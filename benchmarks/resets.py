"""Training on sequences in which rows begin anew, beside the ways that PyTorch leaves: `python -m benchmarks.resets`.

Prints for each cell the median time of a training step, gradients of the weights and of x, in milliseconds and in
multiples of that without resets: of this library, then of `torch.nn` with rows split at resets and padded, as TorchRL
and rsl_rl do, and with a loop over time that multiplies the state by 0, as sb3-contrib does. All have the same weights,
and the outputs are compared first. It takes PyTorch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.turns import Step, measure
from rnncore import GRU, Recurrent


def ours(rnn: Recurrent, x: Any, grad: Any, **options: Any) -> Step:
    """This library."""

    def step() -> Any:
        output, _, tape = rnn.forward(x, **options)
        rnn.backward(tape, grad)
        return output

    return step


def theirs(module: Any, x: Any, grad: Any, compute: Callable[[Any, Any], Any]) -> Step:
    """A module of PyTorch; `compute(module, x)` is the output."""
    tensor, cotangent = torch.from_numpy(x).requires_grad_(), torch.from_numpy(grad)

    def step() -> Any:
        tensor.grad = None
        module.zero_grad()
        output = compute(module, tensor)
        output.backward(cotangent)
        return output.detach().numpy()

    return step


def split_and_padded(resets: Any) -> Callable[[Any, Any], Any]:
    """Rows split where they begin anew, as so many more rows, padded to the longest."""
    steps, batch = resets.shape
    begins = resets.copy()
    begins[0] = True
    piece = begins.T.cumsum().reshape(batch, steps).T - 1
    first = np.flatnonzero(begins.T) % steps
    place = np.arange(steps)[:, None] - first[piece]
    count, longest = int(piece.max()) + 1, int(place.max()) + 1
    where = torch.from_numpy(place), torch.from_numpy(piece)

    def compute(module: Any, x: Any) -> Any:
        padded = x.new_zeros(longest, count, x.shape[2]).index_put(where, x)
        return module(padded)[0][where]

    return compute


def looped(resets: Any) -> Callable[[Any, Any], Any]:
    """A call for each step, with the state multiplied by 0 where a row begins anew."""
    keeps = torch.from_numpy(~resets).float()[:, None, :, None]

    def compute(module: Any, x: Any) -> Any:
        zeros = x.new_zeros(1, x.shape[1], module.hidden_size)
        lstm, outputs = isinstance(module, torch.nn.LSTM), []
        state: Any = (zeros, zeros) if lstm else zeros
        for x_t, keep in zip(x, keeps, strict=True):
            state = tuple(keep * s for s in state) if lstm else keep * state
            output, state = module(x_t[None], state)
            outputs.append(output)
        return torch.cat(outputs)

    return compute


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-T", type=int, default=128, help="steps")
    parser.add_argument("-B", type=int, default=128, help="rows")
    parser.add_argument("-H", type=int, default=256, help="input and hidden size")
    parser.add_argument("--share", type=float, default=0.03, help="share of the steps that begin a row anew")
    parser.add_argument("--seconds", type=float, default=30, help="time for each cell")
    chosen = parser.parse_args()
    rng = np.random.default_rng(0)
    x, grad = (rng.standard_normal((chosen.T, chosen.B, chosen.H)).astype("float32") for _ in range(2))
    resets = rng.random((chosen.T, chosen.B)) < chosen.share
    print("| cell | of | ms | of its own without resets |\n|---|---|---|---|")
    for cell in ("lstm", GRU(update="carry")):
        rnn = Recurrent(cell, chosen.H, chosen.H, seed=0)
        module = rnn.to_torch()
        with_resets: dict[str, Step] = {
            "rnncore": ours(rnn, x, grad, resets=resets),
            "PyTorch, split and padded": theirs(module, x, grad, split_and_padded(resets)),
            "PyTorch, a loop over T": theirs(module, x, grad, looped(resets)),
        }
        first, *others = (step() for step in with_resets.values())
        for other in others:
            np.testing.assert_allclose(other, first, atol=1e-4)
        without: dict[str, Step] = {
            "rnncore, none": ours(rnn, x, grad),
            "PyTorch, none": theirs(module, x, grad, lambda module, x: module(x)[0]),
        }
        found = measure(without | with_resets, chosen.seconds)
        for name, milliseconds in found.items():
            ratio = milliseconds / found[f"{name.split(',')[0]}, none"]
            print(f"| {rnn.cell!r} | {name} | {milliseconds:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
