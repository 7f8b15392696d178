"""A machine that is not idle: `python benchmarks/busy.py` keeps cores busy with processes of its own, and measures.

Default threads, which follow the load, are held against one thread, against two and against PyTorch, where it is
installed, all under the same load and in turns. Without load they are also held against another checkout (`--base`).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rnncore.bench import clock, table
from rnncore.bench.peers import load, make_task
from rnncore.bench.workload import Workload

STEPS = 100
THREADS = {"default": None, "one": 1, "two": 2, "base": None, "torch": None}
"""What is compared, and the threads that it asks for."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", default="lstm", choices=("lstm", "gru", "rnn"))
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="numbers of busy processes (0 1 2)")
    parser.add_argument("--modes", nargs="+", default=["inference", "training", "step"])
    parser.add_argument("-B", type=int, nargs="+", default=[1, 32])
    parser.add_argument("-H", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn (0.3)")
    parser.add_argument("--contenders", nargs="+", default=["default", "one", "two", "torch"], choices=[*THREADS])
    parser.add_argument("--base", help="another checkout, measured as `base`")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve)
        return
    contenders = list(chosen.contenders) + (["base"] if chosen.base else [])
    points = list(itertools.product(chosen.modes, chosen.B, chosen.H))
    for number in chosen.busy:
        with busy(number), started(contenders, chosen.base) as children:
            rows = []
            for mode, batch, hidden in points:
                workload = chosen.cell, mode, 1 if mode == "step" else STEPS, batch, hidden, hidden, "float32"
                samples: dict[str, list[float]] = {name: [] for name in children}
                for name, child in children.items():
                    ask(child, "prepare", *workload, THREADS[name])
                for _ in range(chosen.rounds):
                    for name, child in children.items():
                        samples[name] += ask(child, "turn", chosen.seconds)
                rows.append((mode, batch, hidden, {name: statistics.median(s) for name, s in samples.items()}))
        show(number, rows)


def show(number: int, rows: Sequence[tuple[str, int, int, dict[str, float]]]) -> None:
    """The times under one load, in microseconds, and how default threads compare."""
    lines: list[dict[str, str]] = []
    ratios: dict[str, list[float]] = {"best": [], "torch": [], "base": []}
    for mode, batch, hidden, times in rows:
        line = {"mode": mode, "B": str(batch), "H": str(hidden)}
        line |= {name: table.rounded(seconds * 1e6) for name, seconds in times.items()}
        fixed = [times[name] for name in ("one", "two") if name in times]
        others = {"best": min(fixed, default=None)} | {name: times.get(name) for name in ("torch", "base")}
        for name, other in others.items():
            if other is not None:
                ratios[name].append(times["default"] / other)
                line[f"default / {name}"] = f"{ratios[name][-1]:.2f}"
        lines.append(line)
    print(f"### {number} busy processes, µs\n\n{table.markdown(lines)}\n")
    for name, found in ratios.items():
        if found:
            print(f"default / {name}: largest {max(found):.2f}, geometric mean {statistics.geometric_mean(found):.2f}")
    print(flush=True)


@contextlib.contextmanager
def busy(number: int) -> Iterator[None]:
    """Some processes that compute for as long as the context lasts."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def started(contenders: Sequence[str], base: str | None) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A process for each contender, since thread pools that spin would spoil each other."""
    children: dict[str, subprocess.Popen[str]] = {}
    try:
        for name in contenders:
            folders = [base, os.path.join(base, "kernels")] if name == "base" and base else sys.path
            children[name] = subprocess.Popen(
                [sys.executable, __file__, "--serve", name],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in folders)},
            )  # fmt: skip
        yield children
    finally:
        for child in children.values():
            child.kill()
            child.wait()


def ask(child: subprocess.Popen[str], *request: Any) -> list[float]:
    """The answer of a process to a request."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(request) + "\n")
    child.stdin.flush()
    answer: list[float] = json.loads(child.stdout.readline())
    return answer


def serve(name: str) -> None:
    """Answer requests on standard input: prepare a workload, or time its calls for some seconds."""
    contender = "torch" if name == "torch" else "numba"
    load(contender)
    task, lasting = None, contextlib.ExitStack()
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        samples: list[float] = []
        if method == "prepare":
            cell, mode, steps, batch, inputs, hidden, dtype, threads = arguments
            lasting.close()
            workload = Workload(cell, mode, steps, batch, inputs, hidden, dtype, threads=threads)
            task = make_task(contender, workload, lasting)
            task()
        else:
            assert task is not None
            samples = clock.sample(task, *arguments)
        clock.rest()
        print(json.dumps(samples), flush=True)


if __name__ == "__main__":
    main()
