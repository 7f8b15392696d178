"""`rnncore warmup`: compile cells ahead of their first use, for an image or a read-only installation."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rnncore_kernels import cache
from rnncore_kernels.cells import CELLS, GRU, Cell, Elman
from rnncore_kernels.cells.elman import ACTIVATIONS

from .cells_by_name import parse_cell
from .definition import define
from .registry import module


class CacheError(Exception):
    """There is no folder in which compiled code could be kept; the message says which was tried."""


class Warmed(NamedTuple):
    """A thing that is in the cache now.

    Attributes:
        name: of the thing.
        seconds: the time of compiling it; None if it was there already.
    """

    name: str
    seconds: float | None


def warm_up(
    backend: str, cells: Iterable[Cell], dtypes: Sequence[str], training: bool, precisions: Sequence[str] = ()
) -> Iterator[Warmed]:
    """Compile what is not in the cache yet, in this process, which should have computed nothing before.

    Args:
        backend: an available one.
        cells: those whose code is compiled.
        dtypes: "float32" or "float64".
        training: whether gradients will be computed, too.
        precisions: "bfloat16" or "int8", of products of float32, if any are wanted; the backend has these.

    Raises:
        CacheError: nothing can be kept.
    """
    folder = cache_folder()
    programs = {repr(cell): define(cell).program for cell in cells}
    for name, load in module(backend).warm_up(programs, dtypes, precisions, training):
        before = _files(folder)
        start = time.perf_counter()
        load()
        yield Warmed(name, None if _files(folder) == before else time.perf_counter() - start)


def variants(spelling: str) -> list[Cell]:
    """The cells of a spelling: every activation of Elman's and every variant of the GRU, where it is the name alone."""
    if spelling in CELLS and CELLS[spelling] is Elman:
        return [Elman(activation) for activation in ACTIVATIONS]
    if spelling == GRU.name:
        return [GRU(update, reset) for reset in ("after", "before") for update in ("candidate", "carry")]
    return [parse_cell(spelling)]


def cache_folder() -> Path:
    """The folder in which compiled code is kept, made if it is not there.

    Raises:
        CacheError: there is none that can be written to.
    """
    folder = cache.cache_folder()
    reason = "there is no home" if folder is None else cache.refusal(folder)
    if folder is None or reason:
        tried = f"{folder}: {reason}" if folder else reason
        raise CacheError(f"no folder for compiled code can be written to ({tried}): name one in RNNCORE_CACHE_DIR")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _files(folder: Path) -> dict[str, int]:
    """The time of change of each file of compiled code."""
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_mtime_ns for entry in entries if not entry.name.startswith(".")}
