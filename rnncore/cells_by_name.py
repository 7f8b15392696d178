"""Cells by name: in files that networks are saved to, and as the command line spells them.

The spelling of a cell is the name of one of the library's, or `module:name` of a user's own, and its options behind it:
`lstm`, `gru:update=carry:reset=before`, `mymodule:Coupled:projection=4`.
"""

from __future__ import annotations

import ast
import functools
import importlib
import os
import sys
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any

from rnncore_kernels.cells import CELLS, Cell

from .definition import define
from .errors import describe, did_you_mean


@functools.cache
def _known() -> dict[str, type[Cell]]:
    """The library's cells by name, those too that it makes of other libraries' layers alone."""
    from .interchange.cells import ActivatedElman, ActivatedGRU, ActivatedLSTM

    return {**CELLS} | {kind.name: kind for kind in (ActivatedElman, ActivatedGRU, ActivatedLSTM)}


def describe_cell(cell: Cell) -> dict[str, Any]:
    """A cell's name, its options, and whether it is a user's own."""
    return {"name": cell.name, "options": cell.options, "own": _is_own(cell)}


def find_cell(where: str, described: dict[str, Any], given: Cell | None) -> Cell:
    """The cell of a description; `given` where it is a user's own. ValueError begins with `where`.

    A library's cell may have been described before it had all its options: those have their defaults.
    """
    name, options, own = described["name"], described["options"], described["own"]
    if given is not None:
        if (given.name, _is_own(given)) != (name, own) or given.options != _completed(given, options):
            whose = "your own" if own else "the library's"
            chosen = ", ".join(f"{option}={value!r}" for option, value in options.items())
            raise ValueError(f"{where}: expected {whose} cell {name!r}{chosen and ' with ' + chosen}, got {given!r}")
        return given
    if own:
        raise ValueError(f"{where}: holds a network of the cell {name!r}, which is not the library's: pass it as cell=")
    if name not in _known():
        raise ValueError(
            f"{where}: holds a network of the cell {name!r}, which this version does not have: update rnncore"
        )
    return _known()[name](**options)


def split_spellings(text: str) -> list[str]:
    """The spellings of a list with commas, in which options may be separated by commas, too."""
    found: list[str] = []
    for part in text.split(","):
        if found and "=" in part.partition(":")[0]:
            found[-1] += f":{part}"
        else:
            found.append(part)
    return found


class UnknownCellError(ValueError):
    """A spelling is that of no cell; the message says why."""


def is_shipped(text: str) -> bool:
    """Whether a spelling is that of one of the library's cells. Imports nothing."""
    name, _, option = text.partition(":")
    return name in CELLS and (not option or "=" in option.partition(":")[0])


def is_spelling(text: str) -> bool:
    """Whether a text may be the spelling of a cell. Imports nothing."""
    own = text.partition(":")[2].partition(":")[0]
    return is_shipped(text) or (own != "" and "=" not in own)


def parse_cell(text: str) -> Cell:
    """The cell of a spelling; a module is also looked for in the current folder.

    Raises:
        UnknownCellError: there is no such cell, option or module, or the cell contradicts itself.
    """
    name, *rest = text.split(":")
    own = next(iter(rest), "=")
    if not is_spelling(text):
        raise UnknownCellError(
            f"expected one of {', '.join(CELLS)}, with options as in gru:update=carry, or package.module:name of a "
            f"cell of your own, got {text!r}{_hint(text)}"
        )
    found: Any = CELLS[name] if "=" in own else _attribute(text, name, own)
    options = dict(_option(text, part) for part in (rest if "=" in own else rest[1:]))
    try:
        if isinstance(found, type) and issubclass(found, Cell):
            found = _made(found, options)
        elif not isinstance(found, Cell):
            raise TypeError(f"expected an instance or a class of Cell, got {describe(found)}")
        elif options:
            raise TypeError(f"expected no options, which a class could take, got {', '.join(options)}")
        return define(found).cell
    except (TypeError, ValueError) as error:
        raise UnknownCellError(f"{text}: {error}") from error


def _hint(text: str) -> str:
    """What a spelling was meant to be, to end a message."""
    module, _, name = text.partition(":")
    if hint := did_you_mean(module, CELLS, text.removeprefix(module)):
        return hint
    module, _, attribute = module.rpartition(".")
    return f": did you mean '{module}:{attribute}'?" if module and not name else ""


def _made(kind: type[Cell], options: dict[str, Any]) -> Cell:
    known: list[str] = [field.name for field in fields(kind) if field.init] if is_dataclass(kind) else []
    for name in options:
        if name not in known:
            raise ValueError(f"expected options among {', '.join(known) or 'none'}, got {name!r}")
    return kind(**options)


def import_here(module: str) -> ModuleType:
    """A module, also looked for in the current folder."""
    if not {"", os.getcwd()} & {*sys.path}:
        # Last, so that no file there stands for another module; processes that measure have it from here.
        sys.path.append(os.getcwd())
    return importlib.import_module(module)


def _attribute(text: str, module: str, name: str) -> Any:
    try:
        return getattr(import_here(module), name)
    except Exception as error:
        # Whatever a user's module raises while it is imported.
        if module in CELLS and isinstance(error, ModuleNotFoundError):
            raise UnknownCellError(f"{text}: expected options of {module} as name=value, got {name!r}") from None
        what = f"{type(error).__name__}: {error}"
        if module.endswith(".py"):
            what += f": did you mean {text.replace('.py:', ':', 1)!r}?"
        raise UnknownCellError(f"{text}: expected the cell {name!r} in a module {module!r}, got {what}") from error


def _option(text: str, part: str) -> tuple[str, Any]:
    name, equals, value = part.partition("=")
    if not equals or not name.isidentifier():
        raise UnknownCellError(f"{text}: expected options name=value, got {part!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _completed(cell: Cell, options: dict[str, Any]) -> dict[str, Any]:
    """Options with the defaults of a library's cell for those that are missing; others' are as they are."""
    return options if _is_own(cell) else type(cell)().options | options


def _is_own(cell: Cell) -> bool:
    """Whether the cell is the user's, whatever it calls itself."""
    return type(cell) is not _known().get(cell.name)
