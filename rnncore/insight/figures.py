"""Figures with the look of the library's pictures, and what several pictures of sequences share."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bench.plots import MISSING
from ..files import atomic_write

if TYPE_CHECKING:
    from ..bench.plots.style import Mode

MODES = ("auto", "light", "dark")
MOST_LABELS = 60
"""Steps whose labels are drawn; of longer sequences, each second, third and so on."""
LONGEST_LEVEL = 2
"""Letters of the longest label that stands level; longer ones stand upright."""


@contextlib.contextmanager
def figure(
    path: str | os.PathLike[str],
    rows: int = 1,
    columns: int = 1,
    *,
    width: float = 6.0,
    height: float = 3.0,
    theme: Mode = "auto",
) -> Iterator[Any]:
    """Axes to draw in; the picture is written at the end of the block, unless that raises.

    Args:
        path: the file, .svg or .png; what was there before is replaced.
        rows, columns: how many axes there are.
        width, height: of the whole, in inches.
        theme: "light", "dark", or "auto", which in an SVG follows its reader's preference, and is light in a PNG.

    Yields:
        The axes, of matplotlib's; where there are several, an array of them, (columns,), (rows,) or (rows, columns).

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the file has another suffix, or there is no such theme.
    """
    suffix = Path(path).suffix
    if suffix not in (".svg", ".png"):
        raise ValueError(f"path: expected a file that ends in .svg or .png, got {os.fspath(path)!r}")
    if theme not in MODES:
        raise ValueError(f"theme: expected one of {', '.join(MODES)}, got {theme!r}")
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError(MISSING)
    # Here, as it loads matplotlib.
    from matplotlib.figure import Figure

    from ..bench.plots.style import as_png, as_svg, settings, theme_of

    with settings(theme_of(theme)):
        drawn = Figure(figsize=(width, height), layout="constrained")
        yield drawn.subplots(rows, columns)
        data = as_svg(drawn, theme).encode() if suffix == ".svg" else as_png(drawn)
    atomic_write(Path(path), data)


def check_labels(labels: Sequence[object] | None, steps: int) -> list[str] | None:
    """Labels of the steps as text; a step more or less is refused."""
    if labels is None:
        return None
    if len(labels) < steps:
        raise ValueError(f"labels: expected one for each of the row's {steps} steps, got {len(labels)}")
    return [str(label) for label in labels][:steps]


def label_steps(ax: Any, labels: Sequence[str] | None, steps: int) -> None:
    """Name the steps below the axes, which has one unit of x for each."""
    ax.set_xlim(-0.5, steps - 0.5)
    if labels is None:
        ax.set_xlabel("step")
        return
    shown = range(0, steps, -(-steps // MOST_LABELS))
    upright = max(map(len, labels), default=0) > LONGEST_LEVEL
    ax.set_xticks([*shown], [labels[step] for step in shown], rotation=90 if upright else 0)
    ax.tick_params(axis="x", length=0)


def signed_colours() -> Any:
    """A colour map from -1 to 1: the fuller, the farther from 0, where the ground is seen; it suits light and dark."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    below, above = to_rgba("C3"), to_rgba("C0")
    clear = [(*colour[:3], 0.0) for colour in (below, above)]
    ends = [(0.0, below), (0.5, clear[0]), (0.5, clear[1]), (1.0, above)]
    return LinearSegmentedColormap.from_list("rnncore", ends)
