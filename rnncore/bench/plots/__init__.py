"""Pictures of a record, drawn with matplotlib, which is loaded when something is drawn."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..result import Result

if TYPE_CHECKING:
    from .panel import Panel

KINDS = ("roofline", "scaling", "heatmap", "bars")

MISSING = "matplotlib, which draws the plots, is not installed: pip install matplotlib"


class PlotError(Exception):
    """The rows do not suffice for a kind of plot; the message names the lack."""


def available() -> bool:
    """Whether matplotlib is installed. Imports nothing."""
    return importlib.util.find_spec("matplotlib") is not None


def panels(kind: str, results: Sequence[Result]) -> list[Panel]:
    """The pictures of a kind.

    Raises:
        PlotError: the rows do not suffice.
    """
    timed = [result for result in results if result.samples]
    if not timed:
        raise PlotError("no row was measured")
    drawn: list[Panel] = importlib.import_module(f".{kind}", __name__).panels(timed)
    return drawn
