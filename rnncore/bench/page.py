"""A record as a page: one HTML file with its plots, a table that sorts, the machine and the command. It loads nothing.

The record may come from anybody, so all of its text is escaped, and the page runs no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import string
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import plots
from .ratios import geometric_means
from .record import Record, to_json
from .table import TEXT_COLUMNS, caption, narrowed, table
from .verdict import verdict

TITLES = {
    "roofline": "Roofline",
    "scaling": "Scaling",
    "heatmap": "Heat map",
    "bars": "Against the best peer",
}
NOTES = {
    "roofline": "Each point is a row of the table. The roofs are the best that was seen of the machine: multiply-adds "
    "in registers, a large matrix product of NumPy's, and reading as many bytes as the recurrent weights have. A "
    "hollow point did more, so its roof was measured while something else used the machine.",
    "scaling": "Medians; the thin lines span the middle half of the samples.",
    "heatmap": "A field for each size, cell and mode.",
    "bars": "Time of the fastest peer that is no less precise, marked at 1, over that of each backend and peer at the "
    "same work.",
}
COLUMNS = (
    "µs/step: median time of one of the T steps, for the whole batch. IQR: interquartile range of the samples over "
    "their median. seq/s: sequences per second. GFLOP/s: of the matrix products alone. GB/s: of what has to be read "
    "and written at least. error: the largest against float64, relative to the largest magnitude of each result."
)
NUMBER = re.compile(r"-?\d+(\.\d+)?")
BAD = ("WRONG", "FAILED")


def page(record: Record) -> str:
    """The page."""
    script = _file("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sections = list(_sections(record))
    links = [*sections, ("table", "Table", ""), ("machine", "Machine and command", "")]
    return string.Template(_file("page.html")).substitute(
        title=html.escape(f"rnncore bench, {record.created[:10]}"),
        script=script,
        script_hash=f"sha256-{digest}",
        style=_file("page.css") + _dark_plots(),
        summary="".join(f"<p>{html.escape(line)}</p>" for line in _summary(record)),
        contents="".join(f'<a href="#{name}">{title}</a>' for name, title, _ in links),
        plots="\n".join(content for *_, content in sections),
        table=_table(table(record.results)) if record.results else "<p>Nothing was measured.</p>",
        columns=html.escape(COLUMNS if record.results else ""),
        caption=html.escape(caption(record.results)),
        warnings=_warnings(record),
        command=html.escape(record.command),
        facts="\n".join(_facts(record)),
        record=json.dumps(to_json(record)).replace("<", "\\u003c"),
    )


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _dark_plots() -> str:
    if not plots.available():
        return ""
    from .plots.theme import dark_rules

    return dark_rules()


def _summary(record: Record) -> Iterator[str]:
    """The findings that a reader wants first, a line each."""
    workloads = len({result.workload for result in record.results})
    contenders = ", ".join(dict.fromkeys(result.contender for result in record.results))
    yield f"{workloads} workload{'s' * (workloads != 1)} on {contenders or 'nothing'}"
    means = geometric_means(record.results).items()
    if means:
        spoken = ", ".join(f"{mean:.2f} ({', '.join(group)})" for group, mean in means)
        yield f"Time of the fastest peer over ours, geometric mean: {spoken}"
    yield from verdict(record.results)
    when = record.created.replace("T", " ").replace("+00:00", " UTC")
    yield f"{record.environment['machine'].get('processor', 'unknown processor')}, {when}"


def _sections(record: Record) -> Iterator[tuple[str, str, str]]:
    """Name, title and content of each kind of plot that the rows suffice for."""
    if not any(result.samples for result in record.results):
        return
    if not plots.available():
        yield "plots", "Plots", _section("plots", "Plots", f"There are none: {plots.MISSING}, then measure again.", [])
        return
    from .plots.panel import to_inline_svg

    # The heat map answers first: where is it fast?
    for kind in sorted(plots.KINDS, key=lambda kind: kind != "heatmap"):
        try:
            pictures = [to_inline_svg(panel) for panel in plots.panels(kind, record.results)]
        except plots.PlotError:
            continue
        yield kind, TITLES[kind], _section(kind, TITLES[kind], NOTES[kind], pictures)


def _section(name: str, title: str, note: str, pictures: Sequence[str]) -> str:
    figures = "\n".join(f"<figure>{picture}</figure>" for picture in pictures)
    return f"""<section id="{name}">
<h2>{title}</h2>
<p class="note">{html.escape(note)}</p>
<div class="plots">
{figures}
</div>
</section>"""


def _table(rows: Sequence[dict[str, str]]) -> str:
    """The columns that fit a screen, the others behind a switch."""
    names = list(rows[0])
    keys, shown = names[: names.index("backend") + 1], narrowed(rows)[0]
    kinds = {
        name: ["text"] * (name in TEXT_COLUMNS) + ["key"] * (name in keys) + ["wide"] * (name not in shown)
        for name in names
    }
    heads = "".join(
        f'<th scope="col"{_class(kinds[name])}><button type="button">{html.escape(name)}</button></th>'
        for name in names
    )
    lines = "\n".join(
        f"<tr>{''.join(_cell(name, text, kinds[name]) for name, text in row.items())}</tr>" for row in rows
    )
    return f"""<input type="checkbox" id="all-columns"> <label for="all-columns">All columns</label>
<div class="scroll" role="region" aria-label="Rows" tabindex="0">
<table>
<thead><tr>{heads}</tr></thead>
<tbody>
{lines}
</tbody>
</table>
</div>"""


def _cell(name: str, text: str, kinds: list[str]) -> str:
    """A cell; with its column's name, which stands beside the value where the screen is too narrow for a table."""
    number = NUMBER.match(text)
    value = f' data-number="{number[0]}"' if number and name not in TEXT_COLUMNS else ""
    bad = ["bad"] * (text in BAD)
    return f'<td{_class(bad + kinds)} data-name="{html.escape(name)}"{value}>{html.escape(text)}</td>'


def _class(kinds: list[str]) -> str:
    return f' class="{" ".join(kinds)}"' if kinds else ""


def _warnings(record: Record) -> str:
    lines = [*([] if record.complete else ["Interrupted: not all rows were measured."]), *record.warnings]
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<ul class="warnings" aria-label="Warnings">{items}</ul>' if items else ""


def _facts(record: Record) -> Iterator[str]:
    for section, values in record.environment.items():
        pairs = "".join(
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(format_fact(value))}</dd>" for name, value in values.items()
        )
        yield f"<section><h3>{html.escape(section.capitalize())}</h3><dl>{pairs}</dl></section>"


def format_fact(value: Any) -> str:
    """Text, or a backend's fields."""
    if not isinstance(value, dict):
        return str(value)
    return f"available on {value.get('device')}" if value.get("available") else f"not available: {value.get('reason')}"
