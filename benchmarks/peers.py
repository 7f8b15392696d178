"""rnncore against PyTorch, ONNX Runtime and OpenVINO, those that are installed: `python benchmarks/peers.py`.

The tables of docs/performance.md. Inference is compared with the fastest of them, training and steps with PyTorch.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Iterable, Sequence

from rnncore.bench import compare, measure, report
from rnncore.bench.measure import Result
from rnncore.bench.peers import installed_peers
from rnncore.bench.workload import MODES, Workload
from rnncore.registry import resolve

CELLS = ("lstm", "gru", "rnn")
GRID = (
    *((1, 100, 64, 64), (1, 100, 256, 256), (1, 100, 512, 512), (1, 100, 1024, 1024)),
    *((16, 100, 128, 128), (32, 100, 256, 256), (64, 100, 512, 512), (32, 50, 1024, 1024), (128, 100, 128, 128)),
    *((64, 500, 64, 64), (3, 37, 50, 50), (7, 100, 200, 200), (33, 64, 96, 96), (32, 100, 40, 200)),
)
"""(B, T, I, H)."""
QUICK_GRID = ((1, 20, 64, 64), (16, 20, 128, 128))
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
    seconds = 0.02 if chosen.quick else chosen.seconds
    print(f"{backend} against {', '.join(peers) or 'nobody: no peer is installed'}; float32\n")

    tables = {
        f"{cell}, {mode}": [
            Workload(cell, mode, steps, batch, inputs, hidden, "float32")
            for batch, steps, inputs, hidden in (QUICK_GRID if chosen.quick else GRID)
        ]
        for cell, mode in itertools.product(chosen.cells, chosen.modes)
    }
    if not chosen.quick:
        tables |= {
            "lstm, training, 2 layers, bidirectional": [
                Workload("lstm", "training", 100, 32, 256, 256, "float32", num_layers=2, bidirectional=True)
            ],
            "lstm, training, ragged": [Workload("lstm", "training", 200, 64, 256, 256, "float32", ragged=True)],
        }
    # Last: a step is reported in its own way.
    tables["lstm, step"] = [Workload("lstm", "step", 1, 1, 128, 128, "float32")]
    contenders = [backend, *peers]
    measured = measure.run(list(itertools.chain(*tables.values())), contenders, seconds, chosen.threads)
    for title, workloads in tables.items():
        show(title, list(itertools.islice(measured, len(workloads) * len(contenders))))
    measured.close()

    lengths = [
        Workload("lstm", "inference", steps, 8, 64, 64, "float32") for steps in LENGTHS[: 1 if chosen.quick else None]
    ]
    show_lengths(measure.run(lengths, [backend], seconds, chosen.threads))


def show(title: str, results: Sequence[Result]) -> None:
    """A table of our rows, with the fastest peer beside each."""
    ours = [result for result in results if not result.is_peer]
    print(f"### {title}\n\n{report.markdown([row(result, results) for result in ours])}\n")
    ratios = [ratio for result in ours if (ratio := compare.versus_best(result, results)) is not None]
    parts = []
    if ratios:
        parts += [f"ratio: minimum {min(ratios):.2f}, geometric mean {statistics.geometric_mean(ratios):.2f}"]
    large = [result for result in ours if result.workload.batch >= 16 and result.workload.hidden_size >= 128]
    shares = [share(result) for result in large if result.timing]
    if shares:
        parts += [f"{limit(results)}: minimum {report.percent(min(shares))} where B >= 16 and H >= 128"]
    parts += dict.fromkeys(f"{r.contender} WRONG, error {r.error:.0e}" for r in results if r.wrong)
    print("; ".join(parts), end="\n\n", flush=True)


def row(result: Result, results: Sequence[Result]) -> dict[str, str]:
    work, unit = result.workload, ("µs", 1e6) if result.workload.mode == "step" else ("ms", 1e3)
    sizes = {"B": work.batch, "T": work.steps, "I": work.input_size, "H": work.hidden_size}
    best, ratio = compare.best_peer(result, results), compare.versus_best(result, results)

    def shown(of: Result | None) -> str:
        return report.rounded(of.timing.seconds * unit[1]) if of and of.timing else "-"

    return {
        **{name: str(size) for name, size in sizes.items()},
        f"ours, {unit[0]}": shown(result),
        f"best, {unit[0]}": shown(best),
        "best peer": best.contender if best else "-",
        "ratio": f"{ratio:.2f}" if ratio else "-",
        limit(results): report.percent(share(result)) if result.timing else "-",
    }


def limit(results: Sequence[Result]) -> str:
    """What the share is of: multiply-adds, where they are measured."""
    return "of GEMM" if results[0].limits.fma is None else "of FMA"


def share(result: Result) -> float:
    assert result.timing is not None
    return result.timing.flops_per_second / (result.limits.fma or result.limits.gemm)


def show_lengths(results: Iterable[Result]) -> None:
    """Whether the time of a step depends on how many there are."""
    rows = [
        {
            "T": str(result.workload.steps),
            "ours, ms": report.rounded(result.timing.seconds * 1e3),
            "µs/step": report.rounded(result.timing.step_microseconds),
        }
        for result in results
        if result.timing
    ]
    print(f"### lstm, inference, B = 8, I = H = 64, by length\n\n{report.markdown(rows)}")


if __name__ == "__main__":
    main()
