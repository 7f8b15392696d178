"""Where results go: files and standard output, in several formats at once. No measurement is lost."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..bench.record import Record
from ..bench.render import FORMATS, to_json_line, to_json_text
from ..bench.result import Result
from ..files import atomic_write, is_device
from .status import UsageError
from .terminal import show

TABLE, LINES = "table", "jsonl"


class Output(NamedTuple):
    """A format, and the file that it goes to; standard output if that is None."""

    format: str
    path: Path | None


def parse(text: str) -> Output:
    """`FORMAT`, `FORMAT=FILE`, or `FILE` with a format's name for suffix."""
    name, equals, path = text.partition("=")
    if name in (TABLE, *FORMATS):
        if equals and not path:
            raise argparse.ArgumentTypeError(f"expected a file name after {text!r}")
        return Output(name, Path(path) if path else None)
    suffix = Path(text).suffix.removeprefix(".")
    if suffix in FORMATS:
        return Output(suffix, Path(text))
    raise argparse.ArgumentTypeError(f"expected {', '.join((TABLE, *FORMATS))}, alone or as FORMAT=FILE, got {text!r}")


class Outputs:
    """All outputs of a run: `add` each row, then `finish`, whatever has happened in between."""

    def __init__(self, outputs: Sequence[Output], wide: bool = False, budget: float | None = None) -> None:
        self._wide, self._budget = wide, budget
        self._files = [output for output in outputs if output.path is not None]
        here = [output.format for output in outputs if output.path is None]
        if len(here) > 1:
            raise UsageError(f"-o: expected a file name for all but one format, got {' and '.join(here)} without")
        paths = [output.path.resolve() for output in self._files if output.path and not is_device(output.path)]
        if twice := {path.name for path in paths if paths.count(path) > 1}:
            raise UsageError(f"-o: expected a file of its own for each format, got {' and '.join(twice)} twice")
        for output in self._files:
            assert output.path is not None
            require_writable(output.path)
            if output.format == TABLE:
                raise UsageError(f"-o: a table goes to the terminal; for the file {output.path}, use md")
        default = TABLE if sys.stdout.isatty() else None if self._files else "md"
        self._here = here[0] if here else default
        self._kept: set[Path] = set()

    @property
    def is_table(self) -> bool:
        """Whether standard output gets a table for the terminal, which has the warnings below it."""
        return self._here == TABLE

    def add(self, result: Result) -> None:
        """A row, or the row after a further pass. Lines of JSON are in their file at once, even after a power cut."""
        for output in self._files:
            if output.format == LINES and output.path is not None:
                # A failure here comes again in `finish`, which reports it.
                with contextlib.suppress(OSError), output.path.open("w" if self._is_new(output.path) else "a") as file:
                    file.write(to_json_line(result))
                    file.flush()
                    os.fsync(file.fileno())

    def finish(self, record: Record) -> list[str]:
        """Write all that is not written yet; returns messages of failures."""
        failures = list(self._write_files(record))
        if self._here == TABLE:
            show(record, sys.stdout, self._wide, self._budget)
        elif self._here is not None:
            try:
                text = FORMATS[self._here](record)
            except Exception as error:
                failures.append(f"-o {self._here}: {error}; {_rescue(record)}")
            else:
                print(text, end="")
        return failures

    def _is_new(self, path: Path) -> bool:
        new = path not in self._kept
        self._kept.add(path)
        return new

    def _write_files(self, record: Record) -> Iterator[str]:
        for output in self._files:
            assert output.path is not None
            try:
                if output.format == LINES and output.path in self._kept and is_device(output.path):
                    continue  # a device has all lines already
                text = FORMATS[output.format](record)
                atomic_write(output.path, text.encode())
            except Exception as error:
                # Whatever went wrong, with the disk or with a library that draws, the rows are kept.
                yield f"{output.path}: {getattr(error, 'strerror', None) or error}; {_rescue(record)}"


def require_writable(path: Path) -> None:
    """Find out before anything is done."""
    wanted = f"-o: cannot write to {path}:"
    if path.is_dir():
        raise UsageError(f"{wanted} it is a folder")
    if not path.parent.is_dir():
        raise UsageError(f"{wanted} there is no folder {path.parent}")
    # A file is replaced, which takes its folder; a device is written to.
    places = [path] if is_device(path) else [path.parent, path]
    if not all(os.access(place, os.W_OK) for place in places if place.exists()):
        raise UsageError(f"{wanted} permission denied")


def _rescue(record: Record) -> str:
    """Keep the rows somewhere else."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="rnncore-", suffix=".json", delete=False, encoding="utf-8"
        ) as file:
            file.write(to_json_text(record))
    except OSError:
        print(to_json_text(record), end="")
        return "what was measured is on standard output instead"
    return f"what was measured is in {file.name}"
