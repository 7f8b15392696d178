"""Matplotlib's settings of every picture, and figures as SVG or PNG. No state of matplotlib's is used or left."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Literal

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure

from .theme import LIGHT, THEMES, Theme, dark_rules

Mode = Literal["auto", "light", "dark"]
"""The colours of a picture; `auto` is light or dark as the reader of an SVG prefers, and light in a PNG."""

DOTS = 200
"""Dots per inch of a PNG."""

FONTS = "system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
"""Narrower than DejaVu Sans, which the layout is made for."""


def theme_of(mode: Mode) -> Theme:
    """The colours that a picture is drawn in."""
    return LIGHT if mode == "auto" else THEMES[mode]


@contextlib.contextmanager
def settings(theme: Theme) -> Iterator[None]:
    """Matplotlib's own settings and these, whatever the user has set."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": "rnncore",
                "text.parse_math": False,
                "font.size": 9,
                "axes.titlesize": 9,
                "axes.labelsize": 9,
                "xtick.labelsize": 8.5,
                "ytick.labelsize": 8.5,
                "legend.fontsize": 9,
                "legend.frameon": False,
                "figure.facecolor": theme.paper,
                "axes.facecolor": "none",
                "axes.prop_cycle": cycler(color=list(theme.contenders.values())),
                "text.color": theme.ink,
                "axes.labelcolor": theme.ink,
                "axes.edgecolor": theme.faint,
                "xtick.color": theme.faint,
                "ytick.color": theme.faint,
                "xtick.labelcolor": theme.ink,
                "ytick.labelcolor": theme.ink,
                "grid.color": theme.line,
                "grid.linewidth": 0.6,
                "axes.axisbelow": True,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "lines.linewidth": 1.6,
                "lines.markersize": 5,
            }
        )
        yield


def as_svg(figure: Figure, mode: Mode = "auto") -> str:
    """The figure as SVG, within its `settings`."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    rules = dark_rules() if mode == "auto" else ""
    fonts = f"text:not([style*=monospace]){{font-family:{FONTS} !important}}"
    style = f"<style>{fonts}image{{image-rendering:pixelated}}{rules}</style>"
    return text.getvalue().replace("<defs>", f"{style}<defs>", 1)


def as_png(figure: Figure) -> bytes:
    """The figure as PNG, within its `settings`."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=DOTS)
    return data.getvalue()
