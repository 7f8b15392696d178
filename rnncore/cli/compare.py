"""`rnncore compare`: two runs of the same work."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

from ..bench.comparison import Change, Comparison, Group, compare
from ..bench.record import Record, RecordError, load
from ..bench.shift import Shift
from ..bench.table import rounded
from .status import FAILED_CHECK, OK, UNDECIDED, UsageError
from .terminal import print_rows
from .values import share


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "compare",
        help="compare two runs",
        description="Compare what `rnncore bench -o json=FILE` measured at two times or places: the change of each row "
        "against the others of its backend and mode, and the change of these together against the machine's. Passes of "
        "a run, which are processes of their own, tell how sure that is.",
    )
    parser.add_argument("before", metavar="A.json", help="the run to compare with")
    parser.add_argument("after", metavar="B.json", help="the run to judge")
    parser.add_argument(
        "--fail-on-regression",
        type=share,
        metavar="SHARE",
        help=f"exit with status {FAILED_CHECK} if a row, or all of a backend and mode together, became slower by more "
        f"than that, 5%% say, beyond doubt; with status {UNDECIDED} if the samples leave that open",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the rows that both have."""
    try:
        before, after = load(arguments.before), load(arguments.after)
    except RecordError as error:
        raise UsageError(error) from None
    return show(before, after, (arguments.before, arguments.after), arguments.fail_on_regression)


def show(before: Record, after: Record, names: tuple[str, str], limit: float | None = None) -> int:
    """Print the comparison of two runs, which messages call by these names; returns the exit status."""
    comparison = compare(before, after)
    changes = comparison.changes
    if not changes:
        raise UsageError(
            f"{names[0]} and {names[1]} are of different work: no row with the same sizes, options and backend was "
            f"measured in both"
        )
    works = [change.before.workload for change in changes]
    several = [name for name in ("dtype", "threads", "seed") if len({getattr(work, name) for work in works}) > 1]
    print_rows([_row(comparison, change, limit, several) for change in changes])
    if comparison.groups:
        print_rows([_group_row(comparison, group, limit) for group in comparison.groups])
    for line in _remarks(before, after, comparison):
        print(f"rnncore: warning: {line}", file=sys.stderr)
    return OK if limit is None else _judged(comparison, limit)


def _judged(comparison: Comparison, limit: float) -> int:
    """Say and return the verdict."""
    named = f"{100 * limit:.3g} %"
    rows, groups = (
        sum(comparison.verdict(part, limit) == "regression" for part in parts)
        for parts in (comparison.changes, comparison.groups)
    )
    if rows or groups:
        together = f", and {groups} of {len(comparison.groups)} backends and modes together" if groups else ""
        count = f"{rows} of {len(comparison.changes)} rows"
        print(f"rnncore: {count}{together} are slower by more than {named}", file=sys.stderr)
        return FAILED_CHECK
    undecided, most = comparison.undecided(limit)
    if undecided:
        count = f"{undecided} of {len(comparison.parts)} rows and groups of rows"
        print(
            f"rnncore: undecided: the samples of {count} cannot tell a change of {named} from noise; one may be slower "
            f"by up to {100 * most:.0f} %. Measure both runs again while nothing else uses the machine, with more "
            f"passes (--passes 6 --repeats 18), or allow more",
            file=sys.stderr,
        )
    return UNDECIDED if undecided else OK


def _row(comparison: Comparison, change: Change, limit: float | None, several: Sequence[str]) -> dict[str, str]:
    """A row of the table; `several` names further options that tell rows apart."""
    work, after, own = change.before.workload, change.after, change.own
    extras = [*([work.shape] if work.shape else []), *([f"{work.num_layers} layers"] if work.num_layers > 1 else [])]
    extras += [name for name in ("bidirectional", "ragged") if getattr(work, name)]
    extras += [*([work.precision] if work.precision else []), *work.extras]
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
        "own": "-" if own is None else _speedup(own.value),
        "95 % interval": "-" if own is None else _interval(comparison, own),
        "": _verdict(comparison, change, limit) or ("" if after.samples else after.status),
    }


def _group_row(comparison: Comparison, group: Group, limit: float | None) -> dict[str, str]:
    return {
        "backend": group.contender,
        "mode": " ".join([group.mode, *([group.precision] if group.precision else [])]),
        "rows": str(group.rows),
        "speed-up": _speedup(group.common.value),
        "machine": "unknown" if comparison.machine is None else _speedup(comparison.machine),
        "beyond it": _speedup(group.beyond.value),
        "95 % interval": _interval(comparison, group.beyond),
        "": _verdict(comparison, group, limit),
    }


def _speedup(change: float) -> str:
    return f"{math.exp(-change):.3f}"


def _interval(comparison: Comparison, shift: Shift) -> str:
    least, most = shift.bounds(comparison.doubt)
    return f"{_speedup(most)} to {_speedup(least)}"


def _verdict(comparison: Comparison, part: Change | Group, limit: float | None) -> str:
    verdict = "fine" if limit is None else comparison.verdict(part, limit)
    if verdict == "regression":
        return "REGRESSION"
    if isinstance(part, Change) and part.own is None:
        return ""
    return comparison.direction(part) or ("undecided" if verdict == "undecided" else "")


def _remarks(before: Record, after: Record, comparison: Comparison) -> Sequence[str]:
    """Reasons to doubt the comparison."""
    remarks = [f"{len(comparison.alone)} rows are in one of the files alone"] if comparison.alone else []
    if comparison.groups and comparison.machine is None:
        remarks.append("a run of an earlier version has no yardstick, so a slower machine is not told from slower code")
    if 1 in (before.settings.passes, after.settings.passes):
        remarks.append("a run of one pass does not show how far runs lie apart: 30 % are assumed")
    for name in ("processor", "cores", "blas"):
        one, two = (record.environment["machine"].get(name) for record in (before, after))
        if one != two:
            remarks.append(f"other {name}: {one} and {two}")
    return remarks
