"""`rnncore compare`: two runs of the same work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from ..bench.comparison import Change, compare
from ..bench.record import Record, RecordError, load
from ..bench.table import markdown, rounded
from .status import FAILED_CHECK, OK, UsageError
from .terminal import show_rows
from .values import share


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "compare",
        help="compare two runs",
        description="Compare what `rnncore bench -o json=FILE` measured at two times or places: for each row the "
        "speed-up of the second, with an interval at 95 % from the samples.",
    )
    parser.add_argument("before", metavar="A.json", help="the run to compare with")
    parser.add_argument("after", metavar="B.json", help="the run to judge")
    parser.add_argument(
        "--fail-on-regression",
        type=share,
        metavar="SHARE",
        help="exit with status 1 if a row became slower by more than that, 5%% say: the interval that holds for all "
        "rows together must say so, and the share of the roof too",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the rows that both have."""
    try:
        before, after = load(arguments.before), load(arguments.after)
    except RecordError as error:
        raise UsageError(error) from None
    changes, alone = compare(before, after)
    if not changes:
        raise UsageError(
            f"{arguments.before} and {arguments.after} are of different work: no row with the same sizes, options and "
            f"backend was measured in both"
        )
    limit: float | None = arguments.fail_on_regression
    works = [change.before.workload for change in changes]
    several = [name for name in ("dtype", "threads", "seed") if len({getattr(work, name) for work in works}) > 1]
    rows = [_row(change, limit, several) for change in changes]
    if sys.stdout.isatty():
        show_rows(rows, sys.stdout)
    else:
        print(markdown(rows))
    for line in _remarks(before, after, len(alone)):
        print(f"rnncore: warning: {line}", file=sys.stderr)
    if limit is None:
        return OK
    regressions = [change for change in changes if change.is_regression(limit)]
    if regressions:
        count = f"{len(regressions)} of {len(changes)}"
        print(f"rnncore: {count} rows are slower by more than {100 * limit:.3g} %", file=sys.stderr)
    return FAILED_CHECK if regressions else OK


def _row(change: Change, limit: float | None, several: Sequence[str]) -> dict[str, str]:
    """`several` names what else tells rows apart."""
    work, after = change.before.workload, change.after
    extras = [*([f"{work.num_layers} layers"] if work.num_layers > 1 else [])]
    extras += [name for name in ("bidirectional", "ragged") if getattr(work, name)]
    extras += [f"{name} {getattr(work, name)}" for name in several]
    return {
        "cell": work.cell,
        "mode": " ".join([work.mode, *extras]),
        "T": str(work.steps),
        "B": str(work.batch),
        "I": str(work.input_size),
        "H": str(work.hidden_size),
        "backend": change.before.contender,
        "A, µs/step": rounded(change.before.step_microseconds),
        "B, µs/step": rounded(after.step_microseconds) if after.samples else after.status,
        "speed-up": f"{change.speedup:.3f}" if after.samples else "-",
        "95 % interval": f"{change.interval[0]:.3f} to {change.interval[1]:.3f}" if after.samples else "-",
        "by roof": "-" if change.steady is None else f"{change.steady:.3f}",
        "": _verdict(change, limit),
    }


def _verdict(change: Change, limit: float | None) -> str:
    if limit is not None and change.is_regression(limit):
        return "REGRESSION"
    if not change.after.samples:
        return change.after.status
    low, high = change.interval
    return "faster" if low > 1 else "slower" if high < 1 else "same"


def _remarks(before: Record, after: Record, alone: int) -> Sequence[str]:
    """What makes the comparison doubtful."""
    remarks = [f"{alone} rows are in one of the files alone"] if alone else []
    for name in ("processor", "cores", "blas"):
        one, two = (record.environment["machine"].get(name) for record in (before, after))
        if one != two:
            remarks.append(f"other {name}: {one} and {two}")
    return remarks
