"""A run of `rnncore bench` as it is kept: every sample, the machine, the versions, and the command that makes it again.

The JSON has all that `Record` has, with figures computed from the samples beside them for other programs to read.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..cells_by_name import is_shipped, is_spelling
from .from_json import from_json
from .limits import Limits
from .measure import Settings
from .result import Result
from .workload import FROZEN_STEP, STEP, Counts, Workload

SCHEMA_VERSION, FROZEN_ALONE = 2, 1
"""The JSON's version, which changes when a reader of the old one would be wrong about the new one, and the version in
which a step is a frozen one."""

FIGURES = {
    "seconds": "seconds",
    "spread": "spread",
    "step_us": "step_microseconds",
    "call_ms": "call_milliseconds",
    "p90_ms": "p90_milliseconds",
    "sequences_per_second": "sequences_per_second",
    "flops_per_second": "flops_per_second",
    "bytes_per_second": "bytes_per_second",
    "of_roof": "of_roof",
    "noisy_roof": "has_noisy_roof",
    "p50_us": "p50_microseconds",
    "p99_us": "p99_microseconds",
}
"""Figures that follow from the samples: names in the JSON and properties of `Result`."""


class RecordError(Exception):
    """A file is not a record that this version reads; the message says which and why."""


@dataclass(frozen=True)
class Record:
    """A measurement: its rows, and where they were measured.

    Attributes:
        command: measures it again.
        created: when it began, UTC, ISO 8601.
        complete: whether all rows were measured; False after an interruption.
        settings: how rows were measured.
        environment: from `machine.configuration`: machine, versions, backends, commit, variables.
        warnings: possible disturbances.
        results: the rows.
    """

    command: str
    created: str
    complete: bool
    settings: Settings
    environment: Mapping[str, Any]
    warnings: tuple[str, ...]
    results: tuple[Result, ...]


def to_json(record: Record) -> dict[str, Any]:
    """The record in the types of JSON."""
    fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return {
        "schema_version": SCHEMA_VERSION,
        **fields,
        "settings": dataclasses.asdict(record.settings),
        "results": [result_to_json(result) for result in record.results],
    }


def result_to_json(result: Result) -> dict[str, Any]:
    """A row; its samples in seconds."""
    figures = {name: getattr(result, of) for name, of in FIGURES.items()} if result.samples else {}
    # JSON has no NaN and no infinity; the reason has the value.
    error = result.error if result.error is not None and math.isfinite(result.error) else None
    return dataclasses.asdict(result) | {"error": error, "figures": figures}


def load(path: str) -> Record:
    """Read a record.

    Raises:
        RecordError: the file cannot be read, or is not a record of this schema.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: expected JSON from rnncore bench -o json, got something else ({error})") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version not in (SCHEMA_VERSION, FROZEN_ALONE):
        had = "none" if version is None else version
        raise RecordError(
            f"{path}: expected JSON from rnncore bench with schema_version {SCHEMA_VERSION}, got {had}: measure again, "
            f"or use the version of rnncore that wrote it"
        )
    try:
        return _from_json(content, STEP if version == FROZEN_ALONE else None)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordError(f"{path}: not what rnncore bench -o json writes: {format_error(error)}") from None


def format_error(error: Exception) -> str:
    """The fault of a file's content, in words."""
    return f"there is no {error}" if isinstance(error, KeyError) else str(error)


def _from_json(content: dict[str, Any], frozen: str | None) -> Record:
    """The record; `frozen` is the mode that is a frozen step by another name."""
    names = [field.name for field in dataclasses.fields(Record)]
    fields = {name: content[name] for name in names}
    fields["settings"] = Settings(**content["settings"])
    fields["warnings"] = tuple(content["warnings"])
    fields["results"] = tuple(_result_from_json(row, frozen) for row in content["results"])
    for section in ("versions", "source", "machine", "backends"):
        if not isinstance(fields["environment"][section], dict):
            raise ValueError(f"environment: expected names and values in {section}")
    return from_json(Record, fields)


def _result_from_json(row: Any, frozen: str | None) -> Result:
    if not isinstance(row, dict):
        raise TypeError(f"results: expected rows, got {row!r:.60}")
    fields = {name: value for name, value in row.items() if name != "figures"}
    work = from_json(Workload, row["workload"])
    fields["workload"] = replace(work, mode=FROZEN_STEP) if work.mode == frozen else work
    if not is_spelling(work.cell):
        raise ValueError(f"cell: expected a cell as --cell names them, got {work.cell!r:.60}")
    if row.get("counts") is not None:
        fields["counts"] = from_json(Counts, row["counts"])
    elif is_shipped(work.cell):
        _ = work.architecture
    elif row["samples"]:
        # No module that a file names is imported to count.
        raise ValueError(f"counts: expected those of a cell of one's own, {work.cell:.60}, got none")
    fields["limits"] = None if row["limits"] is None else from_json(Limits, row["limits"])
    for name in ("samples", "tails", "yardsticks"):
        fields[name] = tuple(row.get(name, ()))
    return from_json(Result, fields)
