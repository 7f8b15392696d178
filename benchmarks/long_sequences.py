"""Training on long sequences with `recompute=True`, beside whole tapes: `python benchmarks/long_sequences.py`.

Prints for each hidden size the median time of a training step of an LSTM, in milliseconds and in multiples of that with
a whole tape, the memory that the tape holds, and the most that the process has more than before the step, its gradients
of x and of the weights included. The last outputs alone are computed, many-to-one. Gradients are compared first. Each
memory is measured in a process of its own, by its resident pages (Linux).
"""

from __future__ import annotations

import argparse
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from rnncore import Recurrent

MIB = 1 << 20


def make(arguments: argparse.Namespace, hidden: int) -> tuple[Recurrent, Any]:
    """A network and its input."""
    rng, width = np.random.default_rng(0), arguments.I or hidden
    rnn = Recurrent("lstm", width, hidden, seed=0)
    return rnn, rng.standard_normal((arguments.T, arguments.B, width), dtype=np.float32)


def step(rnn: Recurrent, x: Any, *, recompute: bool) -> Any:
    """A training step; its gradients."""
    last, _, tape = rnn.forward(x, return_sequence=False, recompute=recompute)
    return rnn.backward(tape, grad_last=last)


def resident() -> float:
    """MiB that the process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MIB


def print_memory(arguments: argparse.Namespace) -> None:
    """Print MiB of the tape, and the most of a step."""
    rnn, x = make(arguments, arguments.H[0])
    step(rnn, x[:64], recompute=True)
    before = resident()
    # From here on the most resident pages are noted anew.
    Path("/proc/self/clear_refs").write_text("5")
    last, _, tape = rnn.forward(x, return_sequence=False, recompute=arguments.recompute)
    held = resident() - before
    rnn.backward(tape, grad_last=last)
    (most,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    print(held, int(most) / 1024 - before)


def memory(arguments: argparse.Namespace, hidden: int, *, recompute: bool) -> tuple[float, float]:
    """The same from another process."""
    sizes = [f"-{name}{getattr(arguments, name)}" for name in "TBI"]
    command = [sys.executable, __file__, *sizes, f"-H{hidden}", "--memory", *(["--recompute"] if recompute else [])]
    held, most = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(held), float(most)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-T", type=int, default=10_000, help="steps")
    parser.add_argument("-B", type=int, default=16, help="rows")
    parser.add_argument("-I", type=int, default=0, help="input size; 0 for the hidden size")
    parser.add_argument("-H", type=int, nargs="+", default=[64, 128, 256], help="hidden sizes")
    parser.add_argument("--steps", type=int, default=5, help="training steps of each kind, of which there is a median")
    parser.add_argument("--memory", action="store_true", help="print memory of one step alone")
    parser.add_argument("--recompute", action="store_true", help="that of a step with recompute=True")
    chosen = parser.parse_args()
    if chosen.memory:
        print_memory(chosen)
        return
    print("| H | recompute | ms | of the whole tape's | tape, MiB | most of a step, MiB |\n|---|---|---|---|---|---|")
    for hidden in chosen.H:
        rnn, x = make(chosen, hidden)
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(chosen.steps):
            found = {}
            for recompute, seconds in times.items():
                start = time.perf_counter()
                found[recompute] = step(rnn, x, recompute=recompute)
                seconds.append(1e3 * (time.perf_counter() - start))
            np.testing.assert_array_equal(found[True].x, found[False].x)
        whole = statistics.median(times[False])
        for recompute, values in times.items():
            milliseconds, (held, most) = statistics.median(values), memory(chosen, hidden, recompute=recompute)
            print(
                f"| {hidden} | {'yes' if recompute else 'no'} | {milliseconds:.0f} | {milliseconds / whole:.2f} "
                f"| {held:.0f} | {most:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
