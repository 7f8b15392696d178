"""A measurement in a few sentences: what is fast, how it compares with peers, what fits a budget, what to try next."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace

from .peers import PEERS, missing
from .ratios import best_peer, geometric_means, group_of, has_peers, versus_best, versus_unrounded
from .result import Result
from .table import OPTION_COLUMNS, percent, work_cells
from .workload import Workload

ABOUT_EVEN = 1.05
"""Ratios between this and its inverse are called about as fast."""

USUAL = {"layers": "1", "directions": "1", "ragged": "no"}
"""Options that go without saying, also where other rows have others."""


def verdict(results: Sequence[Result], budget: float | None = None) -> list[str]:
    """The sentences; none where nothing was timed."""
    timed = [result for result in results if result.samples]
    if not timed:
        return []
    return list(_fitting(timed, budget)) if budget else [*_shares(timed), *_rounding(timed), *_against_peers(timed)]


def following(results: Sequence[Result], budget: float | None = None) -> Iterator[str]:
    """The commands to try next, without those that were just run."""
    precisions = {None, *(result.workload.precision for result in results)}
    named = [name for name, peer in PEERS.items() if peer.precision in precisions]
    installed = [name for name in named if name not in ("torch-loop", "cudnn") and not missing(name)]
    if installed and not has_peers(results):
        yield f"rnncore bench --peer {','.join(installed)}"
    if budget is None:
        yield "rnncore bench --budget 5ms"
    yield "rnncore bench -o html=report.html"
    yield "rnncore choose"


def by_budget(results: Sequence[Result], budget: float) -> list[Result]:
    """Those that fit first; of each contender and cell, the largest first."""
    return sorted(
        results,
        key=lambda result: (
            not result.fits(budget),
            result.is_peer,
            result.contender,
            result.workload.mode,
            result.workload.cell,
            -result.workload.hidden_size,
        ),
    )


def format_budget(seconds: float) -> str:
    """`5 ms`, `300 µs`, `2 s`."""
    for unit, name in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= unit:
            return f"{seconds / unit:.4g} {name}"
    return f"{seconds * 1e6:.4g} µs"


def _fitting(timed: Sequence[Result], budget: float) -> Iterator[str]:
    """For each contender and workload the largest hidden size of those measured that fits."""
    groups: dict[tuple[Workload, str], list[Result]] = {}
    for result in timed:
        groups.setdefault((replace(result.workload, hidden_size=1, input_size=1), result.contender), []).append(result)
    for (work, contender), rows in groups.items():
        fitting = [row.workload.hidden_size for row in rows if row.fits(budget)]
        at = f"at B={work.batch}, T={work.steps}, {work.mode}{_options(rows[0], timed)}, on {contender}"
        if fitting:
            yield f"{work.cell} with up to H={max(fitting)} fits in {format_budget(budget)} {at}."
        else:
            least = min(row.workload.hidden_size for row in rows)
            yield f"{work.cell} does not fit in {format_budget(budget)} {at}, not even with H={least}."


def _shares(timed: Sequence[Result]) -> Iterator[str]:
    """The range of each backend's shares of the roof, with the best and the worst row."""
    for contender in dict.fromkeys(result.contender for result in timed if not result.is_peer):
        rows = [row for row in timed if row.contender == contender and row.of_roof is not None]
        if not rows:
            continue
        low, high = (pick(rows, key=lambda row: row.of_roof or 0.0) for pick in (min, max))
        middle = statistics.median(row.of_roof or 0.0 for row in rows)
        reached = f"{contender} reaches {percent(middle)} of what this machine can do at most"
        if len(rows) == 1:
            yield f"{reached}, at {_named(high, timed)}."
        else:
            best, worst = (f"{_named(row, timed)} ({percent(row.of_roof or 0.0)})" for row in (high, low))
            yield f"{reached}, in the median: best at {best}, worst at {worst}."


def _rounding(timed: Sequence[Result]) -> Iterator[str]:
    """What each backend and mode gains by rounded products, and what they cost."""
    ours = [row for row in timed if not row.is_peer]
    for group, mean in geometric_means(ours, versus_unrounded).items():
        rows = [row for row in ours if group_of(row) == group]
        errors = [row.error for row in rows if row.error is not None]
        cost = f", with errors of up to {max(errors):.1e}" if errors else ""
        yield f"{', '.join(group)}: {_times(mean)} in {rows[0].workload.dtype}, in the mean{cost}."


def _against_peers(timed: Sequence[Result]) -> Iterator[str]:
    """How each backend and mode compares with the fastest peer, and where it is slower."""
    for group, mean in geometric_means(timed).items():
        rows = [row for row in timed if group_of(row) == group]
        slower = [row for row in rows if (versus_best(row, timed) or 1) < 1 / ABOUT_EVEN]
        names = dict.fromkeys(peer.contender for row in rows if (peer := best_peer(row, timed)) is not None)
        named = ", ".join(_named(row, timed) for row in slower)
        where = f", slower at {named}" if slower and mean > 1 else ""
        yield f"{', '.join(group)}: {_times(mean)} the fastest of {', '.join(names)}, in the mean{where}."


def _times(ratio: float) -> str:
    if 1 / ABOUT_EVEN < ratio < ABOUT_EVEN:
        return "about as fast as"
    return f"{ratio:.2f} times as fast as" if ratio > 1 else f"{1 / ratio:.2f} times as slow as"


def _named(result: Result, timed: Sequence[Result]) -> str:
    work = result.workload
    return f"{work.cell} {work.mode}, T={work.steps} B={work.batch} H={work.hidden_size}{_options(result, timed)}"


def _options(result: Result, timed: Sequence[Result]) -> str:
    """What else tells the row from others: `, layers 2, every state`."""
    cells = work_cells(result.workload, [other.workload for other in timed])
    unusual = [column for column in OPTION_COLUMNS if cells.get(column) not in (None, USUAL.get(column))]
    named = [f", {column} {cells[column]}" for column in unusual]
    return "".join(named) + (f", {cells['more']}" if cells.get("more", "-") != "-" else "")
