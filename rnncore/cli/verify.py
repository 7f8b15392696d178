"""`rnncore verify`: engines against the oracle."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rnncore_kernels.cells import CELLS, Cell
from rnncore_kernels.precision import PRECISIONS

from ..cells_by_name import parse_cell
from ..machine import configuration
from ..registry import MODULES, backends, resolve_all
from .cells import add_cell_option
from .status import FAILED, FAILED_CHECK, OK, UsageError
from .terminal import print_rows
from .values import choices

if TYPE_CHECKING:
    from ..verification.check import Outcome

SHOWN = 10
"""Lines about wrong tensors; `--json` has all."""

PARAMETERS = {"W_ih": "weight_ih", "W_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}
"""Parameters of all layers and directions, by the names of columns."""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "verify",
        help="check every engine against the float64 oracle",
        description="Compute small networks of every variant of the cells on each backend, and compare outputs, states "
        "and all gradients with scalar loops in float64 that are differentiated automatically. The table has the "
        "largest error of each tensor as a share of its tolerance: above 1 is wrong.",
    )
    parser.add_argument(
        "--backend",
        type=choices(("all", "auto", *MODULES)),
        default=["all"],
        help=f"all that can run here (the default), auto, or {','.join(MODULES)}",
    )
    add_cell_option(parser, "all")
    both = ["float32", "float64"]
    parser.add_argument("--dtype", type=choices(both), default=both, help=f"{','.join(both)} (the default)")
    parser.add_argument(
        "--precision",
        type=choices(PRECISIONS),
        nargs="?",
        const=[*PRECISIONS],
        default=[],
        metavar="PRECISION",
        help="also rounded products, of bfloat16 (compute='bfloat16' of Recurrent), of int8 (freeze(weights='int8'), "
        "inference alone), or both (no value); the oracle rounds as they do",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all random values (0)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, and print the findings."""
    if arguments.seed < 0:
        raise UsageError(f"--seed: expected 0 or more, got {arguments.seed}")
    # Here, as it is of no use to other commands.
    from ..verification.check import REFERENCE, takes_differences, verify
    from ..verification.networks import variants

    cells: dict[str, Cell] = {}
    for name in arguments.cell:
        cells |= variants([name]) if name in CELLS else {name: parse_cell(name)}
    names = resolve_all(arguments.backend)
    dtypes = list(dict.fromkeys([*arguments.dtype, *arguments.precision]))
    count = len(names) * len(cells) * len(dtypes) + sum(map(takes_differences, cells.values()))
    start = time.perf_counter()
    checked = verify(names, cells, dtypes, arguments.seed)
    outcomes = sorted(_with_progress(checked, count), key=lambda outcome: [REFERENCE, *names].index(outcome.backend))
    if arguments.json:
        found = {"seed": arguments.seed, "outcomes": [dataclasses.asdict(outcome) for outcome in outcomes]}
        # JSON has no NaN and no infinity.
        found = json.loads(json.dumps(found), parse_constant=str)
        print(json.dumps({"environment": configuration(), **found}, indent=1))
    else:
        print_rows([_row(outcome) for outcome in outcomes])
        print(_summary(outcomes, names, time.perf_counter() - start))
        if "all" in arguments.backend:
            for name, probe in backends().items():
                if not probe.available:
                    print(f"{name}: not available: {probe.reason}. {probe.fix}")
    return _complain(outcomes)


def _row(outcome: Outcome) -> dict[str, str]:
    columns = {name: [name] for name in ("output", "state", "grad x", "grad state")}
    columns |= {f"grad {short}": [f"grad {name}"] for short, name in PARAMETERS.items()}
    columns["grad others"] = [group for group in outcome.worst if [group] not in columns.values()]
    return {
        "backend": outcome.backend,
        "cell": outcome.cell,
        "dtype": outcome.dtype,
        "": "FAILED" if outcome.failures else "WRONG" if outcome.wrong else "ok",
        **{column: _share(outcome, groups) for column, groups in columns.items()},
    }


def _share(outcome: Outcome, groups: Sequence[str]) -> str:
    """The largest error of groups of tensors, as a share of its tolerance."""
    shares = [outcome.worst[group].share for group in groups if group in outcome.worst]
    return f"{max(shares):.2g}" if shares else "-"


def _summary(outcomes: Sequence[Outcome], names: Sequence[str], seconds: float) -> str:
    from ..verification.tolerances import TOLERANCES

    bounds = {dtype: bound for (dtype, _), bound in TOLERANCES.items()}
    used = [f"{bounds[dtype]:.0e} in {dtype}" for dtype in dict.fromkeys(outcome.dtype for outcome in outcomes)]
    wrong, failed = (sum(map(bool, found)) for found in zip(*((o.wrong, o.failures) for o in outcomes), strict=True))
    good = sum(not outcome.wrong and not outcome.failures for outcome in outcomes)
    return (
        f"{good} of {len(outcomes)} right on {', '.join(names)} ({wrong} wrong, {failed} failed) in {seconds:.1f} s. "
        f"Figures: largest error by tolerance, which is {', '.join(used)} of the largest magnitude of the expected "
        f"tensor, or of 1."
    )


def _complain(outcomes: Sequence[Outcome]) -> int:
    """Print the wrong tensors; returns the exit status."""
    wrong = [
        f"{outcome.name}, {found.case}: {found.tensor}: error {found.error:.2g}, tolerance {found.tolerance:.0e}"
        for outcome in outcomes
        for found in outcome.wrong
    ]
    failed = [f"{outcome.name}, {text}" for outcome in outcomes for text in outcome.failures]
    lines = wrong + failed
    for line in lines[:SHOWN]:
        print(f"rnncore: {line}", file=sys.stderr)
    if len(lines) > SHOWN:
        print(f"rnncore: and {len(lines) - SHOWN} more; --json lists all", file=sys.stderr)
    return FAILED_CHECK if wrong else FAILED if failed else OK


def _with_progress(outcomes: Iterator[Outcome], count: int) -> Iterator[Outcome]:
    """The outcomes, with a bar on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        return outcomes
    from rich.console import Console
    from rich.progress import track

    return iter(track(outcomes, "verify", total=count, console=Console(stderr=True), transient=True))
