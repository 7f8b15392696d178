"""Pictures of a comparison: loss over the time to train, and over the time to predict."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes

from ..bench.plots import scales
from ..bench.plots.panel import HEIGHT, LEGEND_LINE, Panel
from ..bench.plots.theme import Theme
from .outcome import Outcome

MARKERS = "os^DvPX*<>dph8H"
"""Each choice that no other beats has its own, as points often lie where names of them would overlap."""
LONGEST_NAME = 20
"""Characters of a name in the legend below a picture that leave room for a second beside it."""


def panels(task: str, guess: float, found: Sequence[Outcome]) -> list[Panel]:
    """Both pictures."""
    front = _names(found)
    lines = math.ceil(len(front) / _columns(front))
    return [
        Panel(
            "Loss over time to train",
            f"{task}: held out, best so far, mean over seeds; thick: no other is better in all",
            lambda axes, theme: _learning(axes, theme, found, guess),
        ),
        Panel(
            "Loss over time to predict",
            f"{task}: one sequence; filled: no other is better in all",
            lambda axes, theme: _prediction(axes, theme, found, guess),
            height=HEIGHT + LEGEND_LINE * lines,
        ),
    ]


def _colours(theme: Theme, found: Sequence[Outcome]) -> dict[str, str]:
    cells = dict.fromkeys(one.choice.cell for one in found)
    palette = list(theme.contenders.values())
    return {cell: palette[number % len(palette)] for number, cell in enumerate(cells)}


def _learning(axes: Axes, theme: Theme, found: Sequence[Outcome], guess: float) -> None:
    colours, named = _colours(theme, found), set()
    for one in found:
        turns = zip(*(trial.points for trial in one.trials), strict=False)
        seconds, losses, best = [], [], float("inf")
        for points in turns:
            best = min(best, statistics.mean(point.loss for point in points))
            seconds.append(statistics.mean(point.seconds for point in points))
            losses.append(best)
        cell = one.choice.cell
        label = None if cell in named else cell
        named.add(cell)
        width = 2.0 if one.is_front else 0.8
        axes.plot(seconds, losses, color=colours[cell], linewidth=width, marker=".", label=label)
    axes.axhline(guess, color=theme.faint, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set(xlabel="seconds of training", ylabel="held-out loss (dashed: a guess)")
    axes.legend()
    scales.logarithmic(axes.xaxis)
    scales.grid(axes)


def _prediction(axes: Axes, theme: Theme, found: Sequence[Outcome], guess: float) -> None:
    colours, names = _colours(theme, found), _names(found)
    for one in found:
        colour, x = colours[one.choice.cell], 1e3 * one.predict_seconds
        if not one.is_front:
            axes.plot(x, one.loss, "o", color=colour, markerfacecolor="none")
    front, markers = (one for one in found if one.is_front), itertools.cycle(MARKERS)
    for one, name, marker in zip(front, names, markers, strict=False):
        x = 1e3 * one.predict_seconds
        axes.plot(x, one.loss, marker, color=colours[one.choice.cell], label=name)
    axes.figure.legend(loc="outside lower center", ncols=_columns(names), columnspacing=1.2, handletextpad=0.4)
    axes.axhline(guess, color=theme.faint, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(*scales.limits([1e3 * one.predict_seconds for one in found]))
    axes.set(xlabel="milliseconds a sequence", ylabel="held-out loss (dashed: a guess)")
    scales.logarithmic(axes.xaxis)
    scales.grid(axes)


def _names(found: Sequence[Outcome]) -> list[str]:
    """The choices that no other beats in all; with the precision of products where choices differ in it."""
    differ = len({one.choice.compute for one in found}) > 1
    front = [one.choice for one in found if one.is_front]
    return [f"{one.cell} H={one.hidden_size}, {one.rate:g}" + f", {one.compute}" * differ for one in front]


def _columns(names: Sequence[str]) -> int:
    """Names on a line of the legend."""
    return 2 if len(max(names, key=len, default="")) <= LONGEST_NAME else 1
