"""Pictures of a comparison: loss over the time to train, and over the time to predict."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes

from ..bench.plots import scales
from ..bench.plots.panel import Panel
from ..bench.plots.theme import Theme
from .outcome import Outcome


def panels(task: str, guess: float, found: Sequence[Outcome]) -> list[Panel]:
    """Both pictures."""
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
    colours = _colours(theme, found)
    for one in found:
        colour, x = colours[one.choice.cell], 1e3 * one.predict_seconds
        axes.plot(x, one.loss, "o", color=colour, markerfacecolor=colour if one.is_front else "none")
        if one.is_front:
            text = f"H={one.choice.hidden_size}, {one.choice.rate:g}"
            axes.annotate(text, (x, one.loss), (4, 3), textcoords="offset points", color=theme.ink, size=8)
    axes.axhline(guess, color=theme.faint, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(*scales.limits([1e3 * one.predict_seconds for one in found]))
    axes.set(xlabel="milliseconds a sequence", ylabel="held-out loss (dashed: a guess)")
    scales.logarithmic(axes.xaxis)
    scales.grid(axes)
