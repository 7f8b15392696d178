"""The command line's entry: parses arguments, runs a command, and turns errors into messages and exit statuses."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ..bench.children import MeasurementError
from ..cells_by_name import UnknownCellError
from ..errors import BackendUnavailableError
from ..version import __version__
from . import bench, cache, choose, compare, info, plot, verify, warmup
from .status import FAILED, INTERRUPTED, OK, UNAVAILABLE, USAGE, UsageError

COMMANDS = (bench, compare, plot, choose, verify, info, warmup, cache)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    0 is success, 1 a regression or a wrong result, 2 a wrong argument, 3 a backend or peer that was named and cannot
    run, 4 work that failed in part, 5 a comparison that its samples cannot decide, 130 an interruption.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    parser = make_parser()
    parsed = parser.parse_args(arguments)
    if not hasattr(parsed, "run"):
        parser.print_help(sys.stderr)
        return USAGE
    parsed.argv = sys.argv[1:] if arguments is None else list(arguments)
    try:
        status = int(parsed.run(parsed))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read the output has seen enough; the buffered rest must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except (UsageError, UnknownCellError) as error:
        return _fail(error, USAGE)
    except BackendUnavailableError as error:
        return _fail(error, UNAVAILABLE)
    except MemoryError as error:
        return _fail(f"not enough memory: {error}", FAILED)
    except (MeasurementError, OSError) as error:
        return _fail(error, FAILED)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; docs/command_line.md is made from it, too."""
    parser = _Parser(
        prog="rnncore",
        description="Recurrent networks: measure, choose and verify them on this machine.",
        epilog="`rnncore COMMAND --help` has the options of each.",
    )
    parser.add_argument("--version", action="version", version=f"rnncore {__version__}")
    commands = parser.add_subparsers(metavar="command")
    for command in COMMANDS:
        command.add(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line: behind a dozen lines of usage nobody finds them.

    Options have whole names, by which commands find and leave out some of their arguments, see `values.without`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}\n")


def _fail(message: object, status: int) -> int:
    print(f"rnncore: {message}", file=sys.stderr)
    return status
