"""`rnncore cache`: compiled code on disk."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnncore_kernels.cache import ENGINES, Kept, cache_folder, kept, refusal

from ..bench.table import format_bytes
from .status import FAILED, OK


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "cache",
        help="show or clear what is kept on disk",
        description="Say where compiled code is kept and how much there is: in RNNCORE_CACHE_DIR, or the user's cache "
        "folder. Code of another processor, an earlier version or an edited cell stays there until it is cleared. "
        "Beside it are the best rates that `rnncore bench` has seen of this machine, and the runs of its --base.",
    )
    parser.add_argument("--clear", action="store_true", help="remove all of these files, and no others")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the files, or remove them."""
    folder = cache_folder()
    problem, files = _look(folder)
    removed, refused = _remove(files) if arguments.clear else ([], [])
    if arguments.json:
        shown = {"folder": folder and str(folder), "problem": problem, "engines": _by_engine(files)}
        print(json.dumps(shown | ({"removed": _by_engine(removed)} if arguments.clear else {}), indent=2))
    else:
        print(f"{folder}: {problem}" if folder and problem else folder or problem)
        verb, counted = ("removed", removed) if arguments.clear else ("kept", files)
        for engine, sums in _by_engine(counted).items():
            print(f"  {engine}: {sums['files']} file{'s' * (sums['files'] != 1)}, {format_bytes(sums['bytes'])} {verb}")
    for line in refused:
        print(f"rnncore: {line}", file=sys.stderr)
    return FAILED if refused else OK


def _look(folder: Path | None) -> tuple[str, list[Kept]]:
    """The problem with the folder, or "", and its files."""
    if folder is None:
        return "there is no folder for compiled code: the user has no home; name one in RNNCORE_CACHE_DIR", []
    refused, files = refusal(folder), []
    problem = f"cannot be written to: {refused}" if refused else ""
    try:
        files = list(kept(folder))
    except FileNotFoundError:
        if not refused:
            return "not there yet; the first compilation makes it", []
        problem = f"not there, and cannot be made: {refused}"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    if problem:
        problem += "; what is not there is compiled in each process: name another in RNNCORE_CACHE_DIR"
    return problem, files


def _remove(files: Sequence[Kept]) -> tuple[list[Kept], list[str]]:
    """Remove files; returns those that were, and messages about others."""
    removed, refused = [], []
    for file in files:
        try:
            file.path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            refused.append(f"{file.path}: not removed: {error.strerror}")
        else:
            removed.append(file)
    return removed, refused


def _by_engine(files: Sequence[Kept]) -> dict[str, dict[str, int]]:
    sums = {engine: {"files": 0, "bytes": 0} for engine in dict.fromkeys(ENGINES.values())}
    for file in files:
        sums[file.engine]["files"] += 1
        sums[file.engine]["bytes"] += file.size
    return sums
