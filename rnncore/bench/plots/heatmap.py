"""Where a backend is fast and where it is not: a field for each size, cell and mode."""

from __future__ import annotations

import bisect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..ratios import has_peers, versus_best
from ..result import Result
from ..table import percent, rounded
from ..workload import Workload
from . import PlotError, scales
from .labels import common, varying, words
from .panel import Panel
from .theme import Theme

RATIO_EDGES = (0.5, 0.8, 0.95, 1.05, 1.25, 2.0)
SHARE_EDGES = (0.25, 0.5, 0.75)
MOST_LEVEL_LABELS = 5
"""Columns with names side by side; more have them upright."""
NAME_WIDTH = 13
"""Letters of a line's name side by side at most."""


@dataclass(frozen=True)
class Scale:
    """The figure of a field: its name, value and text, and the values from which on it has the next colour."""

    name: str
    value: Callable[[Result], float | None]
    text: Callable[[float], str]
    edges: tuple[float, ...]

    def colours(self, theme: Theme) -> tuple[str, ...]:
        """One more than edges: around 1, or from little to much."""
        better = (theme.even, *theme.faster)
        return (*reversed(theme.slower), *better) if self.edges == RATIO_EDGES else better


def panels(results: Sequence[Result]) -> list[Panel]:
    """A picture for each backend: time against the best peer, else share of the roof if all have one, else GFLOP/s."""
    scale = _scale(results)
    drawn = []
    for contender in dict.fromkeys(result.contender for result in results if not result.is_peer):
        rows = [row for row in results if row.contender == contender and scale.value(row) is not None]
        if rows:
            drawn.append(_panel(contender, rows, scale))
    if not drawn:
        raise PlotError("a heat map takes a backend of rnncore's, e.g. rnncore bench --backend numba")
    return drawn


def _scale(results: Sequence[Result]) -> Scale:
    if has_peers(results):
        return Scale("speed, best peer = 1", lambda r: versus_best(r, results), scales.short, RATIO_EDGES)
    if all(result.of_roof for result in results):
        return Scale("share of the roof", lambda result: result.of_roof, percent, SHARE_EDGES)
    rates = [result.flops_per_second / 1e9 for result in results]
    low, high = min(rates), max(rates)
    edges = tuple(low * (high / low) ** (part / 4) for part in (1, 2, 3))
    return Scale("GFLOP/s", lambda result: result.flops_per_second / 1e9, rounded, edges)


def _panel(contender: str, rows: Sequence[Result], scale: Scale) -> Panel:
    workloads = [row.workload for row in rows]
    fields = [name for name in varying(workloads) if name not in ("cell", "mode")]
    lines = list(dict.fromkeys(_name(workload, fields) for workload in workloads))
    pitch = 0.1 + 0.12 * min(3, max(1 + line.count("\n") for line in lines))
    columns = list(dict.fromkeys((workload.cell, workload.mode) for workload in workloads))
    shown = {
        (lines.index(_name(row.workload, fields)), columns.index((row.workload.cell, row.workload.mode))): value
        for row in rows
        if (value := scale.value(row)) is not None
    }
    return Panel(
        title=f"{contender}: {scale.name}",
        detail=common(workloads, without=("cell", "mode")),
        draw=lambda axes, theme: _draw(axes, theme, lines, columns, shown, scale),
        height=1.3 + pitch * len(lines) + 0.5 * (len(columns) > MOST_LEVEL_LABELS),
    )


def _name(workload: Workload, fields: Sequence[str]) -> str:
    return "\n".join(textwrap.wrap(words(workload, fields), NAME_WIDTH))


def _draw(
    axes: Axes,
    theme: Theme,
    lines: Sequence[str],
    columns: Sequence[tuple[str, str]],
    shown: dict[tuple[int, int], float],
    scale: Scale,
) -> None:
    colours = scale.colours(theme)
    upright = len(columns) > MOST_LEVEL_LABELS
    for (line, column), value in shown.items():
        colour = colours[bisect.bisect_right(scale.edges, value)]
        ink = theme.strong_ink if colour in (theme.slower[-1], theme.faster[-1]) else theme.ink
        axes.add_patch(Rectangle((column + 0.03, line + 0.06), 0.94, 0.88, facecolor=colour, edgecolor="none"))
        axes.text(
            column + 0.5,
            line + 0.52,
            scale.text(value),
            ha="center",
            va="center",
            color=ink,
            size=7 if upright else 8.5,
        )
    names = [f"{cell} {mode}" if upright else f"{cell}\n{mode}" for cell, mode in columns]
    axes.set(xlim=(0, len(columns)), ylim=(len(lines), 0))
    axes.set_xticks([column + 0.5 for column in range(len(columns))], names, rotation=90 if upright else 0)
    axes.set_yticks([line + 0.5 for line in range(len(lines))], list(lines))
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
