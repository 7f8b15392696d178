"""Training steps of PyTorch's modules and of rnncore's, `rnncore.torch`, each in a process of its own, in turns.

`python benchmarks/torch_modules.py lstm` prints medians in milliseconds and their ratio for each point of the grid of
`rnncore bench`, then the geometric mean; `--hidden` chooses points. `models` measures two models as people write them,
with `accelerate` the only difference, `packed` rows of different lengths, and `overhead` the time of small eager calls
beyond that of the engine's.
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

from rnncore.bench.grid import GRID

ROUNDS, SECONDS = 8, 0.15
"""Turns of each contender, and seconds of each turn."""


def layer(kind: str, *, mine: bool, steps: int, batch: int, inputs: int, hidden: int) -> Callable[[], None]:
    """A training step of a module: gradients of its parameters and of x."""
    import torch

    import rnncore.torch

    module = getattr(rnncore.torch if mine else torch.nn, kind)(inputs, hidden)
    x = torch.randn(steps, batch, inputs, requires_grad=True)
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


MAKERS: dict[str, Callable[..., Callable[[], None]]] = {
    "layer": layer,
    "packed": packed,
    "tagger": tagger,
    "forecaster": forecaster,
}


def work() -> None:
    """Measure what each line of standard input names: an empty one the step that the last other made."""
    import torch

    torch.manual_seed(0)
    step: Callable[[], None] | None = None
    for line in sys.stdin:
        if line.strip():
            maker, kind, sizes = json.loads(line)
            step = MAKERS[maker](kind, **sizes)
            for _ in range(3):
                step()
            print("ready", flush=True)
            continue
        assert step is not None
        times: list[float] = []
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end or len(times) < 2:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        print(statistics.median(times), flush=True)


class Contender:
    """A process that measures PyTorch's modules, or ours."""

    def __init__(self, *, mine: bool) -> None:
        self._mine = mine
        command = [sys.executable, __file__, "--work"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def prepare(self, maker: str, kind: str, sizes: dict[str, int]) -> None:
        """Make a step and run it some times."""
        self._ask(json.dumps([maker, kind, {**sizes, "mine": self._mine}]))

    def seconds(self) -> float:
        """Median seconds of a step, in a turn."""
        return float(self._ask(""))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        return self._process.stdout.readline()


def compare(contenders: list[Contender], maker: str, kind: str, sizes: dict[str, int]) -> list[float]:
    """Seconds of a step of each contender, the least of its turns' medians."""
    for contender in contenders:
        contender.prepare(maker, kind, sizes)
    turns = [[contender.seconds() for contender in contenders] for _ in range(ROUNDS)]
    return [min(seen) for seen in zip(*turns, strict=True)]


def points(what: str, chosen: list[int] | None) -> Iterator[tuple[str, str, dict[str, int]]]:
    """What is measured: its maker, the kind of module, and sizes."""
    if what == "models":
        yield "tagger", "LSTM", {"steps": 40, "batch": 32, "hidden": 256}
        yield "forecaster", "GRU", {"steps": 60, "batch": 64, "hidden": 64}
    elif what == "packed":
        for kind in ("LSTM", "GRU"):
            yield "packed", kind, {"steps": 200, "batch": 64, "hidden": 256}
    else:
        for steps, batch, inputs, hidden in GRID:
            if chosen is None or hidden in chosen:
                yield "layer", what.upper(), {"steps": steps, "batch": batch, "inputs": inputs, "hidden": hidden}


def overhead() -> None:
    """Microseconds of a small eager call beyond the engine's, whose work packing weights is, too."""
    import torch

    import rnncore.torch
    from rnncore.inputs import NO_INPUTS
    from rnncore.rows import DENSE
    from rnncore.torch.calls import KEPT
    from rnncore_kernels.contract import BackwardRun, Needs, Run

    def microseconds(call: Callable[[], Any]) -> float:
        best = math.inf
        for _ in range(20):
            start = time.perf_counter()
            for _ in range(200):
                call()
            best = min(best, (time.perf_counter() - start) / 200)
        return best * 1e6

    for kind in ("LSTM", "GRU"):
        module = getattr(rnncore.torch, kind)(8, 8)
        x, grad = torch.randn(2, 1, 8), torch.ones(2, 1, 8)
        output = module(x)[0].detach().numpy()
        # The engine alone: the same calls of it, prepared.
        kept, weights = module.__dict__[KEPT], list(module.parameters())
        network = kept.network(module, x)
        stack, (layer,) = kept.stack(network, weights), kept.views(network, weights).layers
        engine, arch = network.engine, network.architecture
        sizes, states = arch.sizes(0), tuple(np.zeros((1, 8), np.float32) for _ in arch.program.states)
        run = Run(stack.packed[0], x.numpy(), states, output, None, DENSE, False, NO_INPUTS)

        def both() -> None:
            packed = engine.pack(arch.program, sizes, layer, copy=True, backward=True)  # noqa: B023
            (residuals,) = engine.forward([run._replace(packed=packed)])  # noqa: B023
            engine.backward([BackwardRun(packed, residuals, output, states, Needs(x=False))])  # noqa: B023

        def train() -> None:
            module(x)[0].backward(grad)  # noqa: B023

        def infer() -> None:
            with torch.no_grad():
                module(x)  # noqa: B023

        alone, whole = [microseconds(f) for f in (lambda: engine.infer([run]), both)], map(microseconds, (infer, train))  # noqa: B023
        for name, bare, mine in zip(("forward, no gradients", "forward and backward"), alone, whole, strict=True):
            print(f"{kind} {name}: {mine:.1f} us, the engine {bare:.1f} us, beyond it {mine - bare:.1f} us")


def main() -> None:
    """See the docstring of the file."""
    if sys.argv[1:2] == ["--work"]:
        return work()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["lstm", "gru", "rnn", "packed", "models", "overhead"])
    parser.add_argument("--hidden", nargs="+", type=int, help="points of the grid with these H alone")
    arguments = parser.parse_args()
    if arguments.what == "overhead":
        return overhead()
    contenders, ratios = [Contender(mine=False), Contender(mine=True)], []
    for maker, kind, sizes in points(arguments.what, arguments.hidden):
        theirs, ours = compare(contenders, maker, kind, sizes)
        ratios.append(theirs / ours)
        print(f"{maker} {kind} {sizes}: {theirs * 1e3:.3f} ms, ours {ours * 1e3:.3f} ms, {ratios[-1]:.2f}x", flush=True)
    for contender in contenders:
        contender.close()
    print(f"least {min(ratios):.2f}x, geometric mean {statistics.geometric_mean(ratios):.2f}x")
    return None


if __name__ == "__main__":
    main()
