"""The option --cell, the same for every command."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

from rnncore_kernels.cells import CELLS, SHIPPED

from ..cells_by_name import parse_cell, split_spellings

HELP = f"all, or some of {', '.join(CELLS)}, with options as in gru:update=carry; also your own, as package.module:name"


def add_cell_option(parser: Any, default: str) -> None:
    """Add the option to a command's parser."""
    parser.add_argument("--cell", type=cells, default=default, metavar="CELL,...", help=f"{HELP} ({default})")


def cells(text: str) -> list[str]:
    """A list of cells, as `cells_by_name` spells them; each is there and well defined."""
    parts = split_spellings(text)
    spellings = [name for part in parts for name in ([cell.name for cell in SHIPPED] if part == "all" else [part])]
    for spelling in spellings:
        try:
            parse_cell(spelling)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None
    return list(dict.fromkeys(spellings))
