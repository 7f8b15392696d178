"""`rnncore bench`: measure throughput."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import shlex
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from rnncore_kernels.cells import CELLS
from rnncore_kernels.cores import usable_cores
from rnncore_kernels.precision import INT8, PRECISIONS

from ..bench import measure, noise, roofs
from ..bench.children import MeasurementError
from ..bench.estimate import format_duration, total_seconds, workload_seconds
from ..bench.grid import PRESETS, Axes, at_precisions, of_preset, product
from ..bench.measure import Settings
from ..bench.peers import PEERS, contenders_of, missing, require_peers
from ..bench.record import Record
from ..bench.result import Result, joined
from ..bench.shapes import SHAPES, of_shapes
from ..bench.table import work_cells
from ..bench.verdict import by_budget
from ..bench.workload import ALL_MODES, FROZEN, ROUNDED, Workload
from ..machine import configuration
from ..registry import MODULES, backends, resolve_all
from . import base, compare
from .cells import add_cell_option
from .outputs import Outputs, parse
from .status import FAILED, FAILED_CHECK, INTERRUPTED, OK, UsageError
from .terminal import show_rows
from .values import above_zero, choices, seconds, shares, size, sizes, yes_no

DTYPES = ("float32", "float64")
UNROUNDED = "float32"
"""The precision of products of that dtype, by name."""
BUDGETED = [64, 128, 256, 512, 1024]
"""Hidden sizes to find the largest that fits a budget, where none are named."""
SHAPED = (
    *("--cell", "-T", "-B", "-H", "-I", "--layers", "--bidirectional", "--ragged", "--resets", "--states"),
    *("--heads", "--zoneout"),
)
"""Options whose values a shape has."""


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
    axes = parser.add_argument_group("what is measured")
    axes.add_argument(
        "--preset", choices=tuple(PRESETS), default="default", help="sizes, modes and repeats by one name"
    )
    add_cell_option(axes, "lstm,gru,rnn")
    axes.add_argument(
        "--backend",
        type=choices(("all", "auto", *MODULES)),
        help=f"all that can run here, auto, or {','.join(MODULES)} (the preset's, all)",
    )
    axes.add_argument(
        "--peer",
        type=choices(tuple(PEERS)),
        action="extend",
        default=[],
        help=f"libraries to measure beside ours on the same work: {','.join(PEERS)}; torch-loop is a loop over the "
        f"steps in PyTorch, and stands for torch where that lacks the cell; cudnn is PyTorch on the GPU; those in bf16 "
        f"and int8 stand beside ours in that --precision, which they bring along",
    )
    axes.add_argument("--mode", type=choices(ALL_MODES), help=",".join(ALL_MODES))
    axes.add_argument("-T", type=sizes, metavar="STEPS", help="time steps (100, where another size is given)")
    axes.add_argument("-B", type=sizes, metavar="BATCH", help="sequences computed together (32, likewise)")
    axes.add_argument("-H", type=sizes, metavar="HIDDEN", help="hidden size (256, likewise)")
    axes.add_argument("-I", type=sizes, metavar="INPUT", help="input size; the hidden size if not given")
    axes.add_argument("--layers", type=sizes, default=[1], help="number of layers (1)")
    for name, text in (("--bidirectional", "each layer in both directions"), ("--ragged", "rows of 1 to T steps")):
        axes.add_argument(name, type=yes_no, nargs="?", const=[True], default=[False], metavar="yes,no", help=text)
    axes.add_argument(
        "--resets", type=shares, default=[0.0], metavar="SHARE", help="of the steps, at which rows begin anew (0)"
    )
    axes.add_argument(
        "--states", type=choices(("output", "all")), default=["output"], help="all: every state at each step (output)"
    )
    axes.add_argument("--heads", type=sizes, default=[1], help="blocks on the diagonal of the recurrent weights (1)")
    axes.add_argument(
        "--zoneout",
        type=shares,
        default=[0.0],
        metavar="SHARE",
        help="probability that a state is kept, in training (0)",
    )
    axes.add_argument(
        "--shapes",
        type=choices(("all", *SHAPES)),
        metavar="NAME,...",
        help=f"networks as other projects compute them, instead of cells and sizes: all, or {', '.join(SHAPES)}",
    )
    axes.add_argument("--dtype", type=choices(DTYPES), default=["float32"], help=",".join(DTYPES))
    axes.add_argument(
        "--precision",
        type=choices((UNROUNDED, *PRECISIONS)),
        metavar="NAME,...",
        help=f"of products: {UNROUNDED},{','.join(PRECISIONS)}; int8 with frozen weights, in the modes "
        f"{' and '.join(FROZEN)} ({UNROUNDED})",
    )
    axes.add_argument("--threads", type=sizes, help="most threads of a call; all cores if not given")
    axes.add_argument("--seed", type=int, default=0, help="of all random values (0)")

    axes.add_argument(
        "--budget",
        type=above_zero,
        metavar="TIME",
        help="time that a call may take, 5ms say: which cells and hidden sizes fit, sorted; B is 1 and mode inference "
        "unless named",
    )

    how = parser.add_argument_group("how")
    how.add_argument("-r", "--repeats", type=size, help="turns of each contender, so many samples (the preset's)")
    how.add_argument("--passes", type=size, help="how often to go through all, with a part of the turns (the preset's)")
    how.add_argument("--min-time", type=seconds, metavar="SECONDS", help="time to spend on a row (the preset's)")
    how.add_argument("--warmup", type=int, default=0, metavar="CALLS", help="calls before the first turn (0)")
    how.add_argument(
        "--check", action=argparse.BooleanOptionalAction, default=True, help="check results before timing them"
    )
    how.add_argument(
        "--base",
        metavar="REV",
        help="a revision of this checkout to compare with, main say: measured in a worktree of it, once, as the result "
        "is kept",
    )
    how.add_argument("--list", action="store_true", help="say what there is to choose from, and measure nothing")
    how.add_argument("--dry-run", action="store_true", help="say what would run and for how long, and measure nothing")
    how.add_argument(
        "-o",
        "--output",
        type=parse,
        action="append",
        default=[],
        metavar="FORMAT[=FILE]",
        help="table, md, csv, json, jsonl or html, or a file with such a suffix; can be given several times",
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
    workloads, settings = _workloads(arguments, peers), _settings(arguments)
    if arguments.base:
        base.find(arguments.base)
    if arguments.dry_run:
        return _dry_run(workloads, contenders, settings)
    require_peers(arguments.peer)
    outputs = Outputs(arguments.output, wide=arguments.wide, budget=arguments.budget)
    argv = _without(arguments.argv[1:], "-o", "--output", "--base")
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
    command = shlex.join(["rnncore", *_without(arguments.argv, "-o", "--output")])
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


def _workloads(arguments: argparse.Namespace, peers: Sequence[str]) -> list[Workload]:
    if arguments.seed < 0:
        raise UsageError(f"--seed: expected 0 or more, got {arguments.seed}")
    preset, budget = PRESETS[arguments.preset], arguments.budget
    named = arguments.T or arguments.B or arguments.H or arguments.I or budget
    axes = Axes(
        arguments.cell,
        arguments.mode or (["inference"] if budget else preset.modes),
        [
            (steps, batch, inputs, hidden)
            for steps in arguments.T or [100]
            for batch in arguments.B or [1 if budget else 32]
            for hidden in arguments.H or (BUDGETED if budget else [256])
            for inputs in arguments.I or [0]
        ],
        arguments.dtype,
        arguments.layers,
        arguments.bidirectional,
        arguments.ragged,
        arguments.threads or [usable_cores()],
        arguments.seed,
        arguments.resets,
        [name == "all" for name in arguments.states],
        arguments.heads,
        arguments.zoneout,
    )
    if arguments.shapes:
        if fixed := [option for option in SHAPED if _without(arguments.argv, option) != arguments.argv]:
            raise UsageError(f"--shapes: expected no {', '.join(fixed)} beside it, as a shape has its own")
        names = SHAPES if "all" in arguments.shapes else arguments.shapes
        workloads = of_shapes(list(names), arguments.mode, arguments.dtype, axes.threads, arguments.seed)
    else:
        workloads = product(axes) if named else of_preset(preset, axes)
    for workload in workloads:
        try:
            _ = workload.architecture
        except ValueError as error:
            raise UsageError(error) from None
    if not workloads:
        raise UsageError(
            "nothing to measure: a step has one direction and no lengths, no resets and one output, so --mode step and "
            "frozen-step take none of these"
        )
    modes = dict.fromkeys(workload.mode for workload in workloads)
    return at_precisions(workloads, _precisions(arguments, peers, modes))


def _precisions(arguments: argparse.Namespace, peers: Sequence[str], modes: Collection[str]) -> list[str | None]:
    """The precisions of products that are named, None for float32, and those of the peers."""
    named = {None if name == UNROUNDED else name for name in arguments.precision or [UNROUNDED]}
    named |= {PEERS[name].precision for name in peers}
    precisions = [precision for precision in ROUNDED if precision in named]
    rounded = ", ".join(name for name in precisions if name)
    if "float64" in arguments.dtype and (arguments.precision or rounded):
        raise UsageError(
            f"--dtype: expected float32 beside products in {rounded or UNROUNDED}, got {', '.join(arguments.dtype)}"
        )
    if INT8 in precisions and not {*FROZEN}.intersection(modes):
        raise UsageError(
            f"--mode: expected {' or '.join(FROZEN)} beside products in int8, which are for frozen weights, got "
            f"{', '.join(modes)}"
        )
    return precisions


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


def _without(argv: Sequence[str], *options: str) -> list[str]:
    """The arguments but these options, which take a value."""
    kept, skip = [], False
    for argument in argv:
        if skip:
            skip = False
        elif argument in options:
            skip = True
        elif not argument.startswith(tuple(option + "=" * option.startswith("--") for option in options)):
            kept.append(argument)
    return kept
