"""`rnncore warmup`: compile the library's cells ahead of their first use, for an image or a read-only installation."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnncore_kernels.cells import CELLS, GRU, Cell, Elman
from rnncore_kernels.cells import elman as elman_cells
from rnncore_kernels.cells import gru as gru_cells
from rnncore_kernels.codegen.program import make_program
from rnncore_kernels.cpu import kernels
from rnncore_kernels.cpu.target import host_target
from rnncore_kernels.host import cache_folders


class CacheError(Exception):
    """There is no folder in which compiled code could be kept; the message says which was tried."""


class Warmed(NamedTuple):
    """A thing that is in the cache now.

    Attributes:
        name: what it is.
        seconds: what compiling it took; None if it was there already.
    """

    name: str
    seconds: float | None


def warm_up(cells: Sequence[str], dtypes: Sequence[str], modes: Sequence[str]) -> Iterator[Warmed]:
    """Compile what is not in the cache yet, in this process, which should have computed nothing before.

    Args:
        cells: names in `CELLS`; every variant of each is compiled.
        dtypes: "float32" or "float64".
        modes: "inference" or "training"; what training needs includes inference.

    Raises:
        CacheError: nothing can be kept.
    """
    folder = cache_folder()
    for name, load in _things(cells, dtypes, modes):
        before = _files(folder)
        start = time.perf_counter()
        load()
        yield Warmed(name, None if _files(folder) == before else time.perf_counter() - start)


def cache_folder() -> Path:
    """The folder in which compiled code is kept, made if it is not there.

    Raises:
        CacheError: there is none that can be written to.
    """
    folders = cache_folders()
    failures = []
    for folder in folders:
        probe = folder / f".{secrets.token_hex(4)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            failures.append(f"{folder}: {error.strerror}")
        else:
            return folder
    tried = "; ".join(failures) or "there is no home"
    raise CacheError(f"no folder for compiled code can be written to ({tried}): name one in RNNCORE_CACHE_DIR")


def processor() -> str:
    """LLVM's name of the processor that code is compiled for."""
    return host_target().cpu


def _things(
    cells: Sequence[str], dtypes: Sequence[str], modes: Sequence[str]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The name of each thing, and what loads it."""
    yield "threads", partial(kernels.thread_kernels, host_target())
    for dtype in dict.fromkeys(dtypes):
        shape = kernels.host_shape(np.dtype(dtype))
        yield f"{dtype} forward", partial(kernels.forward_kernels, shape)
        if "training" in modes:
            yield f"{dtype} backward", partial(kernels.backward_kernels, shape)
        if shape.matrix:
            yield f"{dtype} weights for tile registers", partial(kernels.conversion_kernels, shape)
        for kind in dict.fromkeys(CELLS[name] for name in cells):
            for cell in variants(kind):
                yield f"{dtype} {cell!r}", partial(kernels.cell_functions, shape, make_program(cell))


def variants(kind: type[Cell]) -> list[Cell]:
    """Every cell that one of the library's classes makes."""
    if kind is Elman:
        return [Elman(activation) for activation in elman_cells.STAGES]
    if kind is GRU:
        return [GRU(update, reset) for reset, update in gru_cells.STAGES]
    return [kind()]


def _files(folder: Path) -> dict[str, int]:
    """The time of change of each file of compiled code."""
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_mtime_ns for entry in entries if not entry.name.startswith(".")}
