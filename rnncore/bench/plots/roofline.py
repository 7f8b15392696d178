"""Rate over arithmetic intensity, below the machine's limits (Williams, Waterman & Patterson 2009)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.transforms import ScaledTranslation

from ..limits import best
from ..peers import on_gpu
from ..result import Result
from ..table import format_bytes
from . import PlotError, scales
from .labels import common
from .panel import Panel
from .theme import Theme, marker

SLOPE = 5.0
"""How far the roofs of memory reach to the left of where they meet the other, so that they can be seen and named."""

LEGEND = 0.25
"""Height of the legend above the roofs, as a share of the height below it on the logarithmic axis."""

MUCH_SLOWER = 0.4
"""Share of the fastest reading from which on the slowest has a line of its own."""

Key = tuple[bool, str, int | None, str]


def panels(results: Sequence[Result]) -> list[Panel]:
    """A picture for each mode, and each machine: processor or GPU, dtype, threads."""
    groups: dict[Key, list[Result]] = {}
    for result in results:
        # The roofs are of multiply-adds of the dtype.
        if result.limits is not None and result.workload.precision is None:
            work = result.workload
            groups.setdefault((on_gpu(result.contender), work.dtype, work.threads, work.mode), []).append(result)
    if not groups:
        raise PlotError("a roofline takes the machine's limits, which are not in these rows")
    return [_panel(gpu, mode, rows) for (gpu, _, _, mode), rows in groups.items()]


def _panel(gpu: bool, mode: str, rows: Sequence[Result]) -> Panel:
    return Panel(
        title=f"Roofline, {mode}{' on the GPU' if gpu else ''}",
        detail=common([row.workload for row in rows], without=("mode",)),
        draw=lambda axes, theme: _draw(axes, theme, rows),
        contenders=tuple(dict.fromkeys(row.contender for row in rows)),
        height=3.5,
    )


def _draw(axes: Axes, theme: Theme, rows: Sequence[Result]) -> None:
    limits = [row.limits for row in rows if row.limits is not None]
    roof = best(*limits)
    top = max(rate for rate in (roof.gemm, roof.fma) if rate is not None)
    memory = _bandwidths(rows)
    intensities = [_intensity(row) for row in rows]
    rates = [row.flops_per_second / 1e9 for row in rows]
    ridges = [top / bandwidth for _, bandwidth in memory]
    left, right = scales.limits([*intensities, *(ridge / SLOPE for ridge in ridges)])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, right)
    low, high = scales.limits([*rates, top / 1e9])
    axes.set_ylim(low, high * (high / low) ** LEGEND)
    for contender in dict.fromkeys(row.contender for row in rows):
        own = [row for row in rows if row.contender == contender]
        axes.scatter(
            [_intensity(row) for row in own],
            [row.flops_per_second / 1e9 for row in own],
            s=26,
            marker=marker(contender),
            facecolors=[to_rgba(theme.contender(contender), 0.0 if row.has_noisy_roof else 0.8) for row in own],
            edgecolors=theme.contender(contender),
            linewidths=[0.8 if row.has_noisy_roof else 0 for row in own],
        )
    _levels(axes, theme, {"multiply-adds": (roof.fma, "-"), "matrix product": (roof.gemm, "--")})
    for size, bandwidth in memory:
        _slope(axes, theme, size, bandwidth, top)
    scales.logarithmic(axes.xaxis)
    scales.logarithmic(axes.yaxis)
    scales.grid(axes)
    axes.set(xlabel="FLOP per byte", ylabel="GFLOP/s")


def _levels(axes: Axes, theme: Theme, rates: dict[str, tuple[float | None, str]]) -> None:
    """The roofs of arithmetic, named above them."""
    for name, (rate, style) in rates.items():
        if rate is not None:
            text = f"{name} {scales.plain(float(f'{rate / 1e9:.3g}'))} GFLOP/s"
            axes.axhline(rate / 1e9, color=theme.faint, linestyle=style, linewidth=1.2, label=text)
    axes.legend(loc="upper right", borderaxespad=0.1, handlelength=1.8, fontsize=8.5)


def _slope(axes: Axes, theme: Theme, size: int, bandwidth: float, top: float) -> None:
    """A roof of memory, with its name along it."""
    left, _ = axes.get_xlim()
    bottom, _ = axes.get_ylim()
    start, end = max(left, bottom * 1e9 / bandwidth), top / bandwidth
    if start >= end:
        return
    axes.plot([start, end], [bandwidth * start / 1e9, top / 1e9], color=theme.faint, linewidth=1.2)
    x = start * (end / start) ** 0.05
    y = bandwidth * x / 1e9
    offset = ScaledTranslation(0, -2 / 72, axes.figure.dpi_scale_trans)
    axes.text(
        x,
        y,
        f"{bandwidth / 1e9:.3g} GB/s ({format_bytes(size)})",
        transform=axes.transData + offset,
        rotation=math.degrees(math.atan2(y, x)),
        rotation_mode="anchor",
        transform_rotates_text=True,
        va="top",
        color=theme.ink,
        size=8.5,
        in_layout=False,
    )


def _bandwidths(rows: Sequence[Result]) -> list[tuple[int, float]]:
    """Bytes of weights and how fast they are read: the fastest, and the slowest if that is much slower."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row.limits is not None and row.limits.bandwidth is not None:
            found.setdefault(row.work.weight_bytes, []).append(row.limits.bandwidth)
    rated = sorted(((size, max(rates)) for size, rates in found.items()), key=lambda pair: -pair[1])
    return [*rated[:1], *(pair for pair in rated[1:][-1:] if pair[1] < MUCH_SLOWER * rated[0][1])]


def _intensity(row: Result) -> float:
    return row.work.flops / row.work.bytes
