"""How time or throughput changes with T, B and H."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes

from ..result import Result
from ..workload import Workload
from . import PlotError, scales
from .labels import SHORT, common, grouped
from .panel import Panel
from .theme import Theme, marker

AXES = {"steps": "T", "batch": "B", "hidden_size": "H"}
NAMES = {"steps": "T, time steps", "batch": "B, sequences together", "hidden_size": "H, hidden size"}


def panels(results: Sequence[Result]) -> list[Panel]:
    """A picture for each cell, mode and size that varies; of other sizes, those with most values, then the largest."""
    fields = [name for name in SHORT if name not in ("steps", "batch", "input_size", "hidden_size")]
    drawn = []
    for workloads in grouped([result.workload for result in results], fields):
        for axis in AXES:
            lines = [line for line in _lines(workloads, axis) if len({getattr(w, axis) for w in line}) > 1]
            if lines:
                chosen = max(lines, key=lambda line: (len(line), sum(w.steps * w.batch * w.hidden_size for w in line)))
                drawn.append(_panel(axis, chosen, len(lines), results))
    if not drawn:
        raise PlotError("scaling takes several values of T, B or H with the rest the same: rnncore bench -H 64,128")
    return drawn


def _lines(workloads: Sequence[Workload], axis: str) -> list[list[Workload]]:
    """Workloads that differ in one size alone; along H, I is H or stays as it is."""

    def rest(workload: Workload) -> tuple[int, ...]:
        inputs = 0 if axis == "hidden_size" and workload.input_size == workload.hidden_size else workload.input_size
        return inputs, *(getattr(workload, other) for other in AXES if other != axis)

    lines: dict[tuple[int, ...], list[Workload]] = {}
    for workload in workloads:
        lines.setdefault(rest(workload), []).append(workload)
    return list(lines.values())


def _panel(axis: str, line: Sequence[Workload], count: int, results: Sequence[Result]) -> Panel:
    rows = [result for result in results if result.workload in line]
    first = line[0]
    others = f"; largest of {count}" if count > 1 else ""
    return Panel(
        title=f"{first.cell} {first.mode} over {AXES[axis]}",
        detail=common(line, without=("cell", "mode")) + others,
        draw=lambda axes, theme: _draw(axes, theme, axis, rows),
        contenders=tuple(dict.fromkeys(row.contender for row in rows)),
        key="line",
    )


def _draw(axes: Axes, theme: Theme, axis: str, rows: Sequence[Result]) -> None:
    figure: Callable[[Result, float], float]
    if axis == "batch":
        name, figure = "sequences per second", _sequences_per_second
    else:
        name, figure = "µs per step", _step_microseconds
    shown: list[float] = []
    for contender in dict.fromkeys(row.contender for row in rows):
        own = sorted((r for r in rows if r.contender == contender), key=lambda row: getattr(row.workload, axis))
        sizes = [getattr(row.workload, axis) for row in own]
        middle = [figure(row, row.seconds) for row in own]
        ends = [sorted(figure(row, seconds) for seconds in _quartiles(row)) for row in own]
        colour = theme.contender(contender)
        axes.plot(sizes, middle, color=colour, marker=marker(contender), label=contender)
        axes.vlines(sizes, [low for low, _ in ends], [high for _, high in ends], color=colour, linewidth=1)
        shown += middle
        shown += [end for pair in ends for end in pair]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(*scales.limits(shown))
    scales.at_values(axes.xaxis, sorted({getattr(row.workload, axis) for row in rows}))
    scales.logarithmic(axes.yaxis)
    scales.grid(axes)
    axes.set(xlabel=NAMES[axis], ylabel=name)


def _quartiles(row: Result) -> tuple[float, float]:
    if len(row.samples) < 2:
        return row.seconds, row.seconds
    low, _, high = statistics.quantiles(row.samples, n=4, method="inclusive")
    return low, high


def _sequences_per_second(row: Result, seconds: float) -> float:
    return row.workload.batch / seconds


def _step_microseconds(row: Result, seconds: float) -> float:
    return seconds / row.workload.steps * 1e6
