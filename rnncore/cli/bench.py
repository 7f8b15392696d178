"""`rnncore bench`: measure throughput."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rnncore_kernels.cells import CELLS
from rnncore_kernels.precision import PRECISIONS

from ..bench import measure, noise, roofs
from ..bench.children import MeasurementError
from ..bench.estimate import format_duration, total_seconds, workload_seconds
from ..bench.grid import PRESETS
from ..bench.measure import Settings
from ..bench.peers import PEERS, contenders_of, missing, require_peers
from ..bench.record import Record
from ..bench.result import Result, joined
from ..bench.shapes import SHAPES
from ..bench.table import work_cells
from ..bench.verdict import by_budget
from ..bench.workload import ALL_MODES, Workload
from ..machine import configuration
from ..registry import backends, resolve_all
from . import base, compare
from .outputs import Outputs, parse
from .status import FAILED, FAILED_CHECK, INTERRUPTED, OK, UsageError
from .terminal import show_rows
from .values import seconds, size, without
from .workloads import UNROUNDED, add_axes, read_workloads


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "bench",
        help="measure throughput",
        description="Measure the throughput of networks, each backend and peer in a process of its own, taking turns. "
        "Every result is checked against float64 before it is timed. Axes take lists and ranges: -H 32,128, "
        "-H 64-256+64, -H 32-1024*2.",
    )
    parser.set_defaults(run=run)
    add_axes(parser)
    how = parser.add_argument_group("how")
    how.add_argument("-r", "--repeats", type=size, help="turns of each contender, one sample each (the preset's)")
    how.add_argument("--passes", type=size, help="passes through all rows, with a part of the turns (the preset's)")
    how.add_argument("--min-time", type=seconds, metavar="SECONDS", help="time to spend on a row (the preset's)")
    how.add_argument("--warmup", type=int, default=0, metavar="CALLS", help="calls before the first turn (0)")
    how.add_argument(
        "--check", action=argparse.BooleanOptionalAction, default=True, help="check results before timing them"
    )
    how.add_argument(
        "--base",
        metavar="REV",
        help="a revision of this checkout to compare with, such as main; it is measured in a worktree, and the result "
        "is kept",
    )
    how.add_argument("--list", action="store_true", help="say what there is to choose from, and measure nothing")
    how.add_argument(base.DRY_RUN, action="store_true", help="say what would run and for how long, and measure nothing")
    how.add_argument(
        "-o",
        "--output",
        type=parse,
        action="append",
        default=[],
        metavar="FORMAT[=FILE]",
        help="table, md, csv, json, jsonl or html, or a file that ends in .md, .csv, ...; can be given several times",
    )
    how.add_argument(
        "--wide", action="store_true", help="all columns in the table on the terminal; files and pipes have them anyway"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, and write the results down, whatever happens."""
    if arguments.list:
        return _list()
    preset = PRESETS[arguments.preset]
    peers = arguments.peer or [name for name in preset.peers if not missing(name)]
    contenders = list(dict.fromkeys([*resolve_all(arguments.backend or preset.backends), *peers]))
    workloads, settings = read_workloads(arguments, peers), _settings(arguments)
    if arguments.base:
        base.find(arguments.base)
    if arguments.dry_run:
        return _dry_run(workloads, contenders, settings)
    require_peers(arguments.peer)
    outputs = Outputs(arguments.output, wide=arguments.wide, budget=arguments.budget)
    argv = without(arguments.argv[1:], "-o", "--output", "--base")
    before = base.measured(arguments.base, argv) if arguments.base else None
    warnings, others = noise.before(workloads), noise.Others()
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    rows: dict[tuple[Workload, str], Result] = {}
    status, message = OK, ""
    try:
        with contextlib.closing(measure.run(workloads, contenders, settings)) as measured:
            for result in _with_progress(measured, workloads, contenders, settings):
                key = result.workload, result.contender
                rows[key] = joined(rows[key], result) if key in rows else result
                outputs.add(rows[key])
    except KeyboardInterrupt:
        status, message = INTERRUPTED, "interrupted"
    except MeasurementError as error:
        status, message = FAILED, str(error)
    results = roofs.raised(list(rows.values()))
    if arguments.budget:
        results = tuple(by_budget(results, arguments.budget))
    warnings += noise.after(results, others.busy())
    command = shlex.join(["rnncore", *without(arguments.argv, "-o", "--output")])
    whole = status == OK
    record = Record(command, created, whole, settings, configuration(), tuple(warnings), results)
    failures = outputs.finish(record)
    if before is not None and whole:
        compare.show(before, record, (arguments.base, "this checkout"))
    unseen = [] if outputs.is_table else [f"warning: {warning}" for warning in warnings]
    for line in [*unseen, *failures, *([message] if message else [])]:
        print(f"rnncore: {line}", file=sys.stderr)
    return status or _status(results) or (FAILED if failures else OK)


def _status(results: Sequence[Result]) -> int:
    statuses = {result.status for result in results}
    return FAILED_CHECK if "wrong" in statuses else FAILED if "failed" in statuses else OK


def _settings(arguments: argparse.Namespace) -> Settings:
    preset = PRESETS[arguments.preset].settings
    if arguments.warmup < 0:
        raise UsageError(f"--warmup: expected 0 calls or more, got {arguments.warmup}")
    repeats = arguments.repeats or preset.repeats
    return Settings(
        repeats=repeats,
        passes=min(arguments.passes or preset.passes, repeats),
        min_time=preset.min_time if arguments.min_time is None else arguments.min_time,
        warmup=arguments.warmup,
        check=arguments.check,
    )


def _list() -> int:
    def mark(name: str, reason: str) -> str:
        return f"  {name}" + (f": not available, {reason}" if reason else "")

    print("cells:", *(f"  {name}" for name in CELLS), sep="\n")
    print("modes:", *(f"  {name}" for name in ALL_MODES), sep="\n")
    print("precisions:", *(f"  {name}" for name in (UNROUNDED, *PRECISIONS)), sep="\n")
    print("backends:", *(mark(name, probe.reason) for name, probe in backends().items()), sep="\n")
    absent = {name: ", ".join(missing(name)) for name in PEERS}
    print("peers:", *(mark(name, f"not installed: {of}" if of else "") for name, of in absent.items()), sep="\n")
    print("presets:")
    for name, preset in PRESETS.items():
        shapes = " ".join(str(shape).replace(" ", "") for shape in preset.sizes)
        print(f"  {name}: {','.join(preset.modes)} at (T,B,I,H) {shapes}")
    print("shapes:")
    for name, shape in SHAPES.items():
        more = f", {shape.layers} layers" * (shape.layers > 1) + ", both directions" * shape.bidirectional
        size = str(shape.size).replace(" ", "")
        guess = f" (estimates: {shape.estimates})" if shape.estimates else ""
        print(f"  {name}: {shape.cell} {shape.mode} at {size}{more}, {shape.source}{guess}")
    return OK


def _dry_run(workloads: Sequence[Workload], contenders: Sequence[str], settings: Settings) -> int:
    rows = [
        work_cells(work, workloads)
        | {"about": format_duration(workload_seconds(work, len(contenders_of(work, contenders)), settings))}
        for work in workloads
    ]
    show_rows(rows, sys.stdout)
    total = format_duration(total_seconds(workloads, contenders, settings))
    print(f"{len(workloads)} workload{'s' * (len(workloads) > 1)} on {', '.join(contenders)}: about {total}")
    return OK


def _with_progress(
    measured: Iterator[Result], workloads: Sequence[Workload], contenders: Sequence[str], settings: Settings
) -> Iterator[Result]:
    """The rows, with a bar and the time left on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield from measured
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(elapsed_when_finished=True))
    cost = {work: workload_seconds(work, 1, settings) for work in workloads}
    counts = {work: len(contenders_of(work, contenders)) * settings.passes for work in workloads}
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        rows = sum(counts.values())
        task = progress.add_task(f"0 of {rows} rows", total=sum(cost[work] * count for work, count in counts.items()))
        for count, result in enumerate(measured, 1):
            progress.update(task, advance=cost[result.workload], description=f"{count} of {rows} rows")
            yield result
