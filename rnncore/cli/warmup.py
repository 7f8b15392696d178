"""`rnncore warmup`: compile ahead of the first use."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from rnncore_kernels.cells import CELLS

from ..registry import resolve
from .status import FAILED, OK
from .values import choices


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "warmup",
        help="compile ahead of the first use",
        description="Compile what the Numba engine needs of the library's cells, in all their variants, and keep it "
        "in RNNCORE_CACHE_DIR or the user's cache folder. NUMBA_CPU_NAME names another processor to compile for; what "
        "is compiled under it is used under it.",
    )
    parser.add_argument("--cell", type=choices(tuple(CELLS)), default=["lstm", "gru", "rnn"], help="lstm,gru,rnn")
    parser.add_argument("--dtype", type=choices(("float32", "float64")), default=["float32"])
    parser.add_argument("--mode", type=choices(("inference", "training")), default=["inference", "training"])
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compile, and say what."""
    resolve("numba")
    # Here, as it loads the Numba engine.
    from .. import warmup

    try:
        folder = warmup.cache_folder()
        for name, seconds in warmup.warm_up(arguments.cell, arguments.dtype, arguments.mode):
            print(f"{name}: {'already there' if seconds is None else f'compiled in {seconds:.1f} s'}", flush=True)
    except warmup.CacheError as error:
        print(f"rnncore: {error}", file=sys.stderr)
        return FAILED
    print(f"kept in {folder} for {warmup.processor()}")
    return OK
