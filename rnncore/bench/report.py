"""Results as a table: rich in a terminal, Markdown anywhere else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TextIO

from .compare import geometric_means, has_peers, versus_best
from .measure import GPU, Result

TEXT_COLUMNS = ("cell", "mode", "dtype", "backend", "best peer")


def table(results: Sequence[Result]) -> list[dict[str, str]]:
    """The rows by column. A column that says the same everywhere (dtype, I = H) is left to `caption`."""
    return [_row(result, results) for result in results]


def caption(results: Sequence[Result]) -> str:
    """What holds for all rows."""
    errors = [result.error for result in results if result.error is not None]
    fma = [result.limits.fma for result in results if result.limits.fma is not None]
    means = [f"{mean:.2f} ({backend}, {mode})" for (backend, mode), mean in geometric_means(results).items()]
    parts = [
        *(sorted(_dtypes(results)) if len(_dtypes(results)) == 1 else []),
        *([] if _has_input_column(results) else ["I = H"]),
        *(["bidirectional"] if any(result.workload.bidirectional for result in results) else []),
        *(["ragged: rows of 1 to T steps"] if any(result.workload.ragged for result in results) else []),
        *([f"largest error against float64 {max(errors):.1e}"] if errors else []),
        f"of GEMM: share of {_products(results)} in the same run, {_range([r.limits.gemm for r in results])}",
        *([f"of FMA: share of what the processor's multiply-adds reach in registers, {_range(fma)}"] if fma else []),
        *([f"vs best: time of the fastest peer over ours, geometric mean {', '.join(means)}"] if means else []),
        *dict.fromkeys(f"{result.contender}: {result.absent}" for result in results if result.absent),
    ]
    return "; ".join(parts)


def write(results: Sequence[Result], stream: TextIO) -> None:
    """Print table and caption to `stream`."""
    rows = table(results)
    if stream.isatty():
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in rows[0]:
            shown.add_column(name, justify="left" if name in TEXT_COLUMNS else "right", overflow="fold")
        for cells in rows:
            shown.add_row(*cells.values())
        Console(file=stream).print(shown)
    else:
        print(markdown(rows), end="\n\n", file=stream)
    print(caption(results), file=stream)


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """The rows as a Markdown table with aligned source."""
    widths = {name: max(len(name), *(len(cells[name]) for cells in rows)) for name in rows[0]}

    def line(cells: dict[str, str]) -> str:
        padded = (
            cells[name].ljust(width) if name in TEXT_COLUMNS else cells[name].rjust(width)
            for name, width in widths.items()
        )
        return f"| {' | '.join(padded)} |"

    rule = ("-" * (width + 2) if name in TEXT_COLUMNS else "-" * (width + 1) + ":" for name, width in widths.items())
    return "\n".join([line({name: name for name in widths}), f"|{'|'.join(rule)}|", *map(line, rows)])


def _row(result: Result, results: Sequence[Result]) -> dict[str, str]:
    w = result.workload
    cells = {"cell": w.cell, "mode": w.mode}
    if len(_dtypes(results)) > 1:
        cells["dtype"] = w.dtype
    if any(other.workload.num_layers > 1 for other in results):
        cells["layers"] = str(w.num_layers)
    cells |= {"T": str(w.steps), "B": str(w.batch)}
    if _has_input_column(results):
        cells["I"] = str(w.input_size)
    cells |= {"H": str(w.hidden_size), "backend": result.contender}
    figures = dict.fromkeys(_figure_columns(results), "-")
    if result.timing is None:
        if result.error is None:
            return cells | figures | {"µs/step": "absent"}
        return cells | figures | {"µs/step": "WRONG", "of GEMM": f"error {result.error:.0e}"}
    rate = result.timing.flops_per_second
    figures |= {
        "µs/step": rounded(result.timing.step_microseconds),
        "seq/s": rounded(result.timing.sequences_per_second),
        "GFLOP/s": rounded(rate / 1e9),
        "of GEMM": percent(rate / result.limits.gemm),
    }
    if result.limits.fma is not None:
        figures["of FMA"] = percent(rate / result.limits.fma)
    ratio = versus_best(result, results)
    if ratio is not None:
        figures["vs best"] = f"{ratio:.2f}"
    return cells | figures


def _figure_columns(results: Sequence[Result]) -> list[str]:
    return [
        *("µs/step", "seq/s", "GFLOP/s", "of GEMM"),
        *(["of FMA"] if any(result.limits.fma is not None for result in results) else []),
        *(["vs best"] if has_peers(results) else []),
    ]


def _dtypes(results: Sequence[Result]) -> set[str]:
    return {result.workload.dtype for result in results}


def _has_input_column(results: Sequence[Result]) -> bool:
    return any(result.workload.input_size != result.workload.hidden_size for result in results)


def _products(results: Sequence[Result]) -> str:
    return "numpy.matmul" + (" (cuda: of cuBLAS)" if any(result.contender == GPU for result in results) else "")


def _range(rates: Sequence[float]) -> str:
    return f"{min(rates) / 1e9:.0f} to {max(rates) / 1e9:.0f} GFLOP/s"


def percent(share: float) -> str:
    """A share of a limit."""
    return f"{100 * share:.0f} %"


def rounded(value: float) -> str:
    """A number above 0: three significant digits or all before the point, no exponent."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"
