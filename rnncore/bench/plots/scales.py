"""Logarithmic axes with few, plain numbers."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

LEAST_SPAN = 4.0
"""Highest over lowest value of an axis at least: small differences shall look small."""
MOST_VALUES = 7


def plain(value: float, _: int | None = None) -> str:
    """A tick's number without an exponent, where that is short."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def short(ratio: float) -> str:
    """A ratio in a picture: two digits, or all before the point."""
    return f"{ratio:.2f}" if 0.1 <= ratio < 10 else f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def logarithmic(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 times the powers of ten, or at those alone where there are many."""
    low, high = sorted(axis.get_view_interval())
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,), numticks=8))
    axis.set_major_formatter(FuncFormatter(plain))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def at_values(axis: Axis, values: Sequence[int]) -> None:
    """Ticks at the measured sizes, or at some of them."""
    every = -(-len(values) // MOST_VALUES)
    axis.set_major_locator(FixedLocator(values[::every]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axis.set_minor_locator(NullLocator())


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Ends of a logarithmic axis that shows all values, with some room."""
    low, high = min(values), max(values)
    spread = max(1.0, (LEAST_SPAN / (high / low)) ** 0.5)
    return low / spread / 1.2, high * spread * 1.2


def grid(axes: Axes) -> None:
    """Thin lines at the ticks."""
    axes.grid(True)
    axes.tick_params(length=0)
