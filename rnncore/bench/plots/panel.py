"""A picture, several of them in a figure, and the figure as SVG or PNG."""

from __future__ import annotations

import html
import io
import math
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation

from .style import Mode, as_png, as_svg, settings, theme_of
from .theme import LIGHT, Theme, marker

WIDTH, HEIGHT = 3.9, 3.0
"""Inches of a panel: as wide as a phone, so that its text has the size that it has there."""
TITLE_WIDTH = 54
MOST_COLUMNS = 3
LEGEND_NAMES, LEGEND_LINE = 4, 0.25
"""Names on a line of the legend, for each column of panels, and the line's height in inches."""

NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


@dataclass(frozen=True)
class Panel:
    """A picture.

    Attributes:
        title: in bold.
        detail: options that all rows of it share.
        draw: draws it.
        contenders: of the legend.
        height: in inches, without title and legend.
        key: the sign beside a name in the legend.
    """

    title: str
    detail: str
    draw: Callable[[Axes, Theme], None]
    contenders: tuple[str, ...] = ()
    height: float = HEIGHT
    key: Literal["line", "point", "bar"] = "point"


def to_svg(panels: Sequence[Panel], mode: Mode = "auto") -> str:
    """All panels in one picture."""
    with settings(theme_of(mode)):
        return as_svg(_figure(panels, theme_of(mode)), mode)


def to_inline_svg(panel: Panel) -> str:
    """One panel as an element of a page, which has the `dark_rules` and the ground."""
    with settings(LIGHT):
        text = io.StringIO()
        figure = _figure([panel], LIGHT)
        figure.set_facecolor("none")
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # Names of groups are the same in each picture, and nothing refers to them.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    label = html.escape(f"{panel.title}; {panel.detail}")
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view is not None
    return f'<svg {NAMESPACES} {view[0]} role="img" aria-label="{label}">{svg[svg.index(">") + 1 :]}'


def to_png(panels: Sequence[Panel], mode: Mode = "auto") -> bytes:
    """All panels in one picture."""
    with settings(theme_of(mode)):
        return as_png(_figure(panels, theme_of(mode)))


def _figure(panels: Sequence[Panel], theme: Theme) -> Figure:
    """The panels in rows, each row as high as its highest, and one legend for all."""
    columns = min(MOST_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    heights = [max(panel.height for panel in panels[row * columns : (row + 1) * columns]) for row in range(rows)]
    contenders = list(dict.fromkeys(name for panel in panels for name in panel.contenders))
    names = LEGEND_NAMES * columns
    legend = LEGEND_LINE * math.ceil(len(contenders) / names)
    figure = Figure(figsize=(WIDTH * columns, sum(heights) + legend), layout="constrained")
    cells = figure.subfigures(rows, columns, height_ratios=heights, squeeze=False).flat
    for panel, cell in zip(panels, cells, strict=False):
        _title(cell, panel, theme)
        panel.draw(cell.subplots(), theme)
    if contenders:
        handles = [_handle(name, theme, panels[0].key) for name in contenders]
        figure.legend(handles=handles, loc="outside lower center", ncols=names, columnspacing=1.2, handletextpad=0.4)
    return figure


def _title(cell: SubFigure, panel: Panel, theme: Theme) -> None:
    """At the left edge, the detail below it in a weight of its own; the layout knows of the whole as the title."""
    title, detail = textwrap.wrap(panel.title, TITLE_WIDTH - 8), textwrap.wrap(panel.detail, TITLE_WIDTH)
    whole = cell.suptitle("\n".join([*title, *[""] * len(detail)]), x=0.01, ha="left", weight="bold", size=9.5)
    cell.add_artist(Annotation("\n".join(detail), (0, 0), xycoords=whole, va="bottom", color=theme.faint, size=9))


def _handle(name: str, theme: Theme, key: Literal["line", "point", "bar"]) -> Artist:
    colour = theme.contender(name)
    if key == "bar":
        return Patch(color=colour, label=name)
    return Line2D([], [], color=colour, marker=marker(name), linestyle="-" if key == "line" else "none", label=name)
