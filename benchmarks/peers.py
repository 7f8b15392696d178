"""rnncore against PyTorch, ONNX Runtime and OpenVINO, those that are installed: `python benchmarks/peers.py`.

The tables of docs/performance.md. Inference is compared with the fastest of them, training and steps with PyTorch.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Iterable, Sequence

from rnncore.bench import measure, ratios, roofs, table
from rnncore.bench.grid import GRID
from rnncore.bench.measure import Settings
from rnncore.bench.peers import installed_peers
from rnncore.bench.result import Result
from rnncore.bench.workload import MODES, STEPS, Workload
from rnncore.registry import resolve

CELLS = ("lstm", "gru", "rnn")
QUICK_GRID = ((20, 1, 64, 64), (20, 16, 128, 128))
"""(T, B, I, H)."""
LENGTHS = (1_000, 10_000, 100_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="auto", help="of rnncore")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--threads", type=int, help="of each library; all cores if not given")
    parser.add_argument("--seconds", type=float, default=0.4, help="for each library and size (0.4)")
    parser.add_argument("--quick", action="store_true", help="a few small sizes, to see that it runs")
    chosen = parser.parse_args()
    backend, peers = resolve(chosen.backend), installed_peers()
    settings = Settings(repeats=3, min_time=0.02) if chosen.quick else Settings(min_time=chosen.seconds)
    print(f"{backend} against {', '.join(peers) or 'nobody: no peer is installed'}; float32\n")

    tables = {
        f"{cell}, {mode}": [
            Workload(cell, mode, steps, batch, inputs, hidden, "float32", threads=chosen.threads)
            for steps, batch, inputs, hidden in (QUICK_GRID if chosen.quick else GRID)
        ]
        for cell, mode in itertools.product(chosen.cells, chosen.modes)
    }
    if not chosen.quick:
        tables |= {
            "lstm, training, 2 layers, bidirectional": [
                Workload(
                    "lstm", "training", 100, 32, 256, 256, "float32", 2, bidirectional=True, threads=chosen.threads
                )
            ],
            "lstm, training, ragged": [
                Workload("lstm", "training", 200, 64, 256, 256, "float32", ragged=True, threads=chosen.threads)
            ],
        }
    # Last: steps are reported in their own way.
    for mode in STEPS:
        tables[f"lstm, {mode}"] = [Workload("lstm", mode, 1, 1, 128, 128, "float32", threads=chosen.threads)]
    contenders = [backend, *peers]
    measured = measure.run(list(itertools.chain(*tables.values())), contenders, settings)
    for title, workloads in tables.items():
        show(title, roofs.raised(list(itertools.islice(measured, len(workloads) * len(contenders)))))
    measured.close()

    lengths = [
        Workload("lstm", "inference", steps, 8, 64, 64, "float32", threads=chosen.threads)
        for steps in LENGTHS[: 1 if chosen.quick else None]
    ]
    show_lengths(measure.run(lengths, [backend], settings))


def show(title: str, results: Sequence[Result]) -> None:
    """A table of our rows, with the fastest peer beside each."""
    ours = [result for result in results if not result.is_peer]
    print(f"### {title}\n\n{table.markdown([row(result, results) for result in ours])}\n")
    found = [ratio for result in ours if (ratio := ratios.versus_best(result, results)) is not None]
    parts = []
    if found:
        parts += [f"ratio: minimum {min(found):.2f}, geometric mean {statistics.geometric_mean(found):.2f}"]
    large = [result for result in ours if result.workload.batch >= 16 and result.workload.hidden_size >= 128]
    shares = [share(result) for result in large if has_share(result)]
    if shares:
        parts += [f"{limit(results)}: minimum {table.of_limit(min(shares))} where B >= 16 and H >= 128"]
    parts += dict.fromkeys(f"{r.contender} {r.status}: {r.reason}" for r in results if r.status in ("wrong", "failed"))
    print("; ".join(parts), end="\n\n", flush=True)


def row(result: Result, results: Sequence[Result]) -> dict[str, str]:
    work, unit = result.workload, ("µs", 1e6) if result.workload.mode in STEPS else ("ms", 1e3)
    sizes = {"B": work.batch, "T": work.steps, "I": work.input_size, "H": work.hidden_size}
    best, ratio = ratios.best_peer(result, results), ratios.versus_best(result, results)

    def shown(of: Result | None) -> str:
        return table.rounded(of.seconds * unit[1]) if of and of.samples else "-"

    return {
        **{name: str(size) for name, size in sizes.items()},
        f"ours, {unit[0]}": shown(result),
        f"best, {unit[0]}": shown(best),
        "best peer": best.contender if best else "-",
        "ratio": f"{ratio:.2f}" if ratio else "-",
        limit(results): table.of_limit(share(result)) if has_share(result) else "-",
    }


def limit(results: Sequence[Result]) -> str:
    """What the share is of: multiply-adds, where they are measured."""
    return "of FMA" if any(result.limits and result.limits.fma for result in results) else "of GEMM"


def has_share(result: Result) -> bool:
    """Products on tile registers have none: the limit is of vector registers."""
    return bool(result.samples) and not result.on_tile_registers


def share(result: Result) -> float:
    assert result.limits is not None
    return result.flops_per_second / (result.limits.fma or result.limits.gemm)


def show_lengths(results: Iterable[Result]) -> None:
    """Whether the time of a step depends on how many there are."""
    rows = [
        {
            "T": str(result.workload.steps),
            "ours, ms": table.rounded(result.seconds * 1e3),
            "µs/step": table.rounded(result.step_microseconds),
        }
        for result in results
        if result.samples
    ]
    print(f"### lstm, inference, B = 8, I = H = 64, by length\n\n{table.markdown(rows)}")


if __name__ == "__main__":
    main()
