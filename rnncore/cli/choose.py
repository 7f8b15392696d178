"""`rnncore choose`: which cell, size and learning rate suit a task."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import shlex
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from rnncore_kernels.precision import BFLOAT16

from ..bench import plots
from ..bench.estimate import format_duration
from ..cells_by_name import parse_cell
from ..choose import search
from ..choose.outcome import Outcome, outcomes, table, to_json
from ..choose.search import Step
from ..choose.tasks import UnknownTaskError, summaries, task_of
from ..choose.trial import Trial
from ..files import atomic_write
from ..machine import configuration
from ..registry import MODULES, check_products, resolve
from .cells import add_cell_option
from .outputs import require_writable
from .status import FAILED, INTERRUPTED, OK, UsageError
from .terminal import print_rows
from .values import above_zero, choices, rates, size, sizes

COMPUTES = ("float32", BFLOAT16)
"""Precisions of products in training."""
SUFFIXES = (".json", ".svg", ".png")
PREDICT_SECONDS = 0.02
"""Seconds to time a prediction of each trial for."""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "choose",
        help="compare cells, sizes and learning rates on a task",
        description="Train cells, sizes and learning rates on a task within a budget of seconds, and compare their "
        "loss on held-out data with the time to train and to predict. All choices begin; after each round the better "
        "half goes on. Ctrl-C keeps all results until then.",
    )
    parser.set_defaults(run=run)
    named = "; ".join(f"{name}: {text[0].lower()}{text[1:].rstrip('.')}" for name, text in summaries().items())
    parser.add_argument(
        "--task",
        default="adding",
        metavar="TASK",
        help=f"{named}; or package.module:function of your own, which returns a rnncore.choose.Task (adding)",
    )
    add_cell_option(parser, "lstm,gru,rnn")
    parser.add_argument(
        "-H",
        type=sizes,
        default=[32, 128],
        metavar="HIDDEN",
        help="hidden sizes, a list or range such as 32-256*2 (32,128)",
    )
    parser.add_argument(
        "--rate", type=rates, default=[3e-3, 1e-2], metavar="RATE,...", help="learning rates of Adam (0.003,0.01)"
    )
    parser.add_argument(
        "--compute",
        type=choices(COMPUTES),
        default=[COMPUTES[0]],
        metavar="NAME,...",
        help=f"precision of products: {','.join(COMPUTES)} ({COMPUTES[0]})",
    )
    parser.add_argument("--seeds", type=size, default=2, metavar="N", help="seeds of each choice, a trial each (2)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (0)")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--budget", type=above_zero, default=60.0, metavar="TIME", help="time for all trials (60s)")
    limit.add_argument(
        "--iterations", type=size, help="updates of each trial, instead of a budget: the same losses on any day"
    )
    parser.add_argument("--backend", choices=("auto", *MODULES), default="auto", help="the engine that trains (auto)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a file for every evaluation, .json, or a picture, .svg or .png; can be given several times",
    )


def _fed_by_x(spellings: Sequence[str]) -> list[str]:
    """The cells that take no inputs beside x, which is all that a task has; a message names the others."""
    fed = []
    for spelling in spellings:
        cell = parse_cell(spelling)
        if inputs := (*cell.row_inputs, *cell.unit_inputs):
            print(
                f"rnncore: {spelling} is left out: it takes {', '.join(inputs)}, and a task gives x alone",
                file=sys.stderr,
            )
        else:
            fed.append(spelling)
    if not fed:
        raise UsageError("--cell: expected a cell that takes no inputs beside x, as a task gives x alone")
    return fed


def run(arguments: argparse.Namespace) -> int:
    """Train, and write down what there is, whatever happens."""
    if arguments.seed < 0:
        raise UsageError(f"--seed: expected 0 or more, got {arguments.seed}")
    for path in arguments.output:
        if path.suffix not in SUFFIXES:
            raise UsageError(f"-o: expected a file ending in {', '.join(SUFFIXES)}, got {path}")
        if path.suffix != ".json" and not plots.available():
            raise UsageError(plots.MISSING)
        require_writable(path)
    if arguments.backend != "auto":
        resolve(arguments.backend)
    if BFLOAT16 in arguments.compute:
        try:
            check_products("--compute", BFLOAT16, resolve(arguments.backend))
        except ValueError as error:
            raise UsageError(error) from None
    start = time.perf_counter()
    try:
        task = task_of(arguments.task)
    except UnknownTaskError as error:
        raise UsageError(f"--task: {error}") from None
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    wanted = search.choices(_fed_by_x(arguments.cell), arguments.H, arguments.rate, arguments.compute)
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    trials: list[Trial] = []
    status = OK
    try:
        trials = search.make_trials(task, wanted, seeds, arguments.backend)
        # What is left to do behind the last round.
        reserved = PREDICT_SECONDS * len(trials)
        steps = (
            search.exactly(trials, arguments.iterations)
            if arguments.iterations
            else search.halving(trials, start + max(arguments.budget / 2, arguments.budget - reserved))
        )
        with contextlib.closing(_with_progress(steps, arguments, len(trials), start)) as shown:
            for _ in shown:
                pass
    except KeyboardInterrupt:
        status = INTERRUPTED
        print("rnncore: interrupted", file=sys.stderr)
    for trial in trials:
        if trial.points:
            trial.time_prediction(PREDICT_SECONDS)
    found = outcomes(trials)
    if not found:
        print("nothing was trained")
        return status
    guess = task.guess()
    facts = {
        "command": shlex.join(["rnncore", *arguments.argv]),
        "created": created,
        "complete": status == OK,
        "task": arguments.task,
        "guess": guess,
        "environment": configuration(),
    }
    print_rows(table(found))
    print("\n".join(_words(arguments, found, guess)))
    return _write(arguments, found, facts) or status


def _words(arguments: argparse.Namespace, found: Sequence[Outcome], guess: float) -> Iterator[str]:
    """The columns, the verdict, and how the best trial is made again."""
    best, seeds = found[0], max(len(one.trials) for one in found)
    mean, spread = f", mean of {seeds} seeds", "spread: largest less smallest of the seeds; "
    yield (
        f"loss: held out, best so far{mean * (seeds > 1)}, {guess:.4g} for a guess that reads nothing; "
        f"{spread * (seeds > 1)}predict: one sequence; front *: no other is as good in loss, update and predict"
    )
    name = f"{best.choice.cell} with H={best.choice.hidden_size} and a rate of {best.choice.rate:g}"
    rounded = best.choice.compute != COMPUTES[0]
    name += f", products in {best.choice.compute}" * rounded
    if not best.loss < guess:
        updates = arguments.iterations
        more = f"--iterations {5 * updates}" if updates else f"--budget {5 * arguments.budget:g}s"
        yield f"Nothing has learnt anything: no loss is below that of a guess. Give it more time, {more} say."
    else:
        near = [one for one in found[1:] if one.loss - best.loss <= max(best.spread, one.spread)]
        also = f"; {len(near)} other{'s are' if len(near) > 1 else ' is'} within the spread of seeds" if near else ""
        yield f"Best: {name}, a loss of {best.loss:.4g}{also}."
    trial = min(best.trials, key=lambda one: one.best.loss)
    options = f" --compute {best.choice.compute}" * rounded
    options += "" if arguments.backend == "auto" else f" --backend {arguments.backend}"
    yield (
        f"Again: rnncore choose --task {arguments.task} --cell {best.choice.cell} -H {best.choice.hidden_size} "
        f"--rate {best.choice.rate:g} --seed {trial.seed} --seeds 1 --iterations {trial.best.iterations}{options}"
    )


def _write(arguments: argparse.Namespace, found: Sequence[Outcome], facts: dict[str, Any]) -> int:
    for path in arguments.output:
        try:
            if path.suffix == ".json":
                atomic_write(path, (json.dumps(to_json(found, facts), indent=1) + "\n").encode())
                continue
            # Here, as it loads matplotlib.
            from ..bench.plots.panel import to_png, to_svg
            from ..choose.plot import panels

            pictures = panels(arguments.task, facts["guess"], found)
            atomic_write(path, to_svg(pictures).encode() if path.suffix == ".svg" else to_png(pictures))
        except OSError as error:
            print(f"rnncore: {path}: {error.strerror}", file=sys.stderr)
            return FAILED
    return OK


def _with_progress(
    steps: Iterator[Step], arguments: argparse.Namespace, trials: int, start: float
) -> Generator[Step, None, None]:
    """The steps, with a bar, the time left and the best so far on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield from steps
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(
        BarColumn(), TextColumn("{task.description}"), console=Console(stderr=True), transient=True
    ) as progress:
        task = progress.add_task("compiling", total=trials if arguments.iterations else arguments.budget)
        best: tuple[float, str] = (math.inf, "")
        for count, step in enumerate(steps, 1):
            choice = step.trial.choice
            best = min(best, (step.trial.best.loss, f"{choice.cell} H={choice.hidden_size} rate={choice.rate:g}"))
            left = f"{trials - count} trials" if math.isnan(step.left) else format_duration(max(0.0, step.left))
            progress.update(
                task,
                completed=count if arguments.iterations else time.perf_counter() - start,
                description=f"round {step.round} of {step.rounds}, {left} left, best {best[0]:.4g} by {best[1]}",
            )
            yield step
