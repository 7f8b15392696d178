"""Results as rows of text: the columns, and how figures are rounded."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .peers import on_gpu
from .ratios import geometric_means, has_peers, versus_best, versus_reference
from .result import Result
from .workload import Workload

TEXT_COLUMNS = ("shape", "cell", "mode", "dtype", "precision", "compute", "more", "backend", "impl", "best peer")
"""Aligned to the left."""
OPTION_COLUMNS = ("dtype", "precision", "layers", "directions", "ragged", "threads")
"""Options that have a column where rows differ in them."""

WIDE = {"ms/call", "p90, ms", "seq/s", "GFLOP/s", "GB/s", "peak, MiB", "first call, s", "impl"}
"""Columns for those who ask for them; `vs numpy` is another where there are peers."""

FITS = "fits"
"""The column that says whether a call is within a budget."""

ERROR = "error"
"""The column of what a precision costs: for those who ask for it where all rows have the same precision."""
EXACT = {"IQR", "of roof"}
"""Columns that make room for it where rows differ in their precision."""

UNBUDGETED = {"µs/step", "IQR", "of roof"}
"""Columns that make room for milliseconds a call where there is a budget."""

NAMES = {"measured": "", "wrong": "WRONG", "absent": "absent", "failed": "FAILED"}
"""Words in the place of a time."""

NOISY, NOISY_ROOF = "noisy", "more than the limits, which were measured while something else used the machine"
"""In place of a share above 100 %, and why."""


def table(results: Sequence[Result], budget: float | None = None) -> list[dict[str, str]]:
    """The rows by column. A column that says the same everywhere (dtype, I = H) is left to `caption`.

    With a budget, seconds of a call, a column says whether a row is within it.
    """
    rows = [_row(result, results) for result in results]
    if budget is not None:
        rows = [row | {FITS: "yes" if result.fits(budget) else "no"} for row, result in zip(rows, results, strict=True)]
    return rows


def narrowed(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The rows with the columns that fit 80 characters: the workload, its time, and how good that is."""
    hidden = WIDE | ({"vs numpy"} if "vs best" in rows[0] else set())
    hidden |= EXACT if "precision" in rows[0] else {ERROR}
    if FITS in rows[0]:
        hidden = (hidden | UNBUDGETED) - {"ms/call", "p90, ms"}
    return [{name: cell for name, cell in row.items() if name not in hidden} for row in rows]


def caption(results: Sequence[Result]) -> str:
    """The options that all rows share."""
    errors = [result.error for result in results if result.error is not None]
    limits = [result.limits for result in results if result.limits is not None]
    gemm, fma, bandwidth = (
        [rate for one in limits if (rate := getattr(one, name)) is not None] for name in ("gemm", "fma", "bandwidth")
    )
    means = [f"{mean:.2f} ({', '.join(group)})" for group, mean in geometric_means(results).items()]
    threads = sorted({str(result.workload.threads) for result in results if result.workload.threads})
    workloads = [result.workload for result in results]
    dtypes, both = {w.dtype for w in workloads}, {w.bidirectional for w in workloads}
    precisions = {w.precision for w in workloads}
    if len(precisions) > 1:
        largest, rivals = "error: the largest against float64", "the fastest peer that is no less precise"
    else:
        largest = f"largest error against float64 {max(errors):.1e}" if errors else ""
        rivals = "the fastest peer"
    parts = [
        *(dtypes if len(dtypes) == 1 else []),
        *([f"products in {precision}" for precision in precisions if precision and len(precisions) == 1]),
        *([] if _has_input_column(workloads) else ["I = H"]),
        *([f"threads {threads[0]}"] if len(threads) == 1 else []),
        *(["bidirectional"] if both == {True} else []),
        *(["ragged: rows of 1 to T steps"] if any(w.ragged for w in workloads) else []),
        *([largest] if errors else []),
        *([f"numpy.matmul{_on_gpu(results)} {_range(gemm, 1e9, 'GFLOP/s')}"] if gemm else []),
        *([f"multiply-adds in registers {_range(fma, 1e9, 'GFLOP/s')}"] if fma else []),
        *([f"reading the recurrent weights {_range(bandwidth, 1e9, 'GB/s')}"] if bandwidth else []),
        *(["of roof: the least time by these limits over the time taken"] if limits else []),
        *([f"{NOISY}: {NOISY_ROOF}"] if any(result.has_noisy_roof for result in results) else []),
        *([f"vs best: time of {rivals} over ours, geometric mean {', '.join(means)}"] if means else []),
        *dict.fromkeys(f"{result.contender}: {result.reason}" for result in results if result.reason),
    ]
    return "; ".join(parts)


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
    work = work_cells(result.workload, [other.workload for other in results])
    return work | {"backend": result.contender} | _figures(result, results)


def work_cells(w: Workload, workloads: Sequence[Workload]) -> dict[str, str]:
    """The options that distinguish a workload from the others of a table, by column."""
    shown = {
        "dtype": w.dtype,
        "precision": w.products,
        "layers": str(w.num_layers),
        "directions": "2" if w.bidirectional else "1",
        "ragged": "yes" if w.ragged else "no",
        "threads": str(w.threads),
        "more": ", ".join(w.extras) or "-",
        "T": str(w.steps),
        "B": str(w.batch),
        "I": str(w.input_size),
        "H": str(w.hidden_size),
    }
    fields = ("dtype", "precision", "num_layers", "bidirectional", "ragged", "threads", "extras")
    same = {
        column
        for column, field in zip((*OPTION_COLUMNS, "more"), fields, strict=True)
        if len({str(getattr(other, field)) for other in workloads}) == 1
        and not (column == "layers" and w.num_layers > 1)
        and not (column == "more" and w.extras)
    }
    hidden = same if _has_input_column(workloads) else {*same, "I"}
    named = {"shape": w.shape or "-"} if any(other.shape for other in workloads) else {}
    return (
        named | {"cell": w.cell, "mode": w.mode} | {name: value for name, value in shown.items() if name not in hidden}
    )


def _figures(result: Result, results: Sequence[Result]) -> dict[str, str]:
    figures = dict.fromkeys(_figure_columns(results), "-")
    if result.impl:
        figures["impl"] = result.impl
    if result.first_call is not None:
        figures["first call, s"] = rounded(result.first_call)
    if result.error is not None:
        figures[ERROR] = f"{result.error:.1e}"
    if result.peak_bytes is not None:
        figures["peak, MiB"] = f"{result.peak_bytes / 2**20:.1f}"
    if not result.samples:
        return figures | {"µs/step": NAMES[result.status]}
    figures |= {
        "µs/step": rounded(result.step_microseconds),
        "ms/call": rounded(result.call_milliseconds),
        "p90, ms": rounded(result.p90_milliseconds),
        "IQR": percent(result.spread),
        "seq/s": rounded(result.sequences_per_second),
        "GFLOP/s": rounded(result.flops_per_second / 1e9),
        "GB/s": rounded(result.bytes_per_second / 1e9),
        "of roof": NOISY if result.has_noisy_roof else percent(result.of_roof) if result.of_roof else "-",
    }
    if result.p99_microseconds is not None:
        figures["p99, µs"] = rounded(result.p99_microseconds)
    for name, ratio in (("vs numpy", versus_reference(result, results)), ("vs best", versus_best(result, results))):
        if ratio is not None and name in figures:
            figures[name] = f"{ratio:.2f}"
    return figures


def _figure_columns(results: Sequence[Result]) -> list[str]:
    return [
        *("µs/step", "ms/call", "p90, ms"),
        *(["p99, µs"] if any(result.tails for result in results) else []),
        *("IQR", "seq/s", "GFLOP/s", "GB/s", "of roof"),
        *(["vs numpy"] if any(versus_reference(result, results) for result in results) else []),
        *(["vs best"] if has_peers(results) else []),
        *([ERROR] if any(result.error is not None for result in results) else []),
        *("peak, MiB", "first call, s", "impl"),
    ]


def _has_input_column(workloads: Sequence[Workload]) -> bool:
    return any(workload.input_size != workload.hidden_size for workload in workloads)


def _on_gpu(results: Sequence[Result]) -> str:
    return " (GPU: cuBLAS)" if any(on_gpu(result.contender) for result in results) else ""


def _range(rates: Sequence[float], unit: float, name: str) -> str:
    low, high = f"{min(rates) / unit:.0f}", f"{max(rates) / unit:.0f}"
    return f"{low} {name}" if low == high else f"{low} to {high} {name}"


def percent(share: float) -> str:
    """A share."""
    return f"{100 * share:.0f} %"


def rounded(value: float) -> str:
    """A number above 0: three significant digits or all before the point, no exponent."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def format_bytes(count: float) -> str:
    """A number of bytes with a unit."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"
