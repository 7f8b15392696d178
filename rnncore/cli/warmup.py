"""`rnncore warmup`: compile ahead of the first use."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from rnncore_kernels.precision import PRECISIONS

from ..registry import check_products, described, resolve
from .cells import add_cell_option
from .status import FAILED, OK, UsageError
from .values import choices


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "warmup",
        help="compile ahead of the first use",
        description="Compile what an engine needs for some cells (for a bare gru or rnn, all variants), and keep it in "
        "RNNCORE_CACHE_DIR or the user's cache folder. NUMBA_CPU_NAME names another processor to compile for; the code "
        "is used where the variable has that name again.",
    )
    add_cell_option(parser, "lstm,gru,rnn")
    parser.add_argument("--backend", choices=("numba", "cuda"), default="numba", help="the engine (numba)")
    parser.add_argument(
        "--dtype",
        type=choices(("float32", "float64")),
        default=["float32"],
        help="float32,float64 (float32 is the default)",
    )
    parser.add_argument(
        "--precision",
        type=choices(PRECISIONS),
        default=[],
        help="also bfloat16 (compute='bfloat16', and frozen weights), int8 (frozen weights)",
    )
    modes = ["inference", "training"]
    parser.add_argument("--mode", type=choices(modes), default=modes, help=f"{','.join(modes)} (the default)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compile, and print names and times."""
    backend = resolve(arguments.backend)
    for precision in arguments.precision:
        try:
            check_products("--precision", precision, backend)
        except ValueError as error:
            raise UsageError(str(error)) from None
    # Here, as it is of no use to other commands.
    from .. import warmup

    cells = dict.fromkeys(cell for spelling in arguments.cell for cell in warmup.variants(spelling))
    try:
        folder = warmup.cache_folder()
        training = "training" in arguments.mode
        for name, seconds in warmup.warm_up(backend, cells, arguments.dtype, training, arguments.precision):
            print(f"{name}: {'already there' if seconds is None else f'compiled in {seconds:.1f} s'}", flush=True)
    except warmup.CacheError as error:
        print(f"rnncore: {error}", file=sys.stderr)
        return FAILED
    print(f"kept in {folder} for {described()['instruction_set' if backend == 'numba' else 'gpu']}")
    return OK
