"""The tables of `precision.md`, from runs of `rnncore bench -o json`: `python docs/precision_table.py RUN.json ...`.

Each mode has a table. Each size is compared within one run; the errors are the largest of all.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from front_page import is_plain

from rnncore.bench.record import load
from rnncore.bench.result import Result
from rnncore.bench.table import rounded


def table(results: Sequence[Result]) -> str:
    """Milliseconds of a call in Markdown, a line for each size and a column for each contender and precision."""
    rows = [row for row in results if row.samples]
    heads = list(dict.fromkeys(map(_head, sorted(rows, key=lambda row: (row.is_peer, row.contender)))))
    sizes = list(dict.fromkeys(_size(row) for row in rows))
    times = {(_size(row), _head(row)): rounded(row.call_milliseconds) for row in rows}
    lines = [["T", "B", "I", "H", *heads]]
    lines.append(["--:"] * len(lines[0]))
    lines += [[*map(str, size), *(times.get((size, head), "-") for head in heads)] for size in sizes]
    errors = [max(row.error or 0.0 for row in rows if _head(row) == head) for head in heads]
    lines.append(["error", "", "", "", *(f"{error:.0e}" for error in errors)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _head(row: Result) -> str:
    """A peer's name, which says its precision, or ours and the precision."""
    return row.contender if row.is_peer else f"{row.contender} {row.workload.products}"


def _size(row: Result) -> tuple[int, int, int, int]:
    w = row.workload
    return w.steps, w.batch, w.input_size, w.hidden_size


if __name__ == "__main__":
    found = [row for path in sys.argv[1:] for row in load(path).results if is_plain(row.workload)]
    for mode in dict.fromkeys(row.workload.mode for row in found):
        print(f"{mode}\n\n{table([row for row in found if row.workload.mode == mode])}\n")
