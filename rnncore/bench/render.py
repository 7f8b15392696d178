"""A record as text: Markdown, CSV, JSON, or a line of JSON for each row."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable

from .record import FIGURES, Record, result_to_json, to_json
from .result import Result
from .table import caption, markdown, table
from .workload import Workload


def to_markdown(record: Record) -> str:
    """The table, the options that all rows share, and where it was measured."""
    if not record.results:
        return "nothing was measured\n"
    return "\n\n".join([markdown(table(record.results)), caption(record.results), foot(record)]) + "\n"


def foot(record: Record) -> str:
    """The machine and the command, and possible disturbances."""
    machine = record.environment["machine"]
    lines = [f"{machine['processor']}, {machine['cores']} cores; {machine['blas']}", f"`{record.command}`"]
    lines += [] if record.complete else ["Interrupted: not all rows were measured."]
    return "  \n".join([*lines, *(f"Warning: {warning}." for warning in record.warnings)])


def to_json_text(record: Record) -> str:
    """See `record`."""
    return json.dumps(to_json(record), indent=1) + "\n"


def to_json_line(result: Result) -> str:
    """A row."""
    return json.dumps(result_to_json(result)) + "\n"


def to_json_lines(record: Record) -> str:
    """Rows alone."""
    return "".join(map(to_json_line, record.results))


def to_csv(record: Record) -> str:
    """A line for each row, its samples in the last column with spaces between them."""
    work = [field.name for field in dataclasses.fields(Workload)]
    own = ["contender", "status", "reason", "error", "impl", "first_call", "peak_bytes"]
    counts = ["flops", "bytes", "weight_bytes"]
    limits = ["gemm", "fma", "bandwidth"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*work, *counts, *own, *FIGURES, *limits, "samples"])
    for result in record.results:
        figures = [getattr(result, of) for of in FIGURES.values()] if result.samples else [None] * len(FIGURES)
        writer.writerow(
            [
                *(getattr(result.workload, name) for name in work),
                *(getattr(result.counts, name, None) for name in counts),
                *(getattr(result, name) for name in own),
                *figures,
                *(getattr(result.limits, name, None) for name in limits),
                " ".join(map(repr, result.samples)),
            ]
        )
    return text.getvalue()


def to_html(record: Record) -> str:
    """A page of its own, see `page`."""
    # Here, as it loads matplotlib.
    from .page import page

    return page(record)


FORMATS: dict[str, Callable[[Record], str]] = {
    "md": to_markdown,
    "csv": to_csv,
    "json": to_json_text,
    "jsonl": to_json_lines,
    "html": to_html,
}
