"""`rnncore plot`: pictures of a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bench import plots
from ..bench.record import RecordError, load
from ..files import atomic_write
from .outputs import require_writable
from .status import FAILED, OK, UsageError
from .values import choices

FORMATS = ("svg", "png")

if TYPE_CHECKING:
    from ..bench.plots.panel import Panel
    from ..bench.plots.style import Mode


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "plot",
        help="draw a run",
        description="Draw what `rnncore bench -o json=FILE` measured: roofline, scaling with T, B and H, heat map, and "
        "bars against peers, as far as the run has the rows for them. Needs matplotlib.",
    )
    parser.add_argument("run_file", metavar="RUN.json", help="the run")
    parser.add_argument("--kind", type=choices(("all", *plots.KINDS)), default=["all"], help=",".join(plots.KINDS))
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE|FOLDER",
        help="a file of one kind, .svg or .png, or the folder for RUN-KIND.svg; the folder of RUN.json if not given",
    )
    parser.add_argument("--format", type=choices(FORMATS), help="svg,png; the file's if -o names one, else svg")
    parser.add_argument(
        "--theme",
        choices=("auto", "light", "dark"),
        default="auto",
        help="auto, the default, is as the reader prefers in SVG, and light in PNG",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Draw, and print the files' names."""
    if not plots.available():
        raise UsageError(plots.MISSING)
    try:
        record = load(arguments.run_file)
    except RecordError as error:
        raise UsageError(error) from None
    targets = _targets(arguments)
    for path in (path for paths in targets.values() for path in paths):
        require_writable(path)
    drawn: dict[str, list[Panel]] = {}
    lacking: list[str] = []
    for kind in targets:
        try:
            drawn[kind] = plots.panels(kind, record.results)
        except plots.PlotError as error:
            lacking.append(f"{arguments.run_file}: {error}")
    if lacking and ("all" not in arguments.kind or not drawn):
        raise UsageError(lacking[0])
    for line in lacking:
        print(f"rnncore: {line}", file=sys.stderr)
    for kind, panels in drawn.items():
        for path in targets[kind]:
            try:
                atomic_write(path, _picture(panels, path.suffix, arguments.theme))
            except OSError as error:
                print(f"rnncore: {path}: {error.strerror}", file=sys.stderr)
                return FAILED
            print(path)
    return OK


def _picture(panels: Sequence[Panel], suffix: str, theme: Mode) -> bytes:
    # Here, as it loads matplotlib.
    from ..bench.plots.panel import to_png, to_svg

    return to_svg(panels, theme).encode() if suffix == ".svg" else to_png(panels, theme)


def _targets(arguments: argparse.Namespace) -> dict[str, list[Path]]:
    """The files of each kind."""
    kinds = list(plots.KINDS) if "all" in arguments.kind else list(dict.fromkeys(arguments.kind))
    run_file, output = Path(arguments.run_file), arguments.output
    if output is None or output.is_dir() or not output.suffix:
        folder = run_file.parent if output is None else output
        formats = dict.fromkeys(arguments.format or ["svg"])
        return {kind: [folder / f"{run_file.stem}-{kind}.{suffix}" for suffix in formats] for kind in kinds}
    if output.suffix.removeprefix(".") not in FORMATS:
        raise UsageError(f"-o: expected a folder or a file ending in .svg or .png, got {output}")
    if arguments.format and arguments.format != [output.suffix.removeprefix(".")]:
        raise UsageError(f"--format: expected the format of {output}, got {','.join(arguments.format)}")
    if len(kinds) > 1:
        raise UsageError(f"-o: one file takes one --kind ({', '.join(plots.KINDS)}); for {len(kinds)} name a folder")
    return {kinds[0]: [output]}
