"""Tables for people: as wide as the terminal, in several parts where it is narrow, and no column cut off."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TextIO

from ..bench.record import Record
from ..bench.render import foot
from ..bench.table import FITS, NAMES, TEXT_COLUMNS, caption, markdown, narrowed, table
from ..bench.verdict import ABOUT_EVEN, following, verdict

NUMBER = "#"
"""The column that tells which row a line belongs to, where a table has several parts."""
RATIOS = ("vs numpy", "vs best", "speed-up")
"""Columns of ratios that are better above 1."""
BETTER, WORSE = "green", "red"
GAP = 2
"""Spaces between columns: one that the box draws, and one of padding."""


def show(record: Record, stream: TextIO, wide: bool = False, budget: float | None = None) -> None:
    """Print the table of a record, with all columns if `wide`, its caption, where it was measured, and a verdict."""
    if not record.results:
        print("nothing was measured", file=stream)
        return
    rows = table(record.results, budget)
    show_rows(rows if wide else narrowed(rows), stream)
    print(textwrap.fill(caption(record.results), shutil.get_terminal_size().columns), file=stream)
    print(foot(record), file=stream)
    for line in verdict(record.results, budget):
        print(textwrap.fill(line, shutil.get_terminal_size().columns, break_on_hyphens=False), file=stream)
    print("Next:", *(f"  {command}" for command in following(record.results, budget)), sep="\n", file=stream)


def print_rows(rows: Sequence[dict[str, str]]) -> None:
    """Print rows as a table on a terminal, and as Markdown elsewhere."""
    if sys.stdout.isatty():
        show_rows(rows, sys.stdout)
    else:
        print(markdown(rows), end="\n\n")


def show_rows(rows: Sequence[dict[str, str]], stream: TextIO) -> None:
    """Print rows as a table."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream)
    for part in parts(rows, console.width):
        shown = Table(box=SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0), pad_edge=False)
        for name in part:
            shown.add_column(Text(name), justify="left" if name in TEXT_COLUMNS else "right", overflow="fold")
        for number, cells in enumerate(rows, 1):
            shown.add_row(
                *(
                    Text(str(number)) if name == NUMBER else Text(cells[name], _style(name, cells[name]))
                    for name in part
                )
            )
        console.print(shown)


def _style(name: str, text: str) -> str:
    """The colour of a cell; rich leaves colours out where NO_COLOR is set, and where nobody sees them."""
    if text in (NAMES["wrong"], NAMES["failed"]):
        return WORSE
    if name == FITS:
        return BETTER if text == "yes" else WORSE
    if name not in RATIOS:
        return ""
    try:
        ratio = float(text)
    except ValueError:
        return ""
    return BETTER if ratio > ABOUT_EVEN else WORSE if ratio < 1 / ABOUT_EVEN else ""


def parts(rows: Sequence[dict[str, str]], width: int) -> Iterator[list[str]]:
    """Names of the columns of each part: all of them, or with row numbers as many as fit side by side."""
    # SIMPLE_HEAD draws a space at each end.
    room = width - 2
    widths = {name: GAP + max(len(name), *(len(cells[name]) for cells in rows)) for name in rows[0]}
    if sum(widths.values()) <= room:
        yield list(widths)
        return
    room -= GAP + len(str(len(rows)))
    part: list[str] = []
    for name, needed in widths.items():
        if part and sum(widths[other] for other in part) + needed > room:
            yield [NUMBER, *part]
            part = []
        part.append(name)
    yield [NUMBER, *part]
