"""Training steps of PyTorch's modules and of rnncore's, `rnncore.torch`, each in a process of its own, in turns.

`python benchmarks/torch_modules.py lstm` prints, for each point, medians in milliseconds and their ratio, then the
geometric mean; `models` measures two models as people write them, with `accelerate` the only difference, `packed` rows
of different lengths, and `overhead` the time of small eager calls beyond the engine's.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

GRID = [(steps, batch, hidden) for hidden in (64, 128, 256, 512) for batch in (1, 32, 64) for steps in (20, 100)]
"""T, B and I = H."""

ROUNDS, SECONDS = 5, 0.25
"""Turns of each contender, and seconds of each turn."""


def layer(kind: str, *, mine: bool, steps: int, batch: int, hidden: int) -> Callable[[], None]:
    """A training step of a module: gradients of its parameters and of x."""
    import torch

    import rnncore.torch

    module = getattr(rnncore.torch if mine else torch.nn, kind)(hidden, hidden)
    x = torch.randn(steps, batch, hidden, requires_grad=True)
    grad = torch.randn(steps, batch, hidden)

    def step() -> None:
        x.grad = None
        module.zero_grad()
        module(x)[0].backward(grad)

    return step


def packed(kind: str, *, mine: bool, steps: int, batch: int, hidden: int) -> Callable[[], None]:
    """The same for rows of lengths from 1 to T."""
    import torch

    import rnncore.torch

    module = getattr(rnncore.torch if mine else torch.nn, kind)(hidden, hidden)
    lengths = torch.randint(1, steps + 1, (batch,), generator=torch.Generator().manual_seed(0))
    x = torch.randn(steps, batch, hidden, requires_grad=True)

    def step() -> None:
        x.grad = None
        module.zero_grad()
        sequence = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        module(sequence)[0].data.sum().backward()

    return step


def tagger(kind: str, *, mine: bool, steps: int, batch: int, hidden: int) -> Callable[[], None]:
    """A tagger: Embedding, packed bidirectional LSTM, Linear, cross-entropy, Adam."""
    import torch

    import rnncore.torch

    model = torch.nn.ModuleList(
        [torch.nn.Embedding(5000, 100), torch.nn.LSTM(100, hidden, bidirectional=True), torch.nn.Linear(2 * hidden, 20)]
    )
    if mine:
        rnncore.torch.accelerate(model)
    optimizer = torch.optim.Adam(model.parameters())
    words, tags = torch.randint(0, 5000, (steps, batch)), torch.randint(0, 20, (steps, batch))
    lengths = torch.randint(steps // 3, steps + 1, (batch,), generator=torch.Generator().manual_seed(0))
    lengths[0] = steps

    def step() -> None:
        optimizer.zero_grad()
        embedding, lstm, linear = model
        sequence = torch.nn.utils.rnn.pack_padded_sequence(embedding(words), lengths, enforce_sorted=False)
        output, _ = torch.nn.utils.rnn.pad_packed_sequence(lstm(sequence)[0])
        torch.nn.functional.cross_entropy(linear(output).reshape(-1, 20), tags.reshape(-1)).backward()
        optimizer.step()

    return step


def forecaster(kind: str, *, mine: bool, steps: int, batch: int, hidden: int) -> Callable[[], None]:
    """A forecaster: Embedding of the series, GRU over it and its values, Linear, squared error, Adam."""
    import torch

    import rnncore.torch

    model = torch.nn.ModuleList(
        [
            torch.nn.Embedding(50, 16),
            torch.nn.GRU(17, hidden, num_layers=2, batch_first=True),
            torch.nn.Linear(hidden, 1),
        ]
    )
    if mine:
        rnncore.torch.accelerate(model)
    optimizer = torch.optim.Adam(model.parameters())
    series, values = torch.randint(0, 50, (batch, 1)), torch.randn(batch, steps + 1, 1)

    def step() -> None:
        optimizer.zero_grad()
        embedding, gru, linear = model
        x = torch.cat([embedding(series).expand(-1, steps, -1), values[:, :-1]], dim=2)
        torch.nn.functional.mse_loss(linear(gru(x)[0]), values[:, 1:]).backward()
        optimizer.step()

    return step


MAKERS = {"layer": layer, "packed": packed, "tagger": tagger, "forecaster": forecaster}


def work() -> None:
    """Measure what each line of standard input names, and print the seconds of a call."""
    import torch

    torch.manual_seed(0)
    step = MAKERS[sys.argv[2]](sys.argv[3], **json.loads(sys.argv[4]))
    for _ in range(3):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        times: list[float] = []
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end or len(times) < 2:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        print(statistics.median(times), flush=True)


def compare(maker: str, kind: str, sizes: dict[str, int]) -> tuple[float, float]:
    """Median seconds of PyTorch's module and of ours."""
    contenders = [
        subprocess.Popen(
            [sys.executable, __file__, "--work", maker, kind, json.dumps({**sizes, "mine": mine})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mine in (False, True)
    ]
    turns: list[list[float]] = [[], []]
    for contender in contenders:
        assert contender.stdout is not None
        contender.stdout.readline()
    for _ in range(ROUNDS):
        for contender, seen in zip(contenders, turns, strict=True):
            assert contender.stdin is not None
            assert contender.stdout is not None
            contender.stdin.write("\n")
            contender.stdin.flush()
            seen.append(float(contender.stdout.readline()))
    for contender in contenders:
        contender.communicate()
    theirs, ours = (min(seen) for seen in turns)
    return theirs, ours


def points(what: str) -> Iterator[tuple[str, str, dict[str, int]]]:
    """What is measured: its maker, the kind of module, and sizes."""
    if what == "models":
        yield "tagger", "LSTM", {"steps": 40, "batch": 32, "hidden": 256}
        yield "forecaster", "GRU", {"steps": 60, "batch": 64, "hidden": 64}
    elif what == "packed":
        for kind in ("LSTM", "GRU"):
            yield "packed", kind, {"steps": 200, "batch": 64, "hidden": 256}
    else:
        for steps, batch, hidden in GRID:
            yield "layer", what.upper(), {"steps": steps, "batch": batch, "hidden": hidden}


def overhead() -> None:
    """Microseconds of a small eager call, forward, and forward and backward, beyond those of the engine's runs."""
    import torch

    import rnncore.torch
    from rnncore import Recurrent

    def microseconds(call: Callable[[], Any]) -> float:
        best = math.inf
        for _ in range(20):
            start = time.perf_counter()
            for _ in range(200):
                call()
            best = min(best, (time.perf_counter() - start) / 200)
        return best * 1e6

    for kind in ("lstm", "gru"):
        module = getattr(rnncore.torch, kind.upper())(8, 8)
        x, grad = torch.randn(2, 1, 8), torch.ones(2, 1, 8)
        # The engine alone: what the same calls of it take, prepared.
        network = Recurrent(kind, 8, 8, seed=0)
        array = x.numpy()
        stack = network._pack(network._live.arrays, copy=True, backward=True)
        engine, arch = stack.engine, stack.architecture
        states = [np.zeros((1, 1, 8), np.float32) for _ in arch.program.states]
        output = np.empty((2, 1, 8), np.float32)
        runs = stack._runs(0, array, tuple(states), output, None, rows(), inputs())

        def both(engine: Any = engine, runs: Any = runs, states: Any = states, output: Any = output) -> None:
            from rnncore_kernels.contract import BackwardRun

            (residuals,) = engine.forward(runs)
            engine.backward([BackwardRun(runs[0].packed, residuals, output, tuple(s[0] for s in states))])

        def train(module: Any = module, x: Any = x, grad: Any = grad) -> None:
            module(x)[0].backward(grad)

        def infer(module: Any = module, x: Any = x) -> None:
            with torch.no_grad():
                module(x)

        for name, mine, alone in (
            ("forward, no gradients", infer, lambda engine=engine, runs=runs: engine.infer(runs)),
            ("forward and backward", train, both),
        ):
            whole, bare = microseconds(mine), microseconds(alone)
            print(f"{kind} {name}: {whole:.1f} us, the engine {bare:.1f} us, beyond it {whole - bare:.1f} us")


def rows() -> Any:
    """Rows that all have the same number of steps."""
    from rnncore.rows import DENSE

    return DENSE


def inputs() -> Any:
    """No inputs beside x."""
    from rnncore.inputs import NO_INPUTS

    return NO_INPUTS


def main() -> None:
    """See the docstring of the file."""
    if sys.argv[1:2] == ["--work"]:
        return work()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["lstm", "gru", "rnn", "packed", "models", "overhead"])
    what = parser.parse_args().what
    if what == "overhead":
        return overhead()
    ratios = []
    for maker, kind, sizes in points(what):
        theirs, ours = compare(maker, kind, sizes)
        ratios.append(theirs / ours)
        print(f"{maker} {kind} {sizes}: {theirs * 1e3:.3f} ms, ours {ours * 1e3:.3f} ms, {ratios[-1]:.2f}x", flush=True)
    print(f"least {min(ratios):.2f}x, geometric mean {statistics.geometric_mean(ratios):.2f}x")
    return None


if __name__ == "__main__":
    main()
