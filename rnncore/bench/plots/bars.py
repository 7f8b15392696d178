"""Every contender beside the best peer, at each workload."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ..ratios import best_peer
from ..result import Result
from ..workload import Workload
from . import PlotError, scales
from .labels import common, grouped, varying, words
from .panel import Panel
from .theme import Theme, marker

TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
POWERS = (0.001, 0.01, 0.1, 1, 10, 100, 1000)
MOST_FOR_ALL = 60
"""Highest over lowest ratio from which on there is a tick at the powers of ten alone."""
BAR = 0.125
"""Height of a bar, in inches."""
LEAST_RANGE = 1.5
"""The axis reaches from 1 / 1.5 to 1.5 at least, so that small differences look small."""


def panels(results: Sequence[Result]) -> list[Panel]:
    """A picture for each cell and mode, of speed relative to the fastest peer at the same work."""
    known = [result for result in results if best_peer(result, results) is not None]
    if not known:
        raise PlotError("bars take a peer to compare with: rnncore bench --peer torch,onnxruntime")
    groups = grouped([result.workload for result in known], ("cell", "mode"))
    return [_panel(workloads, [row for row in known if row.workload in workloads]) for workloads in groups]


def _panel(workloads: Sequence[Workload], rows: Sequence[Result]) -> Panel:
    first, contenders = workloads[0], tuple(dict.fromkeys(row.contender for row in rows))
    return Panel(
        title=f"{first.cell} {first.mode}: speed, best peer = 1",
        detail=common(workloads, without=("cell", "mode")),
        draw=lambda axes, theme: _draw(axes, theme, rows, varying(workloads)),
        contenders=contenders,
        height=1.1 + BAR * (len(contenders) + 1) * len(workloads),
        key="bar",
    )


def _draw(axes: Axes, theme: Theme, rows: Sequence[Result], fields: Sequence[str]) -> None:
    workloads = list(dict.fromkeys(row.workload for row in rows))
    contenders = list(dict.fromkeys(row.contender for row in rows))
    pitch, ratios = len(contenders) + 1, []
    for row in rows:
        best = best_peer(row, rows)
        assert best is not None
        ratio = best.seconds / row.seconds
        ratios.append(ratio)
        y = workloads.index(row.workload) * pitch + contenders.index(row.contender)
        # From 1, on a logarithmic axis: twice as fast is as long as half as fast.
        if row is best:
            axes.plot(1, y, color=theme.contender(row.contender), marker=marker(row.contender), markersize=5, zorder=3)
            continue
        axes.barh(y, ratio - 1, left=1, height=0.85, color=theme.contender(row.contender))
        side = 1 if ratio >= 1 else -1
        axes.annotate(
            scales.short(ratio),
            (ratio, y),
            (3 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            color=theme.ink,
            size=8,
        )
    axes.set_xscale("log")
    # Room for the numbers at the bars' ends.
    low, high = min(*ratios, 1 / LEAST_RANGE), max(*ratios, LEAST_RANGE)
    room = (high / low) ** 0.24
    axes.set_xlim(low / room, high * room)
    axes.axvline(1, color=theme.faint, linewidth=1.2)
    ticks = TICKS if high / low < MOST_FOR_ALL else POWERS
    inside = [tick for tick in ticks if low / room <= tick <= high * room]
    axes.xaxis.set_major_locator(FixedLocator(inside))
    axes.xaxis.set_major_formatter(FuncFormatter(scales.plain))
    axes.xaxis.set_minor_locator(NullLocator())
    middle = (len(contenders) - 1) / 2
    names = [words(workload, fields).replace(" H=", "\nH=") for workload in workloads]
    axes.set_yticks([number * pitch + middle for number in range(len(workloads))], names)
    axes.set_ylim(len(workloads) * pitch - 0.5, -1)
    scales.grid(axes)
    axes.grid(False, axis="y")
    axes.set_xlabel("times as fast as the best peer")
